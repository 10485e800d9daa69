"""What tests of runs share: how good one is, whether two are alike, how to stop one."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from training.data import Dataset
    from training.loop import Progress
    from training.run import Run

__all__ = ["ENOUGH", "accuracy", "interrupted", "same_weights", "stop_at"]

#: What a small model needs to learn.
ENOUGH: Any = {"epochs": 12, "optimizer": {"lr": 3e-3, "head_lr": 3e-2}}


def accuracy(run: Run, dataset: Dataset, task: str) -> float:
    answers = run.predictions
    labels = dataset.labels[task].take(answers["rows"])
    return float((answers[task].argmax(1) == labels.values)[labels.known].mean())


def same_weights(one: Path, other: Path) -> bool:
    a, b = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def stop_at(step: int) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.phase == "training" and progress.done == step:
            os.kill(os.getpid(), signal.SIGINT)

    return report


def interrupted(phase: str) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.phase == phase:
            raise KeyboardInterrupt

    return report
