"""Training a small model to answer as a large one does, with the loop that trains any other.

The loss of a row is a share of the teacher's, and the labels' for the rest; a row without a label has the
teacher alone, so unlabelled rows are worth as much as labelled ones. Nothing is frozen, and nothing is kept
but the weights.

Source: :mod:`training.objectives.distil`.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from training.config import Balance, Encoder, Optimizer
from training.data import Part
from training.loop import train

if TYPE_CHECKING:
    from collections.abc import Callable

    from training.config import Config
    from training.data import Dataset
    from training.loop import Progress
    from training.models import Model
    from training.objectives import Teacher

__all__ = ["BATCH", "distil", "some_steps"]

BATCH = 128


def distil(
    student: Model,
    config: Config,
    dataset: Dataset,
    teacher: Teacher,
    *,
    epochs: int,
    lr: float,
    report: Callable[[Progress], None] = lambda _: None,
) -> None:
    """Train a student, in place.

    Args:
        student: What is trained, heads included.
        config: That of the teacher's run: weights of tasks, arithmetic, seed.
        dataset: Its training rows are used.
        teacher: The teacher's scores.
        epochs: Passes over them, in batches of :data:`BATCH`.
        lr: The largest learning rate.
        report: Told how far it is.

    Raises:
        TrainingError: If something is wrong that a person can mend.
        Stopped: If a signal asked for it; nothing is kept.
    """
    settings = config.model_copy(
        update={
            "encoder": Encoder(name=config.encoder.name, path=config.encoder.path),
            "train": config.train.model_copy(
                update={
                    "mode": "joint",
                    "epochs": epochs,
                    "batch": BATCH,
                    "accumulate": 1,
                    "optimizer": Optimizer(lr=lr, weight_decay=config.train.optimizer.weight_decay),
                    "balance": Balance(),
                    "early_stopping": None,
                    "evaluate_every": None,
                    "processes": 1,
                }
            ),
            "compress": (),
            "export": None,
            "track": (),
        }
    )
    with tempfile.TemporaryDirectory(prefix="accord-distil-") as folder:
        train(settings, dataset, Path(folder) / "run", report=report, model=student, teacher=teacher)
    student.cpu().eval()


def some_steps(dataset: Dataset, steps: int, *, seed: int) -> tuple[Dataset, int]:
    """Return a data set with as many training rows as some steps take, and how often to go over them.

    Args:
        dataset: Whole groups of it are drawn.
        steps: How many batches of :data:`BATCH` rows.
        seed: Of what is drawn.
    """
    rows = dataset.rows(Part.TRAIN)
    epochs = max(1, math.ceil(steps * BATCH / len(rows)))
    wanted = steps * BATCH / epochs
    names, of = np.unique(dataset.groups[rows], return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    sizes = np.bincount(of, minlength=len(names))[order]
    taken = order[: int(np.searchsorted(np.cumsum(sizes), wanted)) + 1]
    parts = dataset.parts.copy()
    # of no part at all
    parts[rows[~np.isin(of, taken)]] = -1
    return replace(dataset, parts=parts), epochs
