"""The variants of a trained model: what each costs, what it loses, and whether a row's answer is its own.

A variant is a folder ``variants/<name>`` of the run, written whole: ``model.onnx``; ``variant.json`` with
all that was measured of that very file; ``predictions.npz``, its scores of validation and test rows, laid
out as the run's own. The trained model itself is the variant ``fp32``. A step whose folder is there with
the same settings is not done again.

What is chosen is chosen on validation rows (temperature, nodes that stay fp32); test rows are only looked
at.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from training.compress.distil import distil, some_steps
from training.compress.half import half
from training.compress.invariance import invariance
from training.compress.measure import cost
from training.compress.prune import prune
from training.compress.quantise import dynamic, prepare
from training.compress.running import answers, open_session
from training.compress.students import student
from training.config import Distil, Half, Int8, Prune, variant
from training.data import Kind, Pairs, Part
from training.errors import TrainingError
from training.evaluate.calibration import KINDS, fit_temperature
from training.evaluate.metrics import main_metric, measure
from training.export.interface import Head, scores_of
from training.export.onnx import check_parity, to_onnx
from training.files import filled, read_object, replaced, sound
from training.models.spans import best_spans
from training.objectives.distil import Teacher

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from training.config import Config
    from training.data import Dataset
    from training.loop import Progress
    from training.models.model import Model

__all__ = ["FP32", "VARIANTS", "Variant", "compress", "feed_of", "read", "scores_by_task"]

Array = np.ndarray[Any, np.dtype[Any]]

FP32, VARIANTS = "fp32", "variants"
_ONNX, _ABOUT, _PREDICTIONS = "model.onnx", "variant.json", "predictions.npz"
#: Rows on which a file is held against torch, and of which activations are averaged.
_PARITY_ROWS, _PRUNE_BATCHES = 96, 8
_BATCH = 32
#: Of what is trained on after a cut.
_RECOVERY_LR = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A variant.

    Args:
        name: Its name.
        onnx: Its file.
        heads: Its tasks.
        facts: What was measured of it, fit for JSON.
    """

    name: str
    onnx: bytes
    heads: tuple[Head, ...]
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """What a step has made.

    Args:
        onnx: The file.
        heads: Its tasks.
        model: The same in torch, where there is one that could be trained on.
        facts: What the step has to say.
    """

    onnx: bytes
    heads: tuple[Head, ...]
    model: Model | None
    facts: Mapping[str, Any]


def compress(
    config: Config,
    dataset: Dataset,
    model: Model,
    run: Path,
    *,
    tell: Callable[[str], None] = lambda _: None,
    report: Callable[[Progress], None] = lambda _: None,
) -> list[Variant]:
    """Make the trained model's ONNX file and every variant that a configuration asks for.

    Args:
        config: Its ``compress`` says which.
        dataset: The rows that the model was trained on.
        model: The trained model.
        run: The run's folder.
        tell: Told what is being done.
        report: Told how far a student's training is.

    Raises:
        TrainingError: If a step cannot be done, or no variant loses as little as is asked.
    """
    work = _Work(config, dataset, model, run, tell=tell, report=report)
    found = [work.variant(FP32, None)]
    found += [work.variant(variant(step), step) for step in config.compress]
    return found


def read(run: Path, name: str) -> Variant:
    """Read a variant of a run.

    Raises:
        TrainingError: If it is not there, or its file is not the one that was measured.
    """
    folder = run / VARIANTS / name
    if not (folder / _ABOUT).exists():
        raise TrainingError(str(folder), "holds no variant", "make it: accord compress")
    again = "remove its folder, and make the variant again: accord compress"
    facts = read_object(folder / _ABOUT, "onnx_sha256", "tasks", "metrics", remedy=again)
    with sound(folder / _ONNX, again):
        onnx = (folder / _ONNX).read_bytes()
    if sha256(onnx).hexdigest() != facts["onnx_sha256"]:
        raise TrainingError(
            str(folder / _ONNX),
            f"is not the file whose parity and figures {_ABOUT} tells",
            again,
        )
    heads = tuple(
        Head(
            task=task,
            kind=Kind(each["kind"]),
            classes=tuple(each["classes"]),
            temperature=each["temperature"],
        )
        for task, each in facts["tasks"].items()
    )
    return Variant(name=name, onnx=onnx, heads=heads, facts=facts)


