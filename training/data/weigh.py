"""How much each row counts, where tasks or domains are of unequal size."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

    from training.data.dataset import Labels

__all__ = ["inverse_sqrt_size"]


def inverse_sqrt_size(
    labels: Mapping[str, Labels],
    tasks: Collection[str],
    domains: NDArray[np.int64],
    train: NDArray[np.bool_],
) -> dict[str, Labels]:
    """Weigh rows by one over the root of how many training rows of their domain are labelled for the task.

    A domain or task with a hundredth of the rows then has a tenth of the say. Over all labelled training rows
    of these tasks the mean weight is 1, so that the sum of the losses keeps its size.

    Args: labels: What is known, by task. tasks: The tasks whose rows are weighed. domains: The domain of each
    row, int64 [n]. train: Which rows are for training, bool [n].
    """
    weights = {}
    for task in tasks:
        sizes = np.bincount(domains[train & labels[task].known], minlength=domains.max(initial=0) + 1)
        weights[task] = 1 / np.sqrt(np.maximum(sizes, 1))[domains]
    used = [weights[task][train & labels[task].known] for task in tasks]
    mean = np.concatenate(used).mean() if used else 1.0
    return {
        name: replace(each, weights=(weights[name] / mean).astype(np.float32)) if name in weights else each
        for name, each in labels.items()
    }
