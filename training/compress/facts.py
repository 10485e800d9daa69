"""All that is said of a variant, measured of its very file."""

from __future__ import annotations

from dataclasses import asdict
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from training.compress.invariance import invariance
from training.compress.measure import cost
from training.compress.quality import lost_pt, metrics_of
from training.compress.scores import feed_of
from training.compress.variant import Variant
from training.data import Part
from training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from training.compress.steps import Made
    from training.compress.trained import Trained

__all__ = ["measured"]

Array = np.ndarray[Any, np.dtype[Any]]


def measured(
    name: str,
    made: Made,
    origin: Mapping[str, Any],
    trained: Trained,
    base: Variant | None,
) -> tuple[Variant, dict[str, Array]]:
    """Measure what a step has made; return it with its scores of validation and test rows.

    Args:
        name: Its name.
        made: What was made.
        origin: What it follows from.
        trained: Has the rows.
        base: The trained model's file, which losses are counted from; None: this is it.

    Raises:
        TrainingError: If it answers a row with what is no number.
    """
    dataset, parts = trained.dataset, (Part.VALIDATION, Part.TEST)
    rows = np.concatenate([dataset.rows(part) for part in parts])
    scores = trained.scores(made.onnx, made.heads, rows, f"{name}: scores")
    _check_finite(name, scores)
    metrics = {}
    for part in parts:
        here = dataset.parts[rows] == part
        some = {task: each[here] for task, each in scores.items()}
        metrics[part.name.lower()] = metrics_of(dataset, some, rows[here])
    feed, checked = feed_of(trained.model, dataset), dataset.rows(Part.VALIDATION)
    costs = cost(made.onnx, feed, checked)
    told = trained.counted(f"{name}: alone and among others")
    alike = invariance(made.onnx, feed, checked, report=told)
    if not np.isfinite(alike.worst):
        raise _no_number(name, "some rows")
    facts: dict[str, Any] = {
        "name": name,
        "made_by": dict(origin),
        **made.facts,
        **asdict(costs),
        "invariance": asdict(alike),
        "metrics": metrics,
        "tasks": {
            head.task: {
                "kind": head.kind.value,
                "classes": list(head.classes),
                "temperature": head.temperature,
            }
            for head in made.heads
        },
        "onnx_sha256": sha256(made.onnx).hexdigest(),
    }
    if base is not None:
        lost = lost_pt(dataset, metrics["validation"], base.facts)
        facts["lost_pt"] = {task: each if np.isfinite(each) else None for task, each in lost.items()}
    return Variant(name=name, onnx=made.onnx, heads=made.heads, facts=facts), {"rows": rows, **scores}


def _check_finite(name: str, scores: Mapping[str, Array]) -> None:
    for task, each in scores.items():
        bad = int((~np.isfinite(each.reshape(len(each), -1))).any(axis=1).sum())
        if bad:
            raise _no_number(name, f"{bad} of {len(each)} rows of task {task!r}")


def _no_number(name: str, rows: str) -> TrainingError:
    return TrainingError(
        f"variant {name!r}",
        f"answers {rows} with what is no number",
        "leave this step out: its arithmetic does not hold the model's values",
    )
