"""Training: from a configuration and rows to a run's folder.

Joint, one model answers all tasks; individual, each task has a model of its own, in a folder of its own.
Either way in one process or in several that share each batch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from training.config import Balance
from training.data import Part
from training.device import on_gpu
from training.errors import TrainingError
from training.fingerprint import refuse_other
from training.fit import Stopped
from training.job import Job, work
from training.processes import share
from training.progress import Progress
from training.results import joined
from training.run import Run, is_finished, write_config

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from training.config import Config
    from training.data import Dataset
    from training.objectives import Teacher
    from training.results import Measure

__all__ = ["Progress", "Stopped", "check_tasks", "individual", "train"]


def train(
    config: Config,
    dataset: Dataset,
    out: Path,
    *,
    resume: bool = False,
    measure: Measure | None = None,
    report: Callable[[Progress], None] = lambda _: None,
    model: Any = None,
    feed: Any = None,
    teacher: Teacher | None = None,
    prefix: Path | None = None,
) -> Run:
    """Train, or go on training.

    Args:
        config: The configuration.
        dataset: The rows.
        out: The run's folder.
        resume: Go on from its checkpoint, if there is one; a run that is finished is read.
        measure: Makes metrics of a task's scores, labels and, for spans, contexts; default: none are made.
        report: Told how far it is.
        model: A model to train instead of the configured one; it is changed. It needs ``encoder``, ``heads``
            and a ``forward`` as ``training.models`` has them; joint, and in one process only.
        feed: Makes its batches; default: as its ``feed`` says.
        teacher: What it learns from besides the labels.
        prefix: Where answers of frozen layers are kept; default: beside the downloads.

    Raises:
        TrainingError: If something is wrong that a person can mend.
        Stopped: If SIGINT or SIGTERM asked for it; a checkpoint is there.
    """
    _check_folder(out, resume=resume)
    if resume:
        refuse_other(out, config, dataset)
        if is_finished(out):
            return Run.read(out)
    check_tasks(config, dataset, taught=teacher.scores if teacher and teacher.share > 0 else ())
    job = Job(config.model_copy(update={"out": out}), dataset, out, resume, measure, teacher, prefix)
    if config.train.mode == "individual" and len(dataset.labels) > 1:
        return _individual(job, report)
    processes = config.train.processes
    if processes == 1:
        work(job, report, model=model, feed=feed)
    elif model is not None:
        raise TrainingError("train.processes", f"{processes} cannot share a model that is given", "use 1")
    else:
        share(processes, work, (job,), report, gpus=on_gpu(config.train), expected=(Stopped,))
    return Run.read(out)


def _individual(job: Job, report: Callable[[Progress], None]) -> Run:
    write_config(job.out, job.config)
    parts = {}
    for task, labels in job.dataset.labels.items():
        parts[task] = train(
            individual(job.config, task),
            replace(job.dataset, labels={task: labels}),
            job.out / task,
            resume=job.resume,
            measure=job.measure,
            report=report,
            teacher=job.teacher,
            prefix=job.prefix,
        )
    return joined(job.out, parts)


def individual(config: Config, task: str) -> Config:
    """Return what the individual model of a task is trained as: there is nothing to balance."""
    alone = config.train.model_copy(update={"mode": "joint", "balance": Balance()})
    return config.model_copy(update={"tasks": {task: config.tasks[task]}, "train": alone})


def _check_folder(out: Path, *, resume: bool) -> None:
    if out.exists() and not out.is_dir():
        raise TrainingError(str(out), "is no folder", "name another by --out")
    if not resume and out.exists() and any(out.iterdir()):
        raise TrainingError(
            str(out), "holds something already", "go on by --resume, or name another folder by --out"
        )


def check_tasks(config: Config, dataset: Dataset, *, taught: Collection[str] = ()) -> None:
    """Refuse tasks that there is nothing to learn of, or nothing to judge by.

    Args:
        config: The configuration.
        dataset: The rows.
        taught: Tasks that a teacher answers.

    Raises:
        TrainingError: If there is one.
    """
    wanted, validation = config.train, dataset.rows(Part.VALIDATION)
    for task, labels in dataset.labels.items():
        if task == "rows":
            raise TrainingError(
                "task 'rows'", "is a name that predictions.npz needs itself", "name it otherwise"
            )
        if task not in taught and not labels.known[dataset.rows(Part.TRAIN)].any():
            raise TrainingError(
                f"task {task!r}", "no training row has a label", "label some, or leave the task out"
            )
    tasks = set(dataset.labels)
    judged = {task for task in tasks if dataset.labels[task].known[validation].any()}
    alone = wanted.mode == "individual"
    if wanted.early_stopping is not None and not (judged == tasks if alone else judged):
        _refuse_blind("train.early_stopping", tasks - judged)
    if wanted.balance.search and not alone and not judged:
        _refuse_blind("train.balance.search", tasks)


def _refuse_blind(key: str, tasks: Collection[str]) -> None:
    raise TrainingError(
        key,
        f"no validation row has a label of {', '.join(sorted(tasks))} to judge by",
        "give validation rows in data.split, or leave this out",
    )
