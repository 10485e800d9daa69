"""From runs' folders to models that can be compared, if they were tried on the same rows."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from os.path import commonprefix
from typing import TYPE_CHECKING, Any

import numpy as np

from training.config import load as load_config
from training.data import card as cards
from training.data.dataset import Arrays, Pairs, Part
from training.data.load import load as load_data
from training.errors import TrainingError
from training.evaluate.baselines import CHANCE, baselines
from training.evaluate.findings import Cost, Model, Role, Scores
from training.evaluate.history import History
from training.evaluate.vader import rules
from training.files import read_object
from training.run import Run, read_predictions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from training.config import Config
    from training.data.dataset import Dataset

__all__ = ["Evaluated", "gather", "simple"]

_VARIANTS, _ABOUT, _PREDICTIONS, _TRAINED = "variants", "variant.json", "predictions.npz", "fp32"
_COMPRESS = "remove its folder and compress again"

#: A model that is this many times faster than another is worth being asked first.
_MUCH_FASTER = 4.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluated:
    """What there is to compare.

    Args:
        dataset: The rows, those of the first run.
        config: The configuration of the first run.
        models: The models, a joint one first if there is one.
        histories: How trained ones came to be.
        cascades: Names of cheap and costly models to try one before the other.
        notes: What a reader should know.
    """

    dataset: Dataset
    config: Config
    models: tuple[Model, ...]
    histories: tuple[History, ...]
    cascades: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    run: Run
    config: Config
    scores: Mapping[str, Scores]

    @property
    def individual(self) -> bool:
        return bool(self.run.parts)

    @property
    def key(self) -> str:
        """What runs have in common that differ in their seed only."""
        about = self.config.model_dump(mode="json", exclude={"out", "export", "compress", "track"})
        about["train"].pop("seed")
        return json.dumps(about, sort_keys=True)


def gather(folders: Sequence[Path], *, data: Callable[[Config], Dataset] = load_data) -> Evaluated:
    """Read runs. Those that differ in nothing but their seed count as one model.

    Args:
        folders: Folders of finished runs.
        data: Reads the rows that a configuration asks for.

    Raises:
        TrainingError: If one is not finished, its data have changed, or it was tried on other rows.
    """
    first: Dataset | None = None
    seen: dict[str, Dataset] = {}
    read: dict[str, list[_Read]] = {}
    notes: list[str] = []
    for folder in folders:
        run = Run.read(folder)
        config = load_config(folder / "config.yaml")[0]
        asked = config.model_dump_json(include={"data", "tasks"})
        if asked not in seen:
            seen[asked] = data(config)
        dataset = seen[asked]
        _check_data(folder, run, dataset)
        scores = _scores(folder, run.predictions, dataset)
        if first is None:
            first = replace(dataset, labels={task: dataset.labels[task] for task in scores})
        other = [task for task in scores if task not in first.labels]
        if other:
            notes.append(f"{folder.name}: not shown, because {folders[0].name} lacks it: {', '.join(other)}")
        _check_same(folder, dataset, folders[0], first, [task for task in scores if task in first.labels])
        one = _Read(run, config, scores)
        read.setdefault(one.key, []).append(one)
    assert first is not None  # noqa: S101 - at least one folder is named
    groups = sorted(read.values(), key=lambda group: group[0].individual)
    names = _names(groups)
    models, histories = [], []
    for name, group in zip(names, groups, strict=True):
        models.append(_model(name, group))
        histories += _histories(name, group[0])
        if len(group) > 1:
            seeds = ", ".join(str(each.config.train.seed) for each in group)
            notes.append(f"{name}: the mean over {len(group)} runs, seeds {seeds}; curves are of the first")
    made: dict[str, str] = {}
    varied = [(name, _variants(group[0].run.folder)) for name, group in zip(names, groups, strict=True)]
    alone = sum(bool(variants) for _, variants in varied) == 1
    for name, variants in varied:
        for folder in variants:
            about = _about(folder)
            models.append(_variant(folder, about, folder.name if alone else f"{name} {folder.name}", first))
            made[models[-1].name] = about["made_by"].get("kind", "")
    return Evaluated(
        dataset=first,
        config=groups[0][0].config,
        models=tuple(models),
        histories=tuple(histories),
        cascades=tuple(_pairs(models, made)),
        notes=tuple(notes),
    )


def simple(found: Evaluated) -> list[Model]:
    """Return the baselines as models.

    Raises:
        TrainingError: If VADER's archive is at hand and is not the pinned one.
    """
    archive = found.config.data.downloads / "vaderSentiment-3.3.2.tar.gz"
    corpora = {source.corpus for source in found.config.data.source}
    vader = rules(archive) if archive.exists() and corpora <= {"vader"} else None
    validation, test = (found.dataset.rows(part) for part in (Part.VALIDATION, Part.TEST))
    by_name: dict[str, dict[str, Sequence[Scores]]] = {}
    for task in found.dataset.labels:
        for name, scores in baselines(found.dataset, task, vader=vader).items():
            by_name.setdefault(name, {})[task] = (Scores(scores[validation], scores[test]),)
    return [
        Model(name=name, role=Role.CHANCE if name in CHANCE else Role.BASELINE, scores=scores)
        for name, scores in by_name.items()
    ]


def _check_data(folder: Path, run: Run, dataset: Dataset) -> None:
    told = run.card["data"]
    try:
        cards.check(told, dataset)
    except TrainingError as error:
        raise TrainingError(str(folder), error.problem, error.remedy) from None


def _scores(folder: Path, predictions: Mapping[str, NDArray[Any]], dataset: Dataset) -> dict[str, Scores]:
    validation, test = dataset.rows(Part.VALIDATION), dataset.rows(Part.TEST)
    if not np.array_equal(predictions.get("rows", ()), np.concatenate([validation, test])):
        raise TrainingError(
            str(folder / _PREDICTIONS),
            "holds no predictions of these validation and test rows",
            "train again",
        )
    cut = len(validation)
    return {task: Scores(each[:cut], each[cut:]) for task, each in predictions.items() if task != "rows"}


def _check_same(folder: Path, dataset: Dataset, first: Path, other: Dataset, tasks: Sequence[str]) -> None:
    differ = [] if dataset is other else list(_differences(dataset, other, tasks))
    if not tasks:
        differ.append("the tasks")
    if differ:
        raise TrainingError(
            str(folder),
            f"cannot be compared with {first}: they differ in {differ[0]}",
            "evaluate the two apart, or give both the same data and split",
        )


def _differences(one: Dataset, other: Dataset, tasks: Sequence[str]) -> Iterator[str]:
    for part in (Part.VALIDATION, Part.TEST):
        rows, others = one.rows(part), other.rows(part)
        name = part.name.lower()
        if _inputs(one, rows) != _inputs(other, others):
            yield f"their {name} rows"
            return
        for task in tasks:
            mine, theirs = one.labels[task], other.labels[task]
            same = mine.classes == theirs.classes and all(
                np.array_equal(a[rows], b[others])
                for a, b in ((mine.values, theirs.values), (mine.known, theirs.known))
            )
            if not same:
                yield f"the {name} labels of task {task!r}"


def _inputs(dataset: Dataset, rows: NDArray[np.int64]) -> list[Any]:
    inputs = dataset.inputs
    if isinstance(inputs, Arrays):
        return [inputs.values[rows].tobytes()]
    texts = (inputs.questions, inputs.contexts) if isinstance(inputs, Pairs) else (inputs.texts,)
    return [[text[row] for row in rows.tolist()] for text in texts]


def _names(groups: Sequence[Sequence[_Read]]) -> list[str]:
    """Return a name for each group: its folder's, or what its folders' begin with."""
    found: list[str] = []
    for group in groups:
        folders = [each.run.folder for each in group]
        shared = commonprefix([folder.name for folder in folders])  # noqa: RUF071 - names, not paths
        name = shared.rstrip("-_.") or folders[0].name
        if name in found:
            name = f"{folders[0].parent.name}/{name}"
        found.append(name if name not in found else str(folders[0]))
    return found


def _model(name: str, group: Sequence[_Read]) -> Model:
    tasks = list(group[0].scores)
    about = _about(group[0].run.folder / _VARIANTS / _TRAINED)
    return Model(
        name=name,
        role=Role.INDIVIDUAL if group[0].individual else Role.JOINT,
        scores={task: [each.scores[task] for each in group] for task in tasks},
        cost=_cost(about),
        independent=about["invariance"]["same"] if about else None,
    )


def _histories(name: str, read: _Read) -> list[History]:
    parts = read.run.parts.values() if read.individual else [read.run]
    return [History(name, part.history) for part in parts]


def _variants(run: Path) -> list[Path]:
    """Return the folders of a run's variants but for the trained model itself, whose scores are the run's."""
    return sorted(
        about.parent for about in (run / _VARIANTS).glob(f"*/{_ABOUT}") if about.parent.name != _TRAINED
    )


def _variant(folder: Path, about: Mapping[str, Any], name: str, dataset: Dataset) -> Model:
    scores = _scores(folder, read_predictions(folder, _COMPRESS), dataset)
    return Model(
        name=name,
        role=Role.VARIANT,
        scores={task: [each] for task, each in scores.items()},
        cost=_cost(about),
        independent=about["invariance"]["same"],
    )


def _about(folder: Path) -> dict[str, Any]:
    path = folder / _ABOUT
    if not path.exists():
        return {}
    return read_object(path, "made_by", "bytes", "ms_1", "ms_8", "invariance", remedy=_COMPRESS)


def _cost(about: Mapping[str, Any]) -> Cost | None:
    return Cost(about["bytes"], about["ms_1"], about["ms_8"]) if about else None


def _pairs(models: Sequence[Model], made: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each much faster variant before the model that would be served without it.

    That is the 8-bit one if its rows are independent, else the trained one.
    """
    costs = {model.name: model.cost for model in models if model.cost is not None}
    eight = [model.name for model in models if made.get(model.name) == "int8" and model.independent]
    trained = [model.name for model in models if model.role is Role.JOINT and model.name in costs]
    for last in (eight or trained)[:1]:
        for name, cost in costs.items():
            if name in made and _MUCH_FASTER * cost.ms_8 <= costs[last].ms_8:
                yield name, last
