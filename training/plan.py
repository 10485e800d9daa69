"""What a training will take: rows, steps, and minutes; what was timed, as often as the run does it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from training.data import Part
from training.data.mix import order
from training.loop import check_tasks, individual
from training.results import ANSWERED
from training.search import JUDGING, short_run
from training.trial import trial

if TYPE_CHECKING:
    from collections.abc import Mapping

    from training.config import Config
    from training.data import Dataset
    from training.trial import Costs

__all__ = ["Plan", "plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What it will take.

    Args:
        rows: By part.
        labelled: By task, the labelled rows of each part.
        steps: Of all models together; fewer, where one stops early.
        step_s: Seconds of a step, on average.
        frozen_s: Seconds for the answers of frozen layers, unless they are kept from an earlier run.
        minutes: In all, but for reading the data.
    """

    rows: Mapping[str, int]
    labelled: Mapping[str, Mapping[str, int]]
    steps: int
    step_s: float
    frozen_s: float
    minutes: float


def plan(config: Config, dataset: Dataset) -> Plan:
    """Measure a few steps of each model.

    Raises:
        TrainingError: As training itself would.
    """
    check_tasks(config, dataset)
    rows = {part.name.lower(): len(dataset.rows(part)) for part in Part}
    labelled = {
        task: {part.name.lower(): int(labels.known[dataset.rows(part)].sum()) for part in Part}
        for task, labels in dataset.labels.items()
    }
    wanted = config.train
    alone = wanted.mode == "individual" and len(dataset.labels) > 1
    models = (
        [(individual(config, task), {task: labels}) for task, labels in dataset.labels.items()]
        if alone
        else [(config, dataset.labels)]
    )
    steps, fitted_s, frozen_s, rest_s = 0, 0.0, 0.0, 0.0
    for each, labels in models:
        own = replace(dataset, labels=labels)
        ordered = order(own, batch=wanted.batch, temperature=wanted.mix.temperature, seed=wanted.seed)
        costs = trial(each, own, ordered)
        steps += wanted.epochs * ordered.per_epoch
        fitted_s += _steps(each, ordered.per_epoch, costs)
        # individual models share what frozen layers say
        frozen_s = max(frozen_s, costs.frozen * len(dataset))
        rest_s += _rest(each, own, ordered.per_epoch, costs)
    return Plan(rows, labelled, steps, fitted_s / steps, frozen_s, (fitted_s + frozen_s + rest_s) / 60)


def _steps(config: Config, per_epoch: int, costs: Costs) -> float:
    """Return the seconds of a model's steps."""
    begins = list(costs.steps)
    ends = [*begins[1:], config.train.epochs]
    return sum((end - at) * per_epoch * costs.steps[at] for at, end in zip(begins, ends, strict=True))


def _rest(config: Config, dataset: Dataset, per_epoch: int, costs: Costs) -> float:
    """Return the seconds of a model besides its steps and frozen layers."""
    wanted, steps = config.train, config.train.epochs * per_epoch
    validation = len(dataset.rows(Part.VALIDATION))
    answered = steps // (wanted.evaluate_every or per_epoch) * validation
    answered += sum(len(dataset.rows(part)) for part in ANSWERED)
    checkpoints = wanted.epochs + steps // wanted.checkpoint_every
    searched = 0.0
    if wanted.balance.search and len(dataset.labels) > 1:
        each = short_run(per_epoch) * costs.steps[0] + min(JUDGING, validation) * costs.answered
        searched = wanted.balance.search * each
    return (
        costs.started
        + costs.prepared
        + costs.read * len(dataset)
        + searched
        + answered * costs.answered
        + checkpoints * costs.checkpoint
        + costs.written
    )
