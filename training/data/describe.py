"""What a run would do, before it does it: rows by part and task, and steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.data.mix import order

if TYPE_CHECKING:
    from collections.abc import Mapping

    from training.config import Config
    from training.data.dataset import Dataset

__all__ = ["Description", "describe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What `--dry-run` shows.

    Args:
        rows: Rows by part.
        domains: Rows by domain and part.
        tasks: Labelled rows by task and part.
        steps: Steps by model: one of all tasks, or one of each.
    """

    rows: Mapping[str, int]
    domains: Mapping[str, Mapping[str, int]]
    tasks: Mapping[str, Mapping[str, int]]
    steps: Mapping[str, int]


def describe(config: Config, dataset: Dataset) -> Description:
    """Say what training on a data set would do."""
    train, card = config.train, dataset.card
    trained = [[name] for name in config.tasks] if train.mode == "individual" else [list(config.tasks)]
    steps = {
        " + ".join(tasks): train.epochs
        * order(dataset, batch=train.batch, temperature=train.mix.temperature, tasks=tasks).per_epoch
        for tasks in trained
    }
    return Description(
        rows=card["rows"],
        domains=card["domains"],
        tasks={name: task["labelled"] for name, task in card["tasks"].items()},
        steps=steps,
    )