def feed_of(model: Model, dataset: Dataset) -> Callable[[Array], Mapping[str, Array]]:
    """Return what makes a file's inputs of rows."""

    def feed(rows: Array) -> Mapping[str, Array]:
        return {name: each.numpy() for name, each in _inputs(model.collate(dataset, rows)).items()}

    return feed


def scores_by_task(
    onnx: bytes, heads: Sequence[Head], model: Model, dataset: Dataset, rows: Array, *, threads: int = 0
) -> dict[str, Array]:
    """Return a file's scores of rows as metrics take them, in the rows' order.

    Args:
        onnx: The file.
        heads: Its tasks.
        model: Makes batches.
        dataset: Holds the rows.
        rows: Which.
        threads: Of the runtime; 0 for all cores.
    """
    session = open_session(onnx, threads=threads)

    def scored(places: Array) -> dict[str, Array]:
        batch = model.collate(dataset, rows[places])
        found = scores_of(
            answers(session, {name: each.numpy() for name, each in _inputs(batch).items()}), heads
        )
        for head in heads:
            if head.kind is Kind.SPAN:
                context, offsets = batch["context"].numpy(), batch["offsets"].numpy()
                found[head.task] = best_spans(found[head.task], context, offsets)
        return found

    return _in_order(scored, _by_length(dataset, rows))


