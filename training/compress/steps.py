"""The steps: from a variant, or the model behind it, to the next one's file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from training.compress.distil import distil, some_steps
from training.compress.half import half
from training.compress.parity import parity
from training.compress.prune import prune
from training.compress.quality import lost_pt, metrics_of
from training.compress.quantise import dynamic, prepare
from training.compress.scores import BATCH, drawn, feed_of, inputs_of, raw_scores
from training.compress.students import student
from training.compress.teach import taught
from training.config import Distil, Half, Int8, Prune, variant
from training.data import Part
from training.errors import TrainingError
from training.evaluate.calibration import KINDS, fit_temperature
from training.export.interface import Head
from training.export.onnx import to_onnx
from training.objectives.distil import Teacher

if TYPE_CHECKING:
    from collections.abc import Mapping

    from training.compress.trained import Trained
    from training.compress.variant import Variant
    from training.config import Compression
    from training.data import Dataset
    from training.models.model import Model

__all__ = ["Made", "exported", "make"]

Array = np.ndarray[Any, np.dtype[Any]]

#: Rows of which activations are averaged.
_PRUNE_ROWS = 256
#: Of what is trained on after a cut.
_RECOVERY_LR, _RECOVERY_SHARE, _RECOVERY_TEMPERATURE = 1e-4, 0.5, 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """What a step has made.

    Args:
        onnx: The file.
        heads: Its tasks.
        model: The same in torch, where there is one that could be trained on.
        facts: What the step has to say.
    """

    onnx: bytes
    heads: tuple[Head, ...]
    model: Model | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def make(
    step: Compression,
    trained: Trained,
    source: Variant,
    model: Model | None,
    teacher: Variant,
) -> Made:
    """Do a step.

    Args:
        step: Which.
        trained: The trained model.
        source: What the step starts from.
        model: The same in torch, if it is at hand.
        teacher: The trained model's file: students learn from it.

    Raises:
        TrainingError: If it cannot be done, or no variant loses as little as is asked.
    """
    match step:
        case Half():
            return Made(half(source.onnx), source.heads)
        case Int8(mode="dynamic"):
            return Made(
                dynamic(source.onnx, per_channel=step.per_channel, reduce_range=step.reduce_range),
                source.heads,
            )
        case Int8():
            return _static(step, trained, source)
        case Prune():
            return _pruned(step, trained, _trainable(model, source), teacher)
        case Distil():
            return _distilled(step, trained, _trainable(model, source), teacher)


def exported(trained: Trained, model: Model) -> Made:
    """Make a model's file, its temperatures fitted on validation, and prove that both say the same.

    Args:
        trained: Has the rows.
        model: The trained model, or one that was made of it.

    Raises:
        TrainingError: If torch cannot turn it into a graph, or the file says something else.
    """
    config, dataset = trained.config, trained.dataset
    rows = dataset.rows(Part.VALIDATION)
    if not len(rows):
        raise TrainingError(
            "the data", "have no validation rows, by which what is exported is judged", "give data.split some"
        )
    scores = raw_scores(model, dataset, rows, report=trained.counted("temperatures"))
    heads = _heads(model, dataset, rows, scores)
    onnx = to_onnx(model, heads, inputs_of(model, dataset, rows[:3]))
    tolerance = config.export.tolerance if config.export else None
    apart = parity(model, heads, onnx, dataset, tolerance=tolerance)
    return Made(onnx, heads, model, {"parity": apart})


def _heads(model: Model, dataset: Dataset, rows: Array, scores: Mapping[str, Array]) -> tuple[Head, ...]:
    """Return a model's tasks, with temperatures fitted on these rows where it answers probabilities."""
    heads = []
    for task, answer in model.answers.items():
        temperature = 1.0
        if answer.kind in KINDS:
            temperature = fit_temperature(scores[task], dataset.labels[task].take(rows)).value
        heads.append(Head(task=task, kind=answer.kind, classes=answer.classes, temperature=temperature))
    return tuple(heads)


def _static(step: Int8, trained: Trained, source: Variant) -> Made:
    """Quantise, and leave the worst nodes in fp32 until no task loses more than is allowed."""
    dataset = trained.dataset
    static = prepare(
        source.onnx,
        feed_of(trained.model, dataset),
        _some_rows(trained, step.rows),
        percentile=step.percentile,
        per_channel=step.per_channel,
        reduce_range=step.reduce_range,
        report=trained.counted("ranges"),
    )
    checked, best = dataset.rows(Part.VALIDATION), np.inf
    for kept in static.tries():
        onnx = static.quantised(kept)
        made = Made(onnx, source.heads, facts={"nodes": len(static.worst), "nodes_fp32": kept})
        if step.max_loss_pt is None:
            return made
        scores = trained.scores(onnx, source.heads, checked, f"validation, {kept} nodes in fp32")
        found = metrics_of(dataset, scores, checked)
        lost = max(lost_pt(dataset, found, source.facts).values(), default=0.0)
        trained.tell(f"{lost:.2f} points lost with {kept} of {len(static.worst)} nodes in fp32")
        if lost <= step.max_loss_pt:
            return made
        best = min(best, lost)
    raise TrainingError(
        f"compress, {variant(step)}",
        f"no choice of nodes loses at most {step.max_loss_pt:g} points on validation; "
        f"the best loses {best:.2f}",
        "allow more (max_loss_pt), or leave this step out",
    )


def _some_rows(trained: Trained, count: int) -> Array:
    return drawn(trained.dataset.rows(Part.TRAIN), count, seed=trained.config.train.seed)


def _pruned(step: Prune, trained: Trained, model: Model, teacher: Variant) -> Made:
    dataset, seed = trained.dataset, trained.config.train.seed
    rows = _some_rows(trained, _PRUNE_ROWS)
    batches = [inputs_of(model, dataset, rows[i : i + BATCH]) for i in range(0, len(rows), BATCH)]

    def recover(narrow: Any) -> None:
        if step.steps:
            some, epochs = some_steps(dataset, step.steps, seed=seed)
            learned = Teacher(taught(trained, teacher), _RECOVERY_TEMPERATURE, _RECOVERY_SHARE)
            distil(
                narrow, trained.config, some, learned, epochs=epochs, lr=_RECOVERY_LR, report=trained.report
            )

    return exported(trained, prune(model, step.share, batches, recover))


def _distilled(step: Distil, trained: Trained, model: Model, teacher: Variant) -> Made:
    wanted = trained.config.train
    # random weights that do not depend on what was done before
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(wanted.seed)
        pupil = student(model, step.student, layers=step.layers, width=step.width, dropout=wanted.dropout)
    learned = Teacher(taught(trained, teacher) if step.share > 0 else {}, step.temperature, step.share)
    distil(
        pupil,
        trained.config,
        trained.dataset,
        learned,
        epochs=step.epochs,
        lr=step.lr,
        report=trained.report,
    )
    return exported(trained, pupil)


def _trainable(model: Model | None, source: Variant) -> Model:
    if model is not None:
        return model
    raise TrainingError(
        f"compress, of: {source.name}",
        "is there only as a file, which cannot be trained on",
        "start from fp32, or from a pruned or distilled variant",
    )
