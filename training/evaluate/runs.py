"""From runs' folders to models that can be compared, if they were tried on the same rows."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from os.path import commonprefix
from typing import TYPE_CHECKING, Any

import numpy as np

from training.compress.variant import FP32
from training.config import load as load_config
from training.data import card as cards
from training.data.dataset import Arrays, Pairs, Part
from training.data.load import load as load_data
from training.errors import TrainingError
from training.evaluate.baselines import CHANCE, baselines
from training.evaluate.findings import Model, Role, Scores
from training.evaluate.history import History
from training.evaluate.kept import kept, scores_in
from training.evaluate.vader import rules
from training.run import CONFIG, Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from training.config import Config
    from training.data.dataset import Dataset
    from training.evaluate.kept import Kept

__all__ = ["Evaluated", "gather", "simple"]

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
    dataset: Dataset
    scores: Mapping[str, Scores]
    kept: Mapping[str, Kept]

    @property
    def individual(self) -> bool:
        return bool(self.run.parts)

    @property
    def key(self) -> str:
        """What runs have in common that differ in their seed only."""
        about = self.config.model_dump(mode="json", exclude={"out", "export", "compress", "track"})
        about["train"].pop("seed")
        about["data"].pop("downloads")
        return json.dumps(about, sort_keys=True)


def gather(folders: Sequence[Path], *, data: Callable[[Config], Dataset] = load_data) -> Evaluated:
    """Read runs. Those that differ in nothing but their seed count as one model.

    Args:
        folders: Folders of finished runs.
        data: Reads the rows that a configuration asks for.

    Raises:
        TrainingError: If one is not finished, its data have changed, or it was tried on other rows.
    """
    reads, notes = _reads(folders, data)
    by_key: dict[str, list[_Read]] = {}
    for each in reads:
        by_key.setdefault(each.key, []).append(each)
    groups = sorted(by_key.values(), key=lambda group: group[0].individual)
    names = _names(groups)
    models, histories = [], []
    for name, group in zip(names, groups, strict=True):
        models.append(_model(name, group))
        histories += _histories(name, group[0])
        if len(group) > 1:
            seeds = ", ".join(str(each.config.train.seed) for each in group)
            notes.append(
                f"{name}: the mean over {len(group)} runs, seeds {seeds}; curves, confidence, cascades "
                "and cost are of the first"
            )
    varied = [_varied(name, group[0], notes) for name, group in zip(names, groups, strict=True)]
    alone = sum(bool(found) for found in varied) == 1
    cascades: list[tuple[str, str]] = []
    for trained, group, found in zip(tuple(models), groups, varied, strict=True):
        made = []
        for one in found:
            own = one.name if alone and one.name not in names else f"{trained.name} {one.name}"
            made.append((_variant(own, one, group[0].dataset), one))
        models += [model for model, _ in made]
        if trained.role is Role.JOINT:
            cascades += _cascades(trained, made)
    return Evaluated(
        dataset=replace(
            reads[0].dataset, labels={task: reads[0].dataset.labels[task] for task in reads[0].scores}
        ),
        config=groups[0][0].config,
        models=tuple(models),
        histories=tuple(histories),
        cascades=tuple(cascades),
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


def _reads(folders: Sequence[Path], data: Callable[[Config], Dataset]) -> tuple[list[_Read], list[str]]:
    """Read runs that were tried on the same rows as the first; also return what a reader should know."""
    seen: dict[str, Dataset] = {}
    reads: list[_Read] = []
    notes: list[str] = []
    for folder in folders:
        run = Run.read(folder)
        config = load_config(folder / CONFIG)[0]
        asked = config.model_dump_json(include={"data", "tasks"})
        if asked not in seen:
            seen[asked] = data(config)
        dataset = _checked(run, seen[asked])
        one = _Read(run, config, dataset, scores_in(folder, dataset), kept(run))
        reads.append(one)
        other = [task for task in one.scores if task not in reads[0].scores]
        if other:
            notes.append(f"{folder.name}: not shown, because {folders[0].name} lacks it: {', '.join(other)}")
        _check_same(one, reads[0], [task for task in one.scores if task not in other])
    return reads, notes


def _checked(run: Run, dataset: Dataset) -> Dataset:
    """Return the data of a run, if they are still those that it was trained on."""
    told = run.card["data"]
    try:
        cards.check(told, dataset)
    except TrainingError as error:
        raise TrainingError(str(run.folder), error.problem, error.remedy) from None
    return dataset


def _check_same(one: _Read, first: _Read, tasks: Sequence[str]) -> None:
    same = one.dataset is first.dataset
    differ = [] if same else list(_differences(one.dataset, first.dataset, tasks))
    if not tasks:
        differ.append("the tasks")
    if differ:
        raise TrainingError(
            str(one.run.folder),
            f"cannot be compared with {first.run.folder}: they differ in {differ[0]}",
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
    file = group[0].kept.get(FP32)
    return Model(
        name=name,
        role=Role.INDIVIDUAL if group[0].individual else Role.JOINT,
        scores={task: [each.scores[task] for each in group] for task in tasks},
        cost=None if file is None else file.cost,
        independent=None if file is None else file.independent,
    )


def _histories(name: str, read: _Read) -> list[History]:
    parts = read.run.parts.values() if read.individual else [read.run]
    return [History(name, part.history) for part in parts]


def _varied(name: str, read: _Read, notes: list[str]) -> list[Kept]:
    """Return a run's variants but for the trained model itself, whose scores are the run's.

    One that was made of other weights than the file of the trained model is noted, and left out.
    """
    file, found = read.kept.get(FP32), []
    for each in read.kept.values():
        if file is not None and each.weights != file.weights:
            notes.append(f"{name}: {each.name} is not shown, because it was made of other weights")
        elif each.name != FP32:
            found.append(each)
    return found


def _variant(name: str, kept: Kept, dataset: Dataset) -> Model:
    return Model(
        name=name,
        role=Role.VARIANT,
        scores={task: [each] for task, each in kept.scores(dataset).items()},
        cost=kept.cost,
        independent=kept.independent,
    )


def _cascades(trained: Model, made: Sequence[tuple[Model, Kept]]) -> Iterator[tuple[str, str]]:
    """Yield each much faster variant before the model that would be served without it."""
    last = next((model for model, each in made if each.serves), trained)
    for model, _ in made:
        if model.cost and last.cost and _MUCH_FASTER * model.cost.ms_8 <= last.cost.ms_8:
            yield model.name, last.name
