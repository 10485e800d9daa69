"""One model's way from rows to a run's folder: what each of the processes does that share it."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from training.checkpoint import load
from training.device import enough_memory
from training.files import written
from training.fit import Fit
from training.history import History
from training.objectives import Balance
from training.prepare import prepare
from training.progress import Progress
from training.results import ANSWERED, write_model, write_results
from training.run import BEST, CHECKPOINT, HISTORY, SEARCH, as_json, write_config
from training.search import search
from training.signals import Signals, handled

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from training.config import Config
    from training.data import Dataset
    from training.objectives import Teacher
    from training.prepare import Prepared
    from training.results import Measure

__all__ = ["Job", "work"]


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What every process is told; ``training.loop.train`` says what of.

    Args:
        config: The configuration.
        dataset: The rows.
        out: The run's folder.
        resume: Go on from its checkpoint, if there is one.
        measure: Makes metrics.
        teacher: What is learned from besides.
        prefix: Where answers of frozen layers are kept.
    """

    config: Config
    dataset: Dataset
    out: Path
    resume: bool
    measure: Measure | None
    teacher: Teacher | None
    prefix: Path | None

    @property
    def going_on(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return self.resume and (self.out / CHECKPOINT).exists()


def work(job: Job, report: Callable[[Progress], None], *, model: Any = None, feed: Any = None) -> None:
    """Do a process's share of a job.

    Args:
        job: The job.
        report: Told how far it is.
        model: Trained instead of the configured one.
        feed: Makes batches instead of the model's own.

    Raises:
        TrainingError: If something is wrong that a person can mend.
        Stopped: If a signal asked for it.
    """
    with enough_memory():
        _work(job, report, model=model, feed=feed)


def _work(job: Job, report: Callable[[Progress], None], *, model: Any, feed: Any) -> None:
    began, going_on = time.perf_counter(), job.going_on
    made = prepare(
        job.config,
        job.dataset,
        teacher=job.teacher,
        prefix=job.prefix,
        model=model,
        feed=feed,
        report=report,
    )
    prepared_s = time.perf_counter() - began
    first = made.accelerator.is_main_process
    if first and not going_on:
        _begin(job)
    tried = _alphas(job, made, report, going_on=going_on)
    fit = _fitted(job, made, tried[0]["alphas"], report, going_on=going_on)
    report(Progress("answering", 0, 1, None, {}))
    told = {part: made.answer(job.dataset.rows(part)) for part in ANSWERED}
    made.accelerator.unwrap_model(made.model, keep_fp32_wrapper=False)
    made.model.to("cpu").eval()
    if first:
        write_model(job.out, made.model, made.accelerator, job.dataset)
        about = _about(fit, prepared_s, made.losses.targets, tried)
        write_results(job.out, job.dataset, told, job.measure, about)


def _begin(job: Job) -> None:
    """Write the configuration, and take away what a run left that got to no checkpoint."""
    for name in (HISTORY, BEST, SEARCH):
        (job.out / name).unlink(missing_ok=True)
    write_config(job.out, job.config)


def _alphas(
    job: Job, made: Prepared, report: Callable[[Progress], None], *, going_on: bool
) -> list[dict[str, Any]]:
    """Return what was tried as alphas, best first; where nothing is looked for, what is configured."""
    tasks, path = job.config.tasks, job.out / SEARCH
    alphas = [tasks[task].alpha if task in tasks else 1.0 for task in made.losses.targets]
    configured = [{"alphas": alphas}]
    if not job.config.train.balance.search or len(alphas) == 1:
        return configured
    if going_on:
        found: list[dict[str, Any]] = json.loads(path.read_text("utf-8")) if path.exists() else configured
        return found
    tried = search(
        job.config,
        alphas,
        made,
        report=lambda done, total: report(Progress("alphas", done, total, None, {})),
    )
    found = [asdict(each) for each in tried]
    if made.accelerator.is_main_process:
        written(path, as_json(found))
    return found


def _fitted(
    job: Job,
    made: Prepared,
    alphas: Sequence[float],
    report: Callable[[Progress], None],
    *,
    going_on: bool,
) -> Fit:
    """Return the fit at its end; the model has the weights that are to be kept."""
    wanted, accelerator = job.config.train, made.accelerator
    # from here on processes draw differently, or they would drop the same places of different rows
    torch.manual_seed(wanted.seed + 1 + accelerator.process_index)
    signals = Signals()
    with handled(signals.note):
        fit = Fit(
            job.config,
            job.out,
            made,
            balance=Balance(wanted.balance.kind, alphas).to(accelerator.device),
            history=History(job.out, job.config, silent=not accelerator.is_main_process),
            report=report,
            asked_to_stop=lambda: signals.came,
        )
        if going_on:
            fit.resume()
        fit.run()
    if wanted.early_stopping is not None and (job.out / BEST).exists():
        made.model.load_state_dict(load(job.out / BEST))
    return fit


def _about(
    fit: Fit, prepared_s: float, tasks: Collection[str], tried: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return what metrics say of the way to them."""
    return {
        "seconds": {
            "prepared": round(prepared_s, 2),
            "fitted": round(fit.elapsed_s, 2),
            "fitted_cpu": round(fit.cpu_s, 2),
        },
        "steps": fit.step,
        "stopped_early": fit.standing.ended,
        "alphas": dict(zip(tasks, fit.balance.alphas.tolist(), strict=True)),
        "weights": dict(zip(tasks, fit.last.weights, strict=True)) if fit.last else {},
        "search": list(tried) if len(tried) > 1 else [],
    }
