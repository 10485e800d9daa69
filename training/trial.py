"""What the parts of a run take on this machine, measured on a few rows; nothing of it is left behind."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from training.data import Arrays, Pairs, Part, Texts
from training.device import enough_memory, on_gpu
from training.fit import Fit
from training.history import History
from training.objectives import Balance
from training.prepare import prepare
from training.processes import share
from training.results import write_model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from accelerate import Accelerator
    from numpy.typing import NDArray

    from training.config import Config
    from training.data import Dataset, Inputs
    from training.data.mix import Order
    from training.progress import Progress

__all__ = ["Costs", "trial"]

#: Steps whose rows are taken.
_ROWS = 12
#: Steps that are not timed, since the first ones are slower; and how many are, until that is enough.
_WARM, _LEAST, _MOST, _ENOUGH_S = 4, 8, 300, 1.0
#: Rows that are answered.
_ANSWERS = 256


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds.

    Args:
        started: Until all processes are there.
        prepared: Of getting ready, but for what is done row by row.
        read: Of a row that is read.
        frozen: Of a row in the frozen layers.
        steps: Of a step, by the epoch from which on steps are like this.
        answered: Of a row that is answered.
        checkpoint: Of a checkpoint.
        written: Of the model.
    """

    started: float
    prepared: float
    read: float
    frozen: float
    steps: Mapping[int, float]
    answered: float
    checkpoint: float
    written: float


def trial(config: Config, dataset: Dataset, order: Order) -> Costs:
    """Measure one model's run, all tasks of the data set together.

    Args:
        config: The configuration.
        dataset: The rows.
        order: Which rows each step has.

    Raises:
        TrainingError: As training itself would.
    """
    some = _some(dataset, _rows(dataset, order))
    told: list[Any] = []
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="accord-plan-") as scratch:
        given = config.model_copy(update={"track": (), "out": Path(scratch)}), some
        if config.train.processes == 1:
            _measure(*given, told.append)
        else:
            share(config.train.processes, _measure, given, told.append, gpus=on_gpu(config.train))
    # processes of a machine share its monotonic clock
    at: float = told[0]
    costs: Costs = told[1]
    return replace(costs, started=at - began)


def _measure(config: Config, some: Dataset, report: Callable[[Any], None]) -> None:
    """Report when it begins, and then costs."""
    with enough_memory():
        _costs(config, some, report)


def _costs(config: Config, some: Dataset, report: Callable[[Any], None]) -> None:
    began = time.perf_counter()
    report(began)
    frozen: list[float] = []

    def note(progress: Progress) -> None:
        frozen.append(time.perf_counter())

    made = prepare(
        config, some, teacher=None, prefix=config.out / "prefix", model=None, feed=None, report=note
    )
    frozen_s = frozen[-1] - frozen[0] if frozen else 0.0
    prepared_s = time.perf_counter() - began - frozen_s
    read_s = _timed(lambda: made.model.encoder.feed(some))
    balance = Balance(config.train.balance.kind, [1.0] * len(some.labels)).to(made.accelerator.device)
    silent = not made.accelerator.is_main_process
    fit = Fit(
        config, config.out, made, balance=balance, history=History(config.out, config, silent=silent),
        report=note, asked_to_stop=lambda: False,
    )  # fmt: skip
    steps = {epoch: _step(fit, epoch, made.accelerator) for epoch in _stages(config)}
    rows = np.arange(min(_ANSWERS, len(some)))
    answered_s = _timed(lambda: made.answer(rows))
    checkpoint_s = _timed(fit.checkpoint)
    out = config.out / f"model-{made.accelerator.process_index}"
    written_s = _timed(lambda: write_model(out, made.model, made.accelerator, some))
    n = len(some)
    report(
        Costs(
            started=0.0,
            prepared=max(0.0, prepared_s - read_s),
            read=read_s / n,
            frozen=frozen_s / n,
            steps=steps,
            answered=answered_s / len(rows),
            checkpoint=checkpoint_s,
            written=written_s,
        )
    )


def _stages(config: Config) -> list[int]:
    """Return the epochs from which on other layers are trained."""
    return [0, *(thaw.epoch for thaw in config.encoder.unfreeze if thaw.epoch < config.train.epochs)]


def _step(fit: Fit, epoch: int, accelerator: Accelerator) -> float:
    # all processes must agree on how many
    about = torch.tensor(fit.trial(epoch, _WARM), device=accelerator.device)
    count = _ENOUGH_S / float(accelerator.reduce(about, "mean"))
    return fit.trial(epoch, int(min(_MOST, max(_LEAST, count))))


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _rows(dataset: Dataset, order: Order) -> NDArray[np.int64]:
    """Return the rows of the first steps, and of each task one that has a label."""
    train = dataset.rows(Part.TRAIN)
    known = [train[labels.known[train]][:1] for labels in dataset.labels.values()]
    return np.unique(np.concatenate([*(order.at(step) for step in range(_ROWS)), *known]))


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
