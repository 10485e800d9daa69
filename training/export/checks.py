"""What must hold of a variant, or it is not exported.

- *Model*: the trained model's file says what the model says, proved again; any other variant was made of the
  same weights, and was held against torch as closely as is asked now, if it is a model of its own.
- *Rows*: a row's answer is the same alone and among others, unless what is not is allowed.
- *Names*: of the files as they were written, labels included, the figures on labelled rows are the card's,
  class by name. Swapped labels are found that way: nothing else tells which column is which class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from training.compress.invariance import invariance
from training.compress.origin import weights_hash
from training.compress.parity import parity
from training.compress.scores import feed_of, scores_by_task
from training.compress.variant import FP32
from training.data import Pairs, Part
from training.errors import TrainingError
from training.evaluate.metrics import measure
from training.export.interface import outputs
from training.export.onnx import PARITY
from training.export.repository import MODEL, label_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from training.compress.invariance import Invariance
    from training.compress.variant import Variant
    from training.data import Dataset
    from training.export.interface import Output
    from training.models.model import Model

__all__ = ["FIGURES", "FIGURES_DEPENDENT", "check_model", "check_names", "check_rows"]

Array = np.ndarray[Any, np.dtype[Any]]

#: What a tie that rounding decides may do to a figure; the answers themselves are the same.
FIGURES = 1e-3
#: A model whose rows depend on each other answers a little differently each time that batches fall otherwise.
FIGURES_DEPENDENT = 2e-2


def check_model(variant: Variant, model: Model, dataset: Dataset, *, tolerance: float | None = None) -> None:
    """Prove that a variant is of a model.

    Args:
        variant: The variant.
        model: The trained model.
        dataset: Holds validation rows.
        tolerance: How far what was trained and what its file says may be apart; default:
            :data:`training.export.onnx.PARITY`.

    Raises:
        TrainingError: If it is not.
    """
    if variant.name == FP32:
        parity(model, variant.heads, variant.onnx, dataset, tolerance=tolerance)
        return
    if variant.facts.get("made_by", {}).get("weights") != weights_hash(model):
        raise TrainingError(
            f"variant {variant.name!r}",
            "was made of other weights than the run has",
            "make it again: accord compress",
        )
    allowed, apart = PARITY if tolerance is None else tolerance, variant.facts.get("parity", 0.0)
    if apart > allowed:
        raise TrainingError(
            f"variant {variant.name!r}",
            f"differs from what was trained by {apart:.2g}, more than {allowed:g}",
            "raise export.tolerance, or remove its folder and make it again: accord compress",
        )


def check_rows(variant: Variant, model: Model, dataset: Dataset, *, allowed: bool) -> Invariance:
    """Return how alike rows are answered alone and among others.

    Args:
        variant: The variant.
        model: Makes batches.
        dataset: Holds validation rows.
        allowed: Whether they may be answered otherwise.

    Raises:
        TrainingError: If they are, and may not.
    """
    found = invariance(variant.onnx, feed_of(model, dataset), dataset.rows(Part.VALIDATION))
    if not found.same and not allowed:
        raise TrainingError(
            f"variant {variant.name!r}",
            f"a row's answer depends on the rows beside it: by up to {found.worst:.2g}, and of "
            f"{found.compared} answers {found.labels} have another largest class",
            "export a static variant, or say export: {allow_batch_dependent: true}",
        )
    return found


def check_names(
    folder: Path,
    files: Path,
    variant: Variant,
    model: Model,
    dataset: Dataset,
    *,
    metrics: Mapping[str, Mapping[str, Mapping[str, float | None]]],
    tolerance: float = FIGURES,
) -> None:
    """Prove that files answer rows as a card says, each class by the name in its label file.

    They are the test rows; of a task that has no label there, the validation rows.

    Args:
        folder: Holds the label files.
        files: Holds the model's.
        variant: Its tasks.
        model: Makes batches.
        dataset: Holds the rows.
        metrics: By part and task, the card's.
        tolerance: How far any may be off.

    Raises:
        TrainingError: If they do not.
    """
    onnx, proved = (files / MODEL).read_bytes(), set[str]()
    named = [each for each in outputs(variant.heads) if each.part not in ("label", "end")]
    orders = {each.name: _order(folder, each, variant, dataset) for each in named}
    for part in (Part.TEST, Part.VALIDATION):
        rows = dataset.rows(part)
        tasks = {head.task for head in variant.heads if dataset.labels[head.task].known[rows].any()} - proved
        scores = scores_by_task(onnx, variant.heads, model, dataset, rows) if tasks else {}
        for output in named:
            task, order = output.head.task, orders[output.name]
            if task in tasks:
                found = scores[task] if order is None else scores[task][:, order]
                then = metrics[part.name.lower()][task]
                _check_figures(output, _figures(found, task, dataset, rows), then, part, tolerance)
        proved |= tasks


def _order(folder: Path, output: Output, variant: Variant, dataset: Dataset) -> list[int] | None:
    """Return where the data's classes stand in an output's label file; None without one."""
    file, classes = label_file(output, variant.heads), dataset.labels[output.head.task].classes
    if not file:
        return None
    # as a worker reads it: a class may have what only Unicode calls the end of a line
    names = (folder / file).read_bytes().decode().removesuffix("\n").split("\n")
    if sorted(names) != sorted(classes):
        raise TrainingError(
            f"{file} of {output.name!r}",
            f"names other classes ({', '.join(names)}) than the data ({', '.join(classes)})",
            "export again from the run; do not write label files by hand",
        )
    return [names.index(each) for each in classes]


def _figures(scores: Array, task: str, dataset: Dataset, rows: Array) -> Mapping[str, float]:
    inputs = dataset.inputs
    contexts = [inputs.contexts[row] for row in rows.tolist()] if isinstance(inputs, Pairs) else None
    return measure(scores, dataset.labels[task].take(rows), contexts)


def _check_figures(
    output: Output, now: Mapping[str, float], then: Mapping[str, float | None], part: Part, tolerance: float
) -> None:
    for metric, value in now.items():
        wanted = then[metric]
        if wanted is not None and not abs(value - wanted) <= tolerance * max(1.0, abs(wanted)):
            raise TrainingError(
                f"output {output.name!r}",
                f"{metric} on the {part.name.lower()} rows is {value:.4f} with the names of its label file, "
                f"the card says {wanted:.4f}",
                "its labels are swapped, or the file is another one; export again from the run",
            )
