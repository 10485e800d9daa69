"""A step's gradient is the same however the step is cut."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.rows import config, sentences
from training import device
from training.errors import TrainingError
from training.models import build
from training.objectives import Balance
from training.step import Losses, Stepper


@pytest.mark.parametrize("kind", ["fixed", "mgda"])
def test_pieces_of_like_length_have_the_gradient_of_the_whole(kind: str) -> None:
    dataset = sentences(40)
    step = np.arange(40)
    found: dict[bool, Any] = {}
    for by_length in (False, True):
        torch.manual_seed(0)
        wanted = config(dataset, dropout=0)
        model = build(wanted, dataset)
        feed = model.feed(dataset)
        losses = Losses(dataset.labels, torch.device("cpu"))
        accelerator, balance = device.accelerator(wanted.train), Balance(kind, [1.0, 0.5, 1.0])
        stepper = Stepper(accelerator, model, feed, losses, balance, accumulate=1)
        assert stepper._by_length
        stepper._by_length = by_length
        stepper.gradient(step)
        found[by_length] = len(stepper._mine(step)), {name: p.grad for name, p in model.named_parameters()}
    assert (found[False][0], found[True][0]) == (1, 5)
    for name, gradient in found[False][1].items():
        assert torch.allclose(found[True][1][name], gradient, atol=1e-6), name


def test_a_bag_is_not_cut_into_pieces() -> None:
    """It spares no padding that way, and adds up its large tables once for each."""
    dataset = sentences(40)
    wanted = config(dataset, encoder={"name": "bag", "width": 8})
    model = build(wanted, dataset)
    losses, balance = Losses(dataset.labels, torch.device("cpu")), Balance("fixed", [1.0] * 3)
    accelerator = device.accelerator(wanted.train)
    stepper = Stepper(accelerator, model, model.feed(dataset), losses, balance, accumulate=1)
    assert len(stepper._mine(np.arange(40))) == 1


def test_every_row_of_a_step_is_in_one_of_its_pieces() -> None:
    dataset = sentences(40)
    wanted = config(dataset)
    model = build(wanted, dataset)
    losses = Losses(dataset.labels, torch.device("cpu"))
    accelerator, balance = device.accelerator(wanted.train), Balance("fixed", [1.0] * 3)
    stepper = Stepper(accelerator, model, model.feed(dataset), losses, balance, accumulate=3)
    assert sorted(np.concatenate(stepper._mine(np.arange(10))).tolist()) == list(range(10))


@pytest.mark.parametrize("kind", ["pcgrad", "uw", "imtl_l"])
def test_what_fp16_would_unscale_without_scaling_is_refused(kind: str) -> None:
    """Gradients of single tasks, and of weights that are learned; fixed ones are not touched by it."""
    scaled: Any = SimpleNamespace(scaler=object())
    with pytest.raises(TrainingError, match=f"balance '{kind}' has no fp16"):
        Stepper(scaled, None, None, Losses({}, torch.device("cpu")), Balance(kind, [1.0, 1.0]), accumulate=1)
