"""What a run is made of before its first step: device, model, batches, order, losses."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from training.answers import answer
from training.data import Part
from training.data.mix import order
from training.device import accelerator as made_accelerator
from training.errors import TrainingError
from training.models import build
from training.models import prefix as prefixes
from training.progress import Progress
from training.step import Losses

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from accelerate import Accelerator
    from numpy.typing import NDArray

    from training.config import Config
    from training.data import Dataset, Labels
    from training.data.mix import Order
    from training.objectives import Teacher

__all__ = ["Prepared", "prepare"]


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """What is ready.

    Args:
        accelerator: Device, arithmetic, processes.
        model: The model, on its device.
        feed: Makes batches.
        order: Which rows each step has.
        losses: Makes losses.
        validation: The rows that are looked at.
        data: Hash of all that is learned from.
    """

    accelerator: Accelerator
    model: Any
    feed: Any
    order: Order
    losses: Losses
    validation: NDArray[np.int64]
    data: str

    def wrapped(self) -> Any:
        """Return the model as accelerate wraps it; anew when other weights are trained, and only then.

        What averages gradients over processes must know which there are, and wrappers pile up.
        """
        return self.accelerator.prepare_model(self.model)

    def answer(self, rows: NDArray[np.int64]) -> tuple[dict[str, NDArray[Any]], dict[str, float]]:
        """Return scores and losses of rows, as ``training.answers`` does."""
        return answer(
            self.model, self.feed, rows, self.losses.targets, self.accelerator, hubers=self.losses.hubers
        )


def prepare(
    config: Config,
    dataset: Dataset,
    *,
    teacher: Teacher | None,
    prefix: Path | None,
    model: Any,
    feed: Any,
    report: Callable[[Progress], None],
) -> Prepared:
    """Make ready; random weights follow the configured seed.

    Args:
        config: The configuration.
        dataset: The rows.
        teacher: What is learned from besides the labels.
        prefix: Where answers of frozen layers are kept; default: beside the downloads.
        model: Used instead of the configured one, unless it is None.
        feed: Used instead of the model's own, unless it is None.
        report: Told how far it is.

    Raises:
        TrainingError: If something is wrong that a person can mend.
    """
    wanted = config.train
    accelerator = made_accelerator(wanted)
    _seed(wanted.seed)
    own = build(config, dataset) if model is None else model
    own.to(accelerator.device)
    feed = feed or own.feed(dataset)
    targets = {task: feed.targets(labels) for task, labels in dataset.labels.items()}
    _check_cut(dataset, targets, config.data.max_length)
    if config.encoder.cache and model is None:
        folder = prefix or config.data.downloads.parent / "prefix"
        feed = _cached(config, own, feed, folder, accelerator=accelerator, report=report)
    taught = teacher if teacher and teacher.share > 0 else None
    hubers = {task: each.huber for task, each in config.tasks.items()}
    ordered = order(
        _all_known(dataset) if taught else dataset,
        batch=wanted.batch,
        temperature=wanted.mix.temperature,
        seed=wanted.seed,
    )
    return Prepared(
        accelerator=accelerator,
        model=own,
        feed=feed,
        order=ordered,
        losses=Losses(targets, accelerator.device, hubers, taught),
        validation=dataset.rows(Part.VALIDATION),
        data=_digest(feed.digest, targets, dataset),
    )


def _check_cut(dataset: Dataset, targets: Mapping[str, Labels], longest: int) -> None:
    rows = dataset.rows(Part.TRAIN)
    for task, labels in targets.items():
        if not labels.known[rows].any():
            raise TrainingError(
                f"task {task!r}",
                f"every answer of a training row stands behind the first {longest} tokens, which are read",
                "raise data.max_length, or cut the contexts around their answers",
            )


def _cached(
    config: Config,
    model: Any,
    feed: Any,
    folder: Path,
    *,
    accelerator: Accelerator,
    report: Callable[[Progress], None],
) -> Any:
    if not hasattr(model.encoder, "prefix"):
        raise TrainingError(
            "encoder.cache", f"{config.encoder.name} has no layers to keep", "set encoder.cache: false"
        )
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(accelerator.mixed_precision)
    began = time.perf_counter()

    def told(done: int, total: int) -> None:
        left = (time.perf_counter() - began) / done * (total - done) if done else None
        report(Progress("frozen layers", done, total, left, {}))

    with accelerator.main_process_first():
        return prefixes.make(model.encoder, feed, folder, device=accelerator.device, half=half, report=told)


def _all_known(dataset: Dataset) -> Dataset:
    """Return the data set as it is for whoever has a teacher: there is something to learn from every row."""
    labels = {task: replace(each, known=np.ones_like(each.known)) for task, each in dataset.labels.items()}
    return replace(dataset, labels=labels)


def _digest(inputs: str, targets: Mapping[str, Labels], dataset: Dataset) -> str:
    digest = sha256(inputs.encode() + dataset.parts.tobytes() + dataset.domains.tobytes())
    for task, labels in targets.items():
        digest.update(task.encode() + labels.learned)
    return digest.hexdigest()


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
