"""Training: from a configuration and rows to a run's folder.

Joint, one model answers all tasks; individual, each task has a model of its own, in a folder of its own.
Either way in one process or in several that share each batch.
"""

from __future__ import annotations

import json
import random
import signal
import time
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save as save_weights

from training.answers import answer
from training.checkpoint import load
from training.config import Balance as BalanceConfig
from training.data import Part
from training.data.mix import order
from training.device import accelerator as made_accelerator
from training.errors import TrainingError
from training.files import written
from training.fit import Fit, Progress, Stopped
from training.models import build
from training.models import prefix as prefixes
from training.models.model import ABOUT, TOKENIZER, WEIGHTS
from training.objectives import Balance
from training.processes import share
from training.run import (
    BEST,
    CARD,
    CHECKPOINT,
    HISTORY,
    METRICS,
    SEARCH,
    Run,
    as_json,
    is_finished,
    write_config,
    write_predictions,
)
from training.search import search
from training.step import Losses
from training.track import open_trackers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from accelerate import Accelerator
    from numpy.typing import NDArray

    from training.config import Config
    from training.data import Dataset, Labels
    from training.data.mix import Order
    from training.objectives import Teacher

    Measure = Callable[[NDArray[Any], Labels, Sequence[str] | None], Mapping[str, float]]

__all__ = ["Progress", "Stopped", "train"]

