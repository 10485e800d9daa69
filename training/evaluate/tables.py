"""The report's tables."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

from training.evaluate.metrics import METRICS
from training.evaluate.page import Cell, Table
from training.evaluate.words import points, range_of, tone, value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from training.evaluate.findings import Cascade, Study, TaskStudy

__all__ = ["calibrations", "cascades", "costs", "data", "means", "values"]


def data(card: Mapping[str, Any], tasks: Sequence[str]) -> Table:
    """Rows, groups and labelled rows of each part."""
    names = ("train", "validation", "test")
    rows = [[Cell("rows"), *(Cell(f"{card['rows'][name]:,}") for name in names)]]
    rows.append([Cell("groups"), *(Cell(f"{card['split']['groups'][name]:,}") for name in names)])
    for task in tasks:
        labelled = card["tasks"][task]["labelled"]
        rows.append([Cell(f"labelled: {task}"), *(Cell(f"{labelled[name]:,}") for name in names)])
    sources = "; ".join(f"{source['name']}, {source['rows']:,} rows" for source in card["sources"])
    return Table(("", *names), rows, f"{sources}. Split by {', '.join(card['split']['by'])}.")


def values(study: Study, task: TaskStudy) -> Table:
    """A task: each metric of each model, and the main one less the reference's."""
    metrics = task.metrics
    rows = []
    for model in study.models:
        of = task.values.get(model.name)
        if of is None:
            continue
        measured = [Cell(value(of[m].estimate, m), range_of(of[m], m)) for m in metrics]
        gain = task.differences.get(model.name, {}).get(task.main)
        apart = (
            Cell("")
            if gain is None
            else Cell(points(gain, task.main), range_of(gain, task.main, signed=True), tone(gain, task.main))
        )
        rows.append([Cell(model.name, model.role.value), measured[0], apart, *measured[1:]])
    titles = [METRICS[m].title for m in metrics]
    headings = ["model", titles[0], "difference", *titles[1:]]
    return Table(headings, rows, first=study.reference in task.values)


def means(study: Study) -> Table:
    """The mean over tasks, less the reference's."""
    rows = [
        [
            Cell(name),
            Cell(
                points(found, "accuracy"), range_of(found, "accuracy", signed=True), tone(found, "accuracy")
            ),
        ]
        for name, found in study.means.items()
    ]
    return Table(("model", "difference, points"), rows)


def calibrations(study: Study) -> Table:
    """Calibration errors before and after the temperature."""
    rows = [
        [
            Cell(found.model, found.task),
            Cell(value(found.before.estimate, "accuracy"), range_of(found.before, "accuracy")),
            Cell(f"{found.temperature.value:.2f}", found.temperature.note),
            Cell(value(found.after.estimate, "accuracy"), range_of(found.after, "accuracy")),
            Cell(
                points(found.change, "accuracy"),
                range_of(found.change, "accuracy", signed=True),
                "" if not found.change.excludes_zero else "good" if found.change.high < 0 else "bad",
            ),
        ]
        for found in study.calibrations
    ]
    return Table(("model", "calibration error", "temperature", "error at it", "difference"), rows)


def costs(study: Study) -> Table:
    """What each model costs, and how many times more or less than the first."""
    first = next((model.cost for model in study.models if model.cost), None)
    words = {True: "yes", False: "no", None: "not known"}
    rows = []
    for model in study.models:
        if model.cost is None or first is None:
            continue
        rows.append(
            [
                Cell(model.name, model.role.value),
                Cell(
                    f"{model.cost.bytes / 1e6:.1f} MB",
                    _times(first.bytes, model.cost.bytes, ("smaller", "larger")),
                ),
                Cell(f"{model.cost.ms_1:.3g}", _times(first.ms_1, model.cost.ms_1, ("faster", "slower"))),
                Cell(f"{model.cost.ms_8:.3g}", _times(first.ms_8, model.cost.ms_8, ("faster", "slower"))),
                Cell(words[model.independent], tone="bad" if model.independent is False else ""),
            ]
        )
    return Table(("model", "size", "ms a row, alone", "ms a row, of 8", "alone = batch"), rows)


def _times(first: float, other: float, words: tuple[str, str]) -> str:
    better, worse = words
    if first == other or not first or not other:
        return ""
    return f"{first / other:.3g}x {better}" if other < first else f"{other / first:.3g}x {worse}"


def cascades(found: Sequence[Cascade]) -> Table:
    """What a cheap model before a costly one saves and loses."""
    rows = [
        [
            Cell(f"{each.cheap}, {each.costly}", each.task),
            Cell(f"{each.chosen.threshold:.2f}" if isfinite(each.chosen.threshold) else "never"),
            Cell(f"{100 * each.share:.0f} %"),
            Cell(value(each.accuracy.estimate, "accuracy"), range_of(each.accuracy, "accuracy")),
            Cell(
                points(each.difference, "accuracy"),
                range_of(each.difference, "accuracy", signed=True),
                tone(each.difference, "accuracy"),
            ),
            Cell(f"{each.ms:.3g}" if isfinite(each.ms) else ""),
        ]
        for each in found
    ]
    headings = ("models", "threshold", "answered first", "accuracy", "less the second alone", "ms a row")
    return Table(headings, rows)
