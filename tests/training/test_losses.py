"""Losses: worked by hand, blind to what is unlabelled, the same however a step is cut."""

from __future__ import annotations

from dataclasses import replace
from math import exp, log
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.rows import every_kind, labelled
from training.data import Kind
from training.objectives import distil_losses, rows_losses, shares
from training.step import Losses

CPU = torch.device("cpu")


def test_a_row_counts_by_its_weight_over_the_number_of_labelled_rows() -> None:
    labels = labelled(Kind.REGRESS, [1, 2, 3, 4], np.array([True, False, True, True]))
    labels = replace(labels, weights=np.array([1, 5, 2, 1], np.float32))
    assert shares(labels, np.array([0, 1, 2])).tolist() == [0.5, 0, 1]
    assert shares(labels, np.array([1])).tolist() == [0]


def test_classes_numbers_and_labels_have_the_textbook_loss() -> None:
    classes = rows_losses(Kind.CLASSIFY, torch.tensor([[0.0, log(3)]]), {"values": torch.tensor([1])})
    assert classes.item() == pytest.approx(-log(0.75))
    numbers = rows_losses(Kind.REGRESS, torch.tensor([3.0]), {"values": torch.tensor([1.0])})
    assert numbers.item() == 4
    bounded = rows_losses(Kind.REGRESS, torch.tensor([3.0]), {"values": torch.tensor([1.0])}, huber=1.0)
    assert bounded.item() == pytest.approx(1.5)
    several = rows_losses(Kind.MULTILABEL, torch.zeros(1, 2), {"values": torch.tensor([[1.0, 0.0]])})
    assert several.item() == pytest.approx(log(2))
    span = rows_losses(Kind.SPAN, torch.zeros(1, 4, 2), {"values": torch.tensor([[1, 2]])})
    assert span.item() == pytest.approx(log(4))


def test_a_list_has_the_cross_entropy_of_its_softmaxes() -> None:
    """ListNet: relevances 0 and 1 against equal scores, and a list that has one known row."""
    target = {
        "values": torch.tensor([0.0, 1.0, 7.0, 2.0]),
        "queries": torch.tensor([4, 4, 9, 4]),
        "known": torch.tensor([True, True, True, False]),
    }
    losses = rows_losses(Kind.RANK, torch.tensor([0.5, 0.5, 3.0, 8.0]), target)
    wanted = [log(2) / (1 + exp(1)), log(2) * exp(1) / (1 + exp(1)), 0, 0]
    assert losses.tolist() == pytest.approx(wanted, abs=1e-6)


def _scores(n: int, seed: int = 0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"class": (n, 3), "tags": (n, 2), "number": (n,), "rank": (n,), "span": (n, 9, 2)}
    return {task: torch.randn(shape, generator=generator).requires_grad_() for task, shape in shapes.items()}


def _losses() -> Losses:
    labels = dict(every_kind().labels)
    labels["span"] = replace(labels["span"], values=np.abs(labels["span"].values) % 9)
    return Losses(labels, CPU)


def test_what_stands_in_unlabelled_rows_changes_no_gradient() -> None:
    losses, step = _losses(), np.arange(24)
    spoiled = {}
    for task, labels in losses.targets.items():
        values = labels.values.copy()
        values[~labels.known] = np.nan if values.dtype == np.float32 else 10**6
        spoiled[task] = replace(labels, values=values)
    gradients = []
    for each in (losses, Losses(spoiled, CPU)):
        scores = _scores(24)
        each.of(scores, step, step, ghost=False).sum().backward()
        gradients.append(scores)
        for task, labels in losses.targets.items():
            assert scores[task].grad[~labels.known[step]].abs().sum() == 0
            assert scores[task].grad[labels.known[step]].abs().sum() > 0
    for task in losses.targets:
        assert torch.equal(gradients[0][task].grad, gradients[1][task].grad)


def test_pieces_add_up_to_the_loss_of_the_step() -> None:
    """Also where one piece has many labels and another has none. The mean of means would not."""
    losses, step = _losses(), np.arange(24)
    scores = _scores(24)
    whole = losses.of(scores, step, step, ghost=False)
    cut = [np.arange(0, 4), np.arange(4, 20), np.arange(20, 24)]
    parts = [losses.of({t: s[p] for t, s in scores.items()}, step, p, ghost=False) for p in cut]
    assert torch.allclose(sum(parts), whole, atol=1e-6)
    means = [
        losses.of({t: s[p] for t, s in scores.items()}, step[p], np.arange(len(p)), ghost=False) for p in cut
    ]
    assert not torch.allclose(sum(means) / 3, whole, atol=1e-3)


@pytest.mark.parametrize("kind", [Kind.CLASSIFY, Kind.MULTILABEL, Kind.REGRESS, Kind.RANK])
def test_a_student_that_says_what_its_teacher_says_has_nothing_to_learn(kind: Kind) -> None:
    torch.manual_seed(0)
    teacher = torch.randn(6, 3) if kind in (Kind.CLASSIFY, Kind.MULTILABEL) else torch.randn(6)
    queries = torch.tensor([0, 0, 0, 1, 1, 1])
    same, other = teacher.clone().requires_grad_(), (-teacher).requires_grad_()
    for student in (same, other):
        distil_losses(kind, student, teacher, temperature=2.0, queries=queries).sum().backward()
    assert same.grad.abs().max() < 1e-6
    assert other.grad.abs().max() > 1e-2


def test_a_row_of_no_list_learns_no_order_from_a_teacher() -> None:
    """However rows without a list are put together: they have nobody to stand before."""
    queries = torch.tensor([3, -1, 3, -1])
    student, teacher = torch.tensor([0.5, 9.0, 1.5, -9.0]), torch.tensor([2.0, 1.0, 0.0, 5.0])
    losses = distil_losses(Kind.RANK, student, teacher, temperature=1.0, queries=queries)
    assert losses[1] == losses[3] == 0
    listed = queries >= 0
    alone = distil_losses(
        Kind.RANK, student[listed], teacher[listed], temperature=1.0, queries=queries[listed]
    )
    torch.testing.assert_close(losses[listed], alone)