_LIBRARIES = ("torch", "transformers", "accelerate", "torchjd", "tokenizers", "numpy")
_ANSWERED = (Part.VALIDATION, Part.TEST)


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
        resume: Go on from its checkpoint, if there is one.
        measure: Makes metrics of a task's scores, labels and, for spans, contexts; default: none are made.
        report: Told how far it is.
        model: A model to train instead of the configured one; it is changed. It needs ``encoder``, ``heads``
            and a ``forward`` as ``training.models`` has them; in one process only.
        feed: Makes its batches; default: as its ``feed`` says.
        teacher: What it learns from besides the labels.
        prefix: Where answers of frozen layers are kept; default: beside the downloads.

    Raises:
        TrainingError: If something is wrong that a person can mend.
        Stopped: If SIGINT or SIGTERM asked for it; a checkpoint is there.
    """
    if is_finished(out) and resume:
        return Run.read(out)
    if not resume and out.exists() and any(out.iterdir()):
        raise TrainingError(
            str(out), "holds something already", "go on by --resume, or name another folder by --out"
        )
    _check_tasks(dataset)
    job = _Job(config.model_copy(update={"out": out}), dataset, out, resume, measure, teacher, prefix)
    if config.train.mode == "individual" and len(dataset.labels) > 1:
        return _individual(job, report)
    processes = config.train.processes
    if processes == 1:
        _one_process(job, report, model=model, feed=feed)
    elif model is not None:
        raise TrainingError("train.processes", f"{processes} cannot share a model that is given", "use 1")
    else:
        share(processes, _one_process, (job,), report, expected=(TrainingError, Stopped))
    return Run.read(out)


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """What every process is told."""

    config: Config
    dataset: Dataset
    out: Path
    resume: bool
    measure: Measure | None
    teacher: Teacher | None
    prefix: Path | None


def _individual(job: _Job, report: Callable[[Progress], None]) -> Run:
    parts = {}
    joint = job.config.train.model_copy(update={"mode": "joint", "balance": BalanceConfig()})
    for task, labels in job.dataset.labels.items():
        parts[task] = train(
            job.config.model_copy(update={"tasks": {task: job.config.tasks[task]}, "train": joint}),
            replace(job.dataset, labels={task: labels}),
            job.out / task,
            resume=job.resume,
            measure=job.measure,
            report=report,
            teacher=job.teacher,
            prefix=job.prefix,
        )
    write_config(job.out, job.config)
    return _joined(job.out, parts)


def _one_process(
    job: _Job, report: Callable[[Progress], None], *, model: Any = None, feed: Any = None
) -> None:
    try:
        _fitted(job, report, model=model, feed=feed)
    except torch.cuda.OutOfMemoryError:
        raise TrainingError(
            "the GPU",
            "has not enough memory for the model and its answers",
            "use a smaller encoder or data.max_length, end what else runs there, or use train.device: cpu",
        ) from None


def _fitted(job: _Job, report: Callable[[Progress], None], *, model: Any, feed: Any) -> None:
    began = time.perf_counter()
    config, wanted, dataset, out = job.config, job.config.train, job.dataset, job.out
    accelerator = made_accelerator(wanted)
    _seed(wanted.seed)
    own = build(config, dataset) if model is None else model
    own.to(accelerator.device)
    feed = feed or own.feed(dataset)
    targets = {task: feed.targets(labels) for task, labels in dataset.labels.items()}
    _check_cut(dataset, targets, config.data.max_length)
    if config.encoder.cache and model is None:
        feed = _cached(job, own, feed, accelerator, report)
    prepared_s = time.perf_counter() - began
    teacher = job.teacher if job.teacher and job.teacher.share > 0 else None
    hubers = {task: each.huber for task, each in config.tasks.items()}
    losses = Losses(targets, accelerator.device, hubers, teacher)
    ordered = order(
        _all_known(dataset) if teacher else dataset,
        batch=wanted.batch,
        temperature=wanted.mix.temperature,
        seed=wanted.seed,
    )
    going_on = job.resume and (out / CHECKPOINT).exists()
    if accelerator.is_main_process and not going_on:
        (out / HISTORY).unlink(missing_ok=True)  # of a run that got to no checkpoint
        write_config(out, config)
    tried = _searched(
        job, own, accelerator=accelerator, feed=feed, ordered=ordered, losses=losses, report=report,
        going_on=going_on,
    )  # fmt: skip
    # from here on processes draw differently, or they would drop the same places of different rows
    torch.manual_seed(wanted.seed + 1 + accelerator.process_index)
    shown = config.track if accelerator.is_main_process else ()
    trackers = open_trackers(shown, out, config.model_dump(mode="json"))
    with _Signals() as signals:
        fit = Fit(
            config, out, accelerator=accelerator, model=own, feed=feed, order=ordered, losses=losses,
            balance=Balance(wanted.balance.kind, tried[0]["alphas"]).to(accelerator.device),
            validation=dataset.rows(Part.VALIDATION), data=_digest(feed.digest, targets, dataset.parts),
            trackers=trackers, report=report, asked_to_stop=lambda: signals.came,
        )  # fmt: skip
        if going_on:
            fit.resume()
        try:
            fit.run()
        finally:
            for tracker in trackers:
                tracker.close()
    if wanted.early_stopping is not None and (out / BEST).exists():
        own.load_state_dict(load(out / BEST))
    report(Progress("answering", 0, 1, None, {}))
    told = {
        part: answer(own, feed, dataset.rows(part), targets, accelerator, hubers=hubers) for part in _ANSWERED
    }
    accelerator.unwrap_model(own, keep_fp32_wrapper=False)
    own.to("cpu").eval()
    if accelerator.is_main_process:
        about = {
            "seconds": {
                "prepared": round(prepared_s, 2),
                "fitted": round(fit.elapsed_s, 2),
                "fitted_cpu": round(fit.cpu_s, 2),
            },
            "steps": fit.step,
            "stopped_early": fit.ended,
            "alphas": dict(zip(targets, fit.balance.alphas.tolist(), strict=True)),
            "weights": dict(zip(targets, fit.last.weights, strict=True)) if fit.last else {},
            "search": tried if len(tried) > 1 else [],
        }
        _write(job, own, accelerator, told, about)


def _searched(
    job: _Job,
    model: Any,
    *,
    accelerator: Accelerator,
    feed: Any,
    ordered: Order,
    losses: Losses,
    report: Callable[[Progress], None],
    going_on: bool,
) -> list[dict[str, Any]]:
    """Return what was tried as alphas, best first; where nothing is looked for, what is configured."""
    tasks, path = job.config.tasks, job.out / SEARCH
    alphas = [tasks[task].alpha if task in tasks else 1.0 for task in losses.targets]
    configured = [{"alphas": alphas}]
    if not job.config.train.balance.search or len(alphas) == 1:
        return configured
    if going_on:
        found: list[dict[str, Any]] = json.loads(path.read_text("utf-8")) if path.exists() else configured
        return found
    tried = search(
        job.config,
        alphas,
        accelerator=accelerator,
        model=model,
        feed=feed,
        order=ordered,
        losses=losses,
        validation=job.dataset.rows(Part.VALIDATION),
        report=lambda done, total: report(Progress("alphas", done, total, None, {})),
    )
    found = [asdict(each) for each in tried]
    if accelerator.is_main_process:
        written(path, as_json(found))
    return found


def _write(
    job: _Job,
    model: Any,
    accelerator: Accelerator,
    told: Mapping[Part, tuple[dict[str, NDArray[Any]], dict[str, float]]],
    about: Mapping[str, Any],
) -> None:
    out, dataset = job.out, job.dataset
    if hasattr(model, "describe"):
        written(out / ABOUT, as_json(model.describe()))
        if hasattr(model.encoder, "tokenizer"):
            written(out / TOKENIZER, model.encoder.tokenizer.to_str())
    written(out / WEIGHTS, save_weights({k: v.contiguous() for k, v in model.state_dict().items()}))
    card = {
        "data": dict(dataset.card),
        "device": str(accelerator.device),
        "precision": "fp32" if accelerator.mixed_precision == "no" else accelerator.mixed_precision,
        "processes": accelerator.num_processes,
        "parameters": sum(p.numel() for p in model.parameters()),
        "trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "cut": _cut(dataset, model.feed(dataset)) if hasattr(model, "feed") else {},
    }
    written(out / CARD, as_json(card))
    rows = np.concatenate([dataset.rows(part) for part in _ANSWERED])
    scores = {
        task: _stacked([found[task] for found, _ in told.values()]) for task in next(iter(told.values()))[0]
    }
    write_predictions(out, rows, scores)
    found = {
        "losses": {part.name.lower(): losses for part, (_, losses) in told.items()},
        "metrics": _measured(dataset, rows, scores, job.measure),
    }
    written(out / METRICS, as_json(dict(about) | found))


class _Signals:
    """Notes SIGINT and SIGTERM instead of ending at once; the second SIGINT does."""

    def __init__(self) -> None:
        self.came = False
        self._interrupted = False
        self._former: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        try:
            self._former = {n: signal.signal(n, self._note) for n in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not in the main thread, which then sees to it
            self._former = {}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: Any) -> None:
        if number == signal.SIGINT:
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True
        self.came = True


def _cached(
    job: _Job, model: Any, feed: Any, accelerator: Accelerator, report: Callable[[Progress], None]
) -> Any:
    if not hasattr(model.encoder, "prefix"):
        name = job.config.encoder.name
        raise TrainingError("encoder.cache", f"{name} has no layers to keep", "set encoder.cache: false")
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(accelerator.mixed_precision)
    began = time.perf_counter()

    def told(done: int, total: int) -> None:
        left = (time.perf_counter() - began) / done * (total - done)
        report(Progress("frozen layers", done, total, left, {}))

    folder = job.prefix or job.config.data.downloads.parent / "prefix"
    with accelerator.main_process_first():
        return prefixes.make(model.encoder, feed, folder, device=accelerator.device, half=half, report=told)


def _measured(
    dataset: Dataset, rows: NDArray[np.int64], scores: Mapping[str, NDArray[Any]], measure: Measure | None
) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    contexts = getattr(dataset.inputs, "contexts", None)
    if measure is None:
        return found
    for part in _ANSWERED:
        places = np.flatnonzero(dataset.parts[rows] == part)
        here = rows[places]
        texts = None if contexts is None else [contexts[row] for row in here.tolist()]
        found[part.name.lower()] = {
            task: dict(measure(scores[task][places], dataset.labels[task].take(here), texts))
            for task in scores
        }
    return found


def _joined(out: Path, parts: Mapping[str, Run]) -> Run:
    """Write what individual models say as if it were one."""
    rows = next(iter(parts.values())).predictions["rows"]
    write_predictions(out, rows, {task: part.predictions[task] for task, part in parts.items()})
    metrics: dict[str, Any] = {"parts": list(parts)}
    for name in ("losses", "metrics"):
        metrics[name] = {}
        for part in parts.values():
            for where, found in part.metrics[name].items():
                metrics[name].setdefault(where, {}).update(found)
    metrics["seconds"] = {
        name: sum(part.metrics["seconds"][name] for part in parts.values())
        for name in ("prepared", "fitted", "fitted_cpu")
    }
    written(out / CARD, as_json({"data": next(iter(parts.values())).card["data"], "parts": list(parts)}))
    written(out / METRICS, as_json(metrics))
    return Run.read(out)


def _stacked(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate([part for part in parts if len(part)] or parts[:1])


def _all_known(dataset: Dataset) -> Dataset:
    """Return the data set as it is for whoever has a teacher: there is something to learn from every row."""
    labels = {task: replace(each, known=np.ones_like(each.known)) for task, each in dataset.labels.items()}
    return replace(dataset, labels=labels)


def _check_tasks(dataset: Dataset) -> None:
    rows = dataset.rows(Part.TRAIN)
    for task, labels in dataset.labels.items():
        if task == "rows":
            raise TrainingError(
                "task 'rows'", "is a name that predictions.npz needs itself", "name it otherwise"
            )
        if not labels.known[rows].any():
            raise TrainingError(
                f"task {task!r}", "no training row has a label", "label some, or leave the task out"
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


def _cut(dataset: Dataset, feed: Any) -> dict[str, dict[str, int]]:
    """Count, by part, texts of which the end is not read, and of each task the answers that stand there."""
    if getattr(feed, "cut", None) is None:
        return {}
    lost = {task: labels.known & ~feed.targets(labels).known for task, labels in dataset.labels.items()}
    cut = {"texts": feed.cut} | {f"answers of {task}": rows for task, rows in lost.items() if rows.any()}
    return {
        what: {part.name.lower(): int(rows[dataset.rows(part)].sum()) for part in Part}
        for what, rows in cut.items()
    }


def _digest(inputs: str, targets: Mapping[str, Labels], parts: NDArray[np.int8]) -> str:
    digest = sha256(inputs.encode() + parts.tobytes())
    for task, labels in targets.items():
        digest.update(task.encode() + labels.known.tobytes() + labels.weights.tobytes())
        digest.update(
            np.where(labels.known.reshape(-1, *[1] * (labels.values.ndim - 1)), labels.values, 0).tobytes()
        )
    return digest.hexdigest()


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
