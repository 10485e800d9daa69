"""The trained model that variants are made of, with its rows, and who is told how far that is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from training.compress.scores import scores_by_task
from training.loop import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from training.config import Config
    from training.data import Dataset
    from training.export.interface import Head
    from training.models.model import Model

__all__ = ["Trained"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A trained model.

    Args:
        config: What it was trained as.
        dataset: The rows that it was trained on.
        model: The model.
        run: The run's folder.
        tell: Told what is being done.
        report: Told how far a long step is.
    """

    config: Config
    dataset: Dataset
    model: Model
    run: Path
    tell: Callable[[str], None]
    report: Callable[[Progress], None]

    def scores(self, onnx: bytes, heads: Sequence[Head], rows: Array, phase: str) -> dict[str, Array]:
        """Return a file's scores of rows, in their order; ``phase`` says what that is for."""
        return scores_by_task(onnx, heads, self.model, self.dataset, rows, report=self.counted(phase))

    def counted(self, phase: str) -> Callable[[int, int], None]:
        """Return what takes how many of how many are done of a phase that begins now, and reports it."""
        began = time.perf_counter()

        def told(done: int, total: int) -> None:
            left = (time.perf_counter() - began) / done * (total - done)
            self.report(Progress(phase, done, total, left, {}))

        return told
