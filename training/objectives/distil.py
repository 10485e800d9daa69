"""Learning from another model's scores.

Of classes, the student learns the teacher's distribution at a temperature T, times T squared so that
gradients keep their size; of numbers the teacher's number; of lists and spans its distribution over them.

Source: G. Hinton, O. Vinyals and J. Dean, "Distilling the Knowledge in a Neural Network", 2015.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from training.data import Kind
from training.objectives.losses import softmax_in_lists

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["Teacher", "distil_losses"]


@dataclass(frozen=True, slots=True, eq=False)
class Teacher:
    """What is learned from besides the labels.

    Args:
        scores: By task, the raw scores of every row of the data set: [n, k] or [n]; a task that is missing is
            learned from labels alone.
        temperature: T, for classes.
        share: Weight of the teacher's loss; the labels' has 1 minus it. A row without a label has the
            teacher's alone.
    """

    scores: Mapping[str, NDArray[np.float32]]
    temperature: float = 2.0
    share: float = 0.5


def distil_losses(
    kind: Kind, scores: Tensor, teacher: Tensor, *, temperature: float, queries: Tensor | None = None
) -> Tensor:
    """Return the loss of each row against the teacher's scores, [b].

    Args:
        kind: The task's kind; spans are refused, because two models need not cut a text into the same tokens.
        scores: The student's.
        teacher: The teacher's, of the same shape.
        temperature: T.
        queries: The list of each row, for ranking; below 0 of none.
    """
    scores, teacher = scores.float(), teacher.float()
    if kind is Kind.CLASSIFY:
        wanted = functional.softmax(teacher / temperature, dim=1)
        found = functional.log_softmax(scores / temperature, dim=1)
        return functional.kl_div(found, wanted, reduction="none").sum(1) * temperature**2
    if kind is Kind.MULTILABEL:
        wanted = torch.sigmoid(teacher / temperature)
        losses = functional.binary_cross_entropy_with_logits(scores / temperature, wanted, reduction="none")
        return losses.mean(1) * temperature**2
    if kind is Kind.REGRESS:
        return functional.mse_loss(scores, teacher, reduction="none")
    if kind is Kind.RANK and queries is not None:
        # a row that is in no list has nobody to stand before
        listed = queries >= 0
        wanted = softmax_in_lists(teacher, queries, listed).exp()
        return -wanted * softmax_in_lists(scores, queries, listed) * listed
    raise ValueError(f"{kind} cannot be distilled")
