"""How good a variant's answers are, and how many points they lose of the trained model's."""

from __future__ import annotations

from math import inf, isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from training.data import Pairs
from training.evaluate.metrics import main_metric, measure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from training.data import Dataset

__all__ = ["lost_pt", "metrics_of"]

Array = np.ndarray[Any, np.dtype[Any]]


def metrics_of(
    dataset: Dataset, scores: Mapping[str, Array], rows: Array
) -> dict[str, dict[str, float | None]]:
    """Return each task's metrics, fit for JSON: what is undefined is None.

    Args:
        dataset: Holds the labels.
        scores: By task, of these rows in their order.
        rows: Which.
    """
    inputs = dataset.inputs
    contexts = [inputs.contexts[row] for row in rows.tolist()] if isinstance(inputs, Pairs) else None
    found = {task: measure(each, dataset.labels[task].take(rows), contexts) for task, each in scores.items()}
    return {
        task: {name: float(value) if isfinite(value) else None for name, value in each.items()}
        for task, each in found.items()
    }


def lost_pt(
    dataset: Dataset, metrics: Mapping[str, Mapping[str, float | None]], base: Mapping[str, Any]
) -> dict[str, float]:
    """Return how many points each task loses by its main metric; all of them where it is undefined now.

    Args:
        dataset: Says of what kind a task is.
        metrics: Of the variant on validation.
        base: The facts of what it is compared with; a task whose metric is undefined there loses nothing.
    """
    lost = {}
    for task, each in metrics.items():
        name = main_metric(dataset.labels[task].kind)
        before, after = base["metrics"]["validation"][task][name], each[name]
        if before is not None:
            lost[task] = inf if after is None else 100.0 * (before - after)
    return lost