def _inputs(batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Leave out of a batch what only makes characters of tokens."""
    return {name: each for name, each in batch.items() if name != "offsets"}


def _by_length(dataset: Dataset, rows: Array) -> list[Array]:
    """Cut places of rows into batches of like length, which spares padding."""
    inputs = dataset.inputs
    texts = getattr(inputs, "texts", getattr(inputs, "contexts", None))
    order = np.arange(len(rows))
    if texts is not None:
        order = np.argsort([len(texts[row]) for row in rows.tolist()], kind="stable")
    return [order[i : i + _BATCH] for i in range(0, len(order), _BATCH)]


def _in_order(scored: Callable[[Array], Mapping[str, Array]], batches: Sequence[Array]) -> dict[str, Array]:
    parts = [scored(places) for places in batches]
    back = np.argsort(np.concatenate(batches))
    return {task: np.concatenate([part[task] for part in parts])[back] for task in parts[0]}


class _Work:
    """One pass over the steps.

    Args:
        config: The configuration.
        dataset: The rows.
        model: The trained model.
        run: The run's folder.
        tell: Told what is being done.
        report: Told how far a student's training is.
    """

    def __init__(
        self,
        config: Config,
        dataset: Dataset,
        model: Model,
        run: Path,
        *,
        tell: Callable[[str], None],
        report: Callable[[Progress], None],
    ) -> None:
        self._config, self._dataset, self._run = config, dataset, run
        self._tell, self._report = tell, report
        self._models: dict[str, Model] = {FP32: model}
        self._made: dict[str, Variant] = {}
        self._feed = feed_of(model, dataset)
        self._train, self._validation, self._test = (dataset.rows(part) for part in Part)
        self._alphas = {task: each.alpha for task, each in config.tasks.items() if task in model.answers}
        self._taught: Mapping[str, Array] | None = None

    def variant(self, name: str, step: Int8 | Half | Prune | Distil | None) -> Variant:
        """Make a variant, or read it if it was made of the same before."""
        settings = self._settings(step)
        try:
            there = read(self._run, name)
        except TrainingError:
            there = None
        if there is not None and there.facts["made_by"] == settings:
            self._made[name] = there
            return there
        self._tell(f"{name}: making it")
        made = self._step(step)
        if made.model is not None:
            self._models[name] = made.model
        self._tell(f"{name}: measuring it")
        variant = self._measured(name, made, settings)
        self._write(variant[0], variant[1])
        self._made[name] = variant[0]
        return variant[0]

    def _settings(self, step: Int8 | Half | Prune | Distil | None) -> dict[str, Any]:
        """Return what a variant follows from: the step, what it starts from, and the trained weights."""
        if step is None:
            return {"kind": FP32, "weights": _digest(self._models[FP32])}
        return step.model_dump(mode="json") | {"source": self._made[step.of].facts["onnx_sha256"]}

    def _step(self, step: Int8 | Half | Prune | Distil | None) -> _Made:
        match step:
            case None:
                return self._exported(self._models[FP32])
            case Int8():
                return self._quantised(step)
            case Half():
                source = self._made[step.of]
                return _Made(half(source.onnx), source.heads, None, {})
            case Prune():
                some, epochs = some_steps(self._dataset, step.steps, seed=self._config.train.seed)

                def recover(narrow: Model) -> None:
                    if step.steps:
                        self._distil(narrow, some, epochs, _RECOVERY_LR, share=0.5, temperature=2.0)

                batches = [
                    _inputs(self._models[step.of].collate(self._dataset, self._train[i : i + _BATCH]))
                    for i in range(0, min(len(self._train), _PRUNE_BATCHES * _BATCH), _BATCH)
                ]
                return self._exported(prune(self._source(step.of), step.share, batches, recover))
            case Distil():
                pupil = student(
                    self._source(step.of),
                    step.student,
                    layers=step.layers,
                    width=step.width,
                    dropout=self._config.train.dropout,
                )
                self._distil(
                    pupil, self._dataset, step.epochs, step.lr, share=step.share, temperature=step.temperature
                )
                return self._exported(pupil)

    def _source(self, name: str) -> Model:
        if name not in self._models:
            raise TrainingError(
                f"compress, of: {name}",
                "is there only as a file, which cannot be trained on",
                f"remove {self._run / VARIANTS / name} to have it made again, or start from {FP32}",
            )
        return self._models[name]

    def _distil(
        self, model: Model, dataset: Dataset, epochs: int, lr: float, *, share: float, temperature: float
    ) -> None:
        if self._taught is None and share > 0:
            self._tell("asking the teacher about the training rows")
            self._taught = self._teach()
        taught = self._taught if self._taught is not None and share > 0 else {}
        teacher = Teacher(taught, temperature, share)
        distil(model, self._config, dataset, teacher, epochs=epochs, lr=lr, report=self._report)

    def _teach(self) -> dict[str, Array]:
        """Return the trained model's raw scores of every row; of rows that nobody trains on, zeros."""
        teacher = self._made[FP32]
        heads = [head for head in teacher.heads if head.kind is not Kind.SPAN]
        # by its file, which is faster than torch; a score is known but for what all classes share
        found = self._scores(teacher.onnx, teacher.heads, self._train)
        taught = {}
        for head in heads:
            scores = found[head.task] * head.temperature
            taught[head.task] = np.zeros((len(self._dataset), *scores.shape[1:]), np.float32)
            taught[head.task][self._train] = scores
        return taught

    def _raw(self, model: Model, rows: Array) -> dict[str, Array]:
        """Return a torch model's raw scores of rows; none of spans."""
        tasks = [task for task, answer in model.answers.items() if answer.kind is not Kind.SPAN]
        model.eval()

        def scored(places: Array) -> dict[str, Array]:
            with torch.no_grad():
                scores = model(model.collate(self._dataset, rows[places]))
            return {task: scores[task].float().numpy() for task in tasks}

        return _in_order(scored, _by_length(self._dataset, rows)) if tasks else {}

    def _heads(self, model: Model, scores: Mapping[str, Array] | None) -> tuple[Head, ...]:
        """Return a model's tasks, with temperatures fitted on validation where scores are given."""
        heads = []
        for task, answer in model.answers.items():
            temperature = 1.0
            if scores is not None and answer.kind in KINDS:
                labels = self._dataset.labels[task].take(self._validation)
                temperature = fit_temperature(scores[task], labels).value
            heads.append(Head(task=task, kind=answer.kind, classes=answer.classes, temperature=temperature))
        return tuple(heads)

    def _exported(self, model: Model) -> _Made:
        heads = self._heads(model, self._raw(model, self._validation))
        rows = self._validation

        def feed(some: Array) -> dict[str, torch.Tensor]:
            return _inputs(model.collate(self._dataset, some))

        onnx = to_onnx(model, heads, feed(rows[:3]))
        tolerance = self._config.export.tolerance if self._config.export else None
        apart = check_parity(model, heads, onnx, feed, rows[:_PARITY_ROWS], tolerance=tolerance)
        return _Made(onnx, heads, model, {"parity": apart})

    def _quantised(self, step: Int8) -> _Made:
        source = self._made[step.of]
        options = {"per_channel": step.per_channel, "reduce_range": step.reduce_range}
        if step.mode == "dynamic":
            return _Made(dynamic(source.onnx, **options), source.heads, None, {})
        random = np.random.default_rng(self._config.train.seed)
        rows = random.permutation(self._train)[: step.rows]
        static = prepare(source.onnx, self._feed, rows, percentile=step.percentile, **options)
        best = np.inf
        for kept in static.tries():
            onnx = static.quantised(kept)
            facts = {"nodes": len(static.worst), "nodes_fp32": kept}
            if step.max_loss_pt is None:
                return _Made(onnx, source.heads, None, facts)
            scores = self._scores(onnx, source.heads, self._validation)
            lost = max(self._lost(self._metrics(scores, self._validation), self._made[FP32].facts).values())
            self._tell(f"{lost:.2f} points lost with {kept} of {len(static.worst)} nodes in fp32")
            if lost <= step.max_loss_pt:
                return _Made(onnx, source.heads, None, facts)
            best = min(best, lost)
        raise TrainingError(
            f"compress, {variant(step)}",
            f"no choice of nodes loses at most {step.max_loss_pt:g} points on validation; "
            f"the best loses {best:.2f}",
            "allow more (max_loss_pt), or leave this step out",
        )

    def _measured(
        self, name: str, made: _Made, settings: Mapping[str, Any]
    ) -> tuple[Variant, dict[str, Array]]:
        rows = np.concatenate([self._validation, self._test])
        scores = self._scores(made.onnx, made.heads, rows)
        cut = len(self._validation)
        metrics = {
            part: self._metrics({task: each[at] for task, each in scores.items()}, rows[at])
            for part, at in (("validation", slice(cut)), ("test", slice(cut, None)))
        }
        facts: dict[str, Any] = {
            "name": name,
            "made_by": dict(settings),
            **made.facts,
            **asdict(cost(made.onnx, self._feed, self._validation)),
            "invariance": asdict(invariance(made.onnx, self._feed, self._validation)),
            "metrics": metrics,
            "tasks": {
                head.task: {
                    "kind": head.kind.value,
                    "classes": list(head.classes),
                    "temperature": head.temperature,
                }
                for head in made.heads
            },
            "onnx_sha256": sha256(made.onnx).hexdigest(),
        }
        if name != FP32:
            facts["lost_pt"] = self._lost(metrics["validation"], self._made[FP32].facts)
        variant = Variant(name=name, onnx=made.onnx, heads=made.heads, facts=facts)
        return variant, {"rows": rows, **scores}

    def _scores(self, onnx: bytes, heads: Sequence[Head], rows: Array) -> dict[str, Array]:
        return scores_by_task(onnx, heads, self._models[FP32], self._dataset, rows)

    def _metrics(self, scores: Mapping[str, Array], rows: Array) -> dict[str, dict[str, float | None]]:
        inputs = self._dataset.inputs
        contexts = [inputs.contexts[row] for row in rows.tolist()] if isinstance(inputs, Pairs) else None
        found = {
            task: measure(each, self._dataset.labels[task].take(rows), contexts)
            for task, each in scores.items()
        }
        # JSON has no word for what is undefined
        return {
            task: {name: float(value) if np.isfinite(value) else None for name, value in each.items()}
            for task, each in found.items()
        }

    def _lost(self, metrics: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, float]:
        """Return how many points each task lost on validation, by its main metric."""
        lost = {}
        for task, each in metrics.items():
            name = main_metric(self._dataset.labels[task].kind)
            before, after = base["metrics"]["validation"][task][name], each[name]
            if before is not None:
                lost[task] = 100.0 * (before - after) if after is not None else np.inf
        return lost

    def _write(self, variant: Variant, predictions: Mapping[str, Array]) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, **predictions)  # type: ignore[arg-type]
        about = json.dumps(variant.facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        files = {_ONNX: variant.onnx, _ABOUT: about.encode(), _PREDICTIONS: buffer.getvalue()}
        place = self._run / VARIANTS / variant.name
        try:
            with replaced(place) as new:
                filled(new, files)
        except OSError as error:
            raise TrainingError(
                str(place), f"cannot be written ({error.strerror})", "make room, and compress again"
            ) from error


def _digest(model: Model) -> str:
    """Return a hash of a model's weights."""
    digest = sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
