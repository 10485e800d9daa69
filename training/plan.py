"""What a training will take: rows, steps, and minutes, measured on a few steps that leave nothing behind."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from training.data import Arrays, Pairs, Part, Texts
from training.data.mix import order
from training.loop import train

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from training.config import Config
    from training.data import Dataset, Inputs
    from training.loop import Progress

__all__ = ["Plan", "plan"]

#: Steps that are timed; the first ones are slower and do not count.
_STEPS, _WARM = 12, 3
#: Steps of a short run in the search for alphas, and looks at validation cost about a third of a step's rows.
_SHORT, _LOOK = 150, 1 / 3


@dataclass(frozen=True, slots=True)
class Plan:
    """What it will take.

    Args:
        rows: By part.
        labelled: By task, the labelled rows of each part.
        steps: Of all models together.
        step_s: Seconds of a step, measured.
        frozen_s: Seconds for the answers of frozen layers, unless they are kept from an earlier run.
        minutes: In all.
    """

    rows: Mapping[str, int]
    labelled: Mapping[str, Mapping[str, int]]
    steps: int
    step_s: float
    frozen_s: float
    minutes: float


def plan(config: Config, dataset: Dataset) -> Plan:
    """Measure a few steps.

    Raises:
        TrainingError: As training itself would.
    """
    rows = {part.name.lower(): len(dataset.rows(part)) for part in Part}
    labelled = {
        task: {part.name.lower(): int(labels.known[dataset.rows(part)].sum()) for part in Part}
        for task, labels in dataset.labels.items()
    }
    wanted = config.train
    models = [[task] for task in dataset.labels] if wanted.mode == "individual" else [list(dataset.labels)]
    per_epoch = [
        order(
            dataset, batch=wanted.batch, temperature=wanted.mix.temperature, seed=wanted.seed, tasks=tasks
        ).per_epoch
        for tasks in models
    ]
    steps = wanted.epochs * sum(per_epoch)
    step_s, row_s = _measured(config, dataset)
    frozen_s = row_s * len(dataset)
    looks = (
        steps
        // (wanted.evaluate_every or max(1, per_epoch[0]))
        * rows["validation"]
        / wanted.batch
        * step_s
        * _LOOK
    )
    searched = wanted.balance.search * min(_SHORT, per_epoch[0] // 4) * step_s
    seconds = frozen_s + steps * step_s + looks + searched
    return Plan(rows, labelled, steps, step_s, frozen_s, seconds / 60)


def _measured(config: Config, dataset: Dataset) -> tuple[float, float]:
    """Return the seconds of a step, and those of a row in the frozen layers."""
    generator = np.random.default_rng(0)
    drawn = generator.permutation(dataset.rows(Part.TRAIN))[: _STEPS * config.train.batch]
    few = [generator.permutation(dataset.rows(part))[:4] for part in (Part.VALIDATION, Part.TEST)]
    rows = np.sort(np.concatenate([drawn, *few]))
    some = _some(dataset, rows)
    short = config.model_copy(
        update={
            "track": (),
            "train": config.train.model_copy(
                update={
                    "epochs": 1,
                    "mode": "joint",
                    "early_stopping": None,
                    "balance": config.train.balance.model_copy(update={"search": 0}),
                }
            ),
        }
    )
    times: list[tuple[str, float]] = []

    def note(progress: Progress) -> None:
        times.append((progress.phase, time.perf_counter()))

    with tempfile.TemporaryDirectory(prefix="accord-plan-") as scratch:
        began = time.perf_counter()
        train(short, some, Path(scratch) / "run", report=note, prefix=Path(scratch) / "prefix")
    stamps = [at for phase, at in times if phase == "training"]
    counted = (
        np.diff(stamps[min(_WARM, len(stamps) - 1) :]) if len(stamps) > 1 else np.array([stamps[0] - began])
    )
    frozen = [at for phase, at in times if phase == "frozen layers"]
    # the model is loaded before: of its time little is known, and it is short
    row_s = (frozen[-1] - began) / len(rows) if frozen else 0.0
    return float(np.median(counted)) if len(counted) else stamps[-1] - began, row_s


def _some(dataset: Dataset, rows: NDArray[np.int64]) -> Dataset:
    return replace(
        dataset,
        inputs=_taken(dataset.inputs, rows),
        labels={task: labels.take(rows) for task, labels in dataset.labels.items()},
        groups=dataset.groups[rows],
        domains=dataset.domains[rows],
        parts=dataset.parts[rows],
    )


def _taken(inputs: Inputs, rows: NDArray[np.int64]) -> Inputs:
    chosen = rows.tolist()
    if isinstance(inputs, Arrays):
        return Arrays(inputs.values[rows])
    if isinstance(inputs, Texts):
        return Texts(tuple(inputs.texts[row] for row in chosen))
    return Pairs(
        tuple(inputs.questions[row] for row in chosen), tuple(inputs.contexts[row] for row in chosen)
    )
