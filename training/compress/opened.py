"""Finished runs with the rows that they were trained on, ready to be compressed or exported."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from training.config import load
from training.data import card
from training.data.load import load as load_data
from training.run import CONFIG, Run

if TYPE_CHECKING:
    from pathlib import Path

    from training.config import Config
    from training.data import Dataset
    from training.models import Model

__all__ = ["Opened", "open_run"]


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """One trained model.

    Args:
        name: The run's.
        folder: Where the model is.
        config: What it was trained as.
        dataset: The rows it was trained on.
        model: The model.
        task: Its task, where each has a model of its own; empty for a joint model.
    """

    name: str
    folder: Path
    config: Config
    dataset: Dataset
    model: Model
    task: str = ""


def open_run(folder: Path, config: Config | None = None) -> list[Opened]:
    """Read a run's models: one, or one for each task.

    Args:
        folder: The run.
        config: What ``compress`` and ``export`` say now; default: as when it was trained.

    Raises:
        TrainingError: If it is not finished, or its rows have changed.
        ConfigError: If its configuration cannot be read.
    """
    run = Run.read(folder)
    trained, _ = load(folder / CONFIG)
    if config is not None:
        trained = trained.model_copy(update={"compress": config.compress, "export": config.export})
    dataset = load_data(trained)
    card.check(run.card["data"], dataset)
    if not run.parts:
        return [Opened(folder.name, folder, trained, dataset, run.model().eval())]
    return [
        Opened(
            folder.name,
            part.folder,
            trained.model_copy(update={"tasks": {task: trained.tasks[task]}}),
            replace(dataset, labels={task: dataset.labels[task]}),
            part.model().eval(),
            task,
        )
        for task, part in run.parts.items()
    ]
