"""The loss of each kind of task, row by row, and each row's share in the loss of a step.

A task's loss over a step is the mean over the step's labelled rows of weight times loss. A step may be cut
into micro-batches and over processes: each part sums its rows' losses times their *shares*, which are
fractions of the whole step, and the sums of the parts are the loss of the step, whatever the cut. An
unlabelled row has the share 0, and its value is never looked at. For ranking, a list is what a row is for the
others: one loss a list, the sum over its known rows.

Sources: P. Huber, "Robust Estimation of a Location Parameter", 1964; Z. Cao et al., "Learning to Rank: From
Pairwise Approach to Listwise Approach", ICML 2007 (the softmax of relevances against that of scores); J.
Devlin et al., "BERT", NAACL 2019 (spans).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from training.data import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from training.data import Labels

__all__ = ["rows_losses", "shares", "softmax_in_lists"]

#: Stands for the score of what cannot be chosen.
NEVER = -1e9
TINY = 1e-30


def shares(labels: Labels, step_rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return each row's share in a task's loss over a step, float32 [n]; 0 where there is no label.

    Args:
        labels: The task's labels.
        step_rows: All rows of the step, over all micro-batches and processes.
    """
    known = labels.known[step_rows]
    share = np.where(known, labels.weights[step_rows], np.float32(0))
    if labels.queries is not None:
        count = len(np.unique(labels.queries[step_rows][known]))
    else:
        count = int(known.sum())
    return (share / np.float32(max(1, count))).astype(np.float32)


def rows_losses(
    kind: Kind, scores: Tensor, target: Mapping[str, Tensor], *, huber: float | None = None
) -> Tensor:
    """Return the loss of each row, [b].

    Args:
        kind: The task's kind.
        scores: What the model says: [b, k] for classes, [b] for a number or a rank, [b, t, 2] for a span.
        target: ``values``; for ranking also ``queries`` and ``known``. Values of unlabelled rows are any
            valid ones.
        huber: Where the squared error of a regression turns linear; None for nowhere.
    """
    if kind is Kind.REGRESS and huber is not None:
        return functional.huber_loss(scores.float(), target["values"], reduction="none", delta=huber)
    return _LOSSES[kind](scores.float(), target)


def softmax_in_lists(scores: Tensor, queries: Tensor, member: Tensor) -> Tensor:
    """Return the logarithm of each row's share of its list, [b]; no members, no share, and 0.

    Args:
        scores: [b].
        queries: The list of each row, [b].
        member: Whether it counts, bool [b].
    """
    lists, place = torch.unique(queries, return_inverse=True)
    largest = torch.full((len(lists),), NEVER, dtype=scores.dtype, device=scores.device)
    largest = largest.scatter_reduce(0, place, torch.where(member, scores, NEVER).detach(), "amax")
    # rows that are no members would run over
    shifted = torch.where(member, scores - largest[place], 0.0)
    total = torch.zeros_like(largest).index_add(0, place, shifted.exp() * member)
    return torch.where(member, shifted - total.clamp(min=TINY).log()[place], 0.0)


def _classify(scores: Tensor, target: Mapping[str, Tensor]) -> Tensor:
    return functional.cross_entropy(scores, target["values"], reduction="none")


def _multilabel(scores: Tensor, target: Mapping[str, Tensor]) -> Tensor:
    return functional.binary_cross_entropy_with_logits(scores, target["values"], reduction="none").mean(1)


def _regress(scores: Tensor, target: Mapping[str, Tensor]) -> Tensor:
    return functional.mse_loss(scores, target["values"], reduction="none")


def _rank(scores: Tensor, target: Mapping[str, Tensor]) -> Tensor:
    queries, member = target["queries"], target["known"]
    wanted = softmax_in_lists(target["values"], queries, member).exp()
    return -wanted * softmax_in_lists(scores, queries, member) * member


def _span(scores: Tensor, target: Mapping[str, Tensor]) -> Tensor:
    begin, end = target["values"].unbind(1)
    losses: list[Tensor] = [
        functional.cross_entropy(scores[:, :, i], place, reduction="none")
        for i, place in enumerate((begin, end))
    ]
    return (losses[0] + losses[1]) / 2


_LOSSES: Mapping[Kind, Callable[[Tensor, Mapping[str, Tensor]], Tensor]] = {
    Kind.CLASSIFY: _classify,
    Kind.MULTILABEL: _multilabel,
    Kind.REGRESS: _regress,
    Kind.RANK: _rank,
    Kind.SPAN: _span,
}
