"""Balancing: every method trains, none forgets, and a task that is not there has no say."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import torch

from tests.training.rows import config, sentences
from training import device
from training.config import Balance as BalanceConfig
from training.data.mix import order
from training.errors import TrainingError
from training.models import build
from training.objectives.balance import BY_GRADIENT, BY_WEIGHT, Balance
from training.optimizer import optimizer
from training.step import Losses, Stepper

KINDS = ["fixed", "initial", *BY_WEIGHT, *BY_GRADIENT]


def test_the_configuration_knows_every_method() -> None:
    assert set(get_args(BalanceConfig.model_fields["kind"].annotation)) == set(KINDS)


def test_an_unknown_method_is_named_with_those_there_are() -> None:
    with pytest.raises(TrainingError, match="'sum' is not known; there are fixed, initial, uw"):
        Balance("sum", [1.0])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("kind", ["fixed", "initial", *BY_WEIGHT])
def test_what_is_remembered_goes_to_where_the_run_computes(kind: str) -> None:
    """A checkpoint is read onto the CPU; ``meta`` stands for a GPU, for it refuses the CPU's tensors too."""
    balance, losses = Balance(kind, [1.0, 0.5]), torch.tensor([2.0, 3.0])
    present = torch.ones(2, dtype=torch.bool)
    for _ in range(2):
        balance.weights(losses, present)
        if balance.looks_back:
            balance.stepped(losses * 0.9, present)
    balance.epoch_over()
    balance.weights(losses, present)
    other = Balance(kind, [1.0, 0.5]).to("meta")
    other.restore(balance.state())
    found = [value for module in other.modules() for value in _tensors(list(vars(module).values()))]
    assert found
    assert {str(value.device) for value in found} == {"meta"}


def _tensors(values: Any) -> list[torch.Tensor]:
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, list | tuple):
        return [tensor for each in values for tensor in _tensors(each)]
    return [values] if isinstance(values, torch.Tensor) else []


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_every_method_lowers_the_losses_and_goes_on_where_it_was(kind: str) -> None:
    """Ten steps on one batch; five, a copy from what it remembers, and five more are the same."""
    torch.manual_seed(0)
    dataset = sentences(32)
    wanted = config(dataset, optimizer={"lr": 1e-3, "head_lr": 1e-2}, dropout=0)
    accelerator = device.accelerator(wanted.train)
    model, balance = build(wanted, dataset), Balance(kind, [1.0, 0.5, 1.0])
    losses = Losses(dataset.labels, accelerator.device)
    rule = optimizer(model, wanted.train.optimizer, balance.learned())
    stepper = Stepper(accelerator, model, model.feed(dataset), losses, balance, accumulate=1)
    rows = order(dataset, batch=24).at(0)

    def go(count: int) -> list[float]:
        found = []
        for _ in range(count):
            outcome = stepper.gradient(rows)
            rule.step()
            if balance.looks_back:
                stepper.look_back(rows)
            rule.zero_grad()
            found.append(sum(outcome.losses))
        balance.epoch_over()
        return found

    first = go(5)
    state = {
        "model": {k: v.clone() for k, v in model.state_dict().items()},
        "rule": rule.state_dict(),
        "balance": balance.state(),
        "random": torch.get_rng_state(),
    }
    import copy

    state["rule"] = copy.deepcopy(state["rule"])
    second = go(5)
    assert np.isfinite(first + second).all()
    if kind != "random":
        assert second[-1] < first[0]
    again = Balance(kind, [1.0, 0.5, 1.0])
    model.load_state_dict(state["model"])
    again.restore(state["balance"])
    torch.set_rng_state(state["random"])
    balance = again
    rule = optimizer(model, wanted.train.optimizer, balance.learned())
    rule.load_state_dict(state["rule"])
    stepper = Stepper(accelerator, model, model.feed(dataset), losses, balance, accumulate=1)
    assert go(5) == second


def test_weights_of_a_scalariser_are_its_derivative() -> None:
    """Uncertainty weighting: alike for all at first, and it learns by the losses of the whole step."""
    balance = Balance("uw", [1.0, 1.0])
    losses = torch.tensor([4.0, 0.25])
    weights = balance.weights(losses, torch.tensor([True, True]))
    assert weights[0] == weights[1] > 0
    (learned,) = balance.learned()
    values = losses.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(balance.method(values), learned)
    assert torch.allclose(learned.grad, wanted)


def test_initial_losses_become_alike() -> None:
    balance = Balance("initial", [1.0, 0.5])
    weights = balance.weights(torch.tensor([8.0, 0.5]), torch.tensor([True, True]))
    assert weights.tolist() == pytest.approx([1 / 8, 1.0])


def test_a_task_without_labels_in_a_step_counts_with_its_last_loss() -> None:
    balance = Balance("geometric_mean", [1.0, 1.0])
    balance.weights(torch.tensor([2.0, 3.0]), torch.tensor([True, True]))
    weights = balance.weights(torch.tensor([2.0, 0.0]), torch.tensor([True, False]))
    assert torch.isfinite(weights).all()
    assert balance.last.tolist() == [2.0, 3.0]


def test_pcgrad_takes_the_conflict_out_of_two_gradients() -> None:
    """T. Yu et al., "Gradient Surgery", algorithm 1: each is projected on the other's normal plane."""
    combined = Balance("pcgrad", [1.0, 1.0]).combined(torch.tensor([[1.0, 0.0], [-1.0, 1.0]]))
    assert combined.tolist() == pytest.approx([0.5, 1.5])


def test_what_needs_the_whole_step_refuses_pieces() -> None:
    dataset = sentences(16)
    wanted = config(dataset)
    model = build(wanted, dataset)
    losses = Losses(dataset.labels, torch.device("cpu"))
    accelerator, balance = device.accelerator(wanted.train), Balance("uw", [1.0] * 3)
    with pytest.raises(TrainingError, match="accumulate: balance 'uw' needs the losses of the whole step"):
        Stepper(accelerator, model, model.feed(dataset), losses, balance, accumulate=2)
