"""The report: one HTML file that needs no other, its pictures beside it, and the same findings as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from training.data.dataset import Kind
from training.evaluate import confidence, plots, tables
from training.evaluate.drawing import COLOURS, FAINT
from training.evaluate.findings import Role
from training.evaluate.history import series
from training.evaluate.metrics import METRICS
from training.evaluate.page import Part, page
from training.evaluate.plots import Line
from training.evaluate.words import claim, points, range_of, value
from training.files import written

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from training.evaluate.drawing import Picture
    from training.evaluate.findings import Study, TaskStudy
    from training.evaluate.history import History

__all__ = ["FILE", "Report", "as_json", "claims", "html", "pictures", "write"]

FILE = "report.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a report is made of.

    Args:
        title: What was evaluated.
        study: What was found.
        card: The data card.
        histories: How the models came to be.
        notes: What a reader should know besides.
    """

    title: str
    study: Study
    card: Mapping[str, Any]
    histories: Sequence[History] = ()
    notes: Sequence[str] = ()


def write(report: Report, folder: Path) -> Path:
    """Write the page, the findings as JSON beside it, and the pictures; return the page's path.

    Raises:
        TrainingError: If there is no room, or no right to write there.
    """
    drawn = tuple(pictures(report))
    for picture in drawn:
        written(folder / "figures" / f"{picture.name}.png", picture.png)
    found = json.dumps(as_json(report), indent=2, ensure_ascii=False, allow_nan=False)
    written(folder / "report.json", found + "\n")
    # last: whoever sees it may open it
    written(folder / FILE, html(report, drawn))
    return folder / FILE


def html(report: Report, drawn: Sequence[Picture]) -> str:
    """Return the page with its pictures."""
    study = report.study

    def those(*starts: str) -> list[Picture]:
        return [picture for picture in drawn if picture.name.startswith(starts)]

    parts = [
        Part("", [*claims(study), "In brackets: 95 % intervals."]),
        Part("Data", tables=[tables.data(report.card, [task.task for task in study.tasks])]),
        *(
            Part(
                f"Task: {task.task}",
                [_explained(study, task)],
                [tables.values(study, task)],
                [p for p in drawn if p.name in (f"difference-{task.task}", f"pareto-{task.task}")],
            )
            for task in study.tasks
        ),
        Part("All tasks together", [_MEANS], [tables.means(study)]) if study.means else None,
        Part("Learning", pictures=those("loss-", "weights", "cosines")) if report.histories else None,
        Part("Confidence", [_CONFIDENCE], [tables.calibrations(study)], those("reliability-"))
        if study.calibrations
        else None,
        Part("Cost", [_COST], [tables.costs(study)]) if any(model.cost for model in study.models) else None,
        Part("A cheap model first", [_CASCADE], [tables.cascades(study.cascades)], those("cascade-"))
        if study.cascades
        else None,
        Part("Notes", [*report.notes, *_undefined(study)])
        if report.notes or any(task.undefined for task in study.tasks)
        else None,
    ]
    footer = (
        f"Intervals: 95 %, percentile bootstrap of whole groups of test rows, {study.draws:,} draws, the "
        "same draws for all models. A difference is claimed only where its interval excludes zero."
    )
    return page(report.title, [part for part in parts if part is not None], footer)


_MEANS = (
    "The mean over tasks of each task's first metric, less that of the reference, in points; a correlation "
    "of 1 is 100 points."
)
_CONFIDENCE = (
    "A temperature divides the scores, so it moves no answer, only how sure it is. It is fitted on "
    "validation; the errors below are measured on test. Of few rows a calibration error comes out too large, "
    "and more so when rows are drawn again: its intervals lean upwards."
)
_COST = (
    "Measured on one core; the time is that of the CPU. Alone = batch: whether a row's answer is its own, "
    "whatever its neighbours. Of individual models: all of them together."
)
_CASCADE = (
    "The cheap model answers where it is sure enough, the costly one the rest. The threshold is chosen on "
    "validation and measured on test."
)


def _explained(study: Study, task: TaskStudy) -> str:
    return (
        f"{task.rows:,} labelled test rows. Small figures are 95 % intervals; the difference is "
        f"{METRICS[task.main].title} less that of {study.reference}."
        + (" AUC is of probabilities at each model's temperature." if task.kind is Kind.CLASSIFY else "")
    )


def pictures(report: Report) -> Iterator[Picture]:
    """Yield every picture."""
    study = report.study
    paint = plots.colours(study.models)
    for task in study.tasks:
        for picture in (plots.differences(study, task), plots.pareto(study, task)):
            if picture is not None:
                yield picture
    yield from _learning(report, paint)
    shown = {study.reference, *(model.name for model in study.models if model.role is Role.INDIVIDUAL)}
    for calibration in study.calibrations:
        if calibration.model in shown:
            yield confidence.reliability_of(calibration, paint[calibration.model])
    for found in study.cascades:
        yield confidence.cascade(found, paint)


def claims(study: Study) -> list[str]:
    """Return what may be said of the reference, in sentences."""
    first, said = study.reference, []
    roles = {model.name: model.role for model in study.models}
    for name, found in study.means.items():
        if roles[name] is not Role.BASELINE:
            said.append(claim(first, name, -found, "accuracy", "mean over tasks", unit="points"))
    for task in study.tasks:
        for name, of in task.differences.items():
            if roles[name] not in (Role.VARIANT, Role.CHANCE) and isfinite(of[task.main].estimate):
                said.append(claim(first, name, -of[task.main], task.main, task.task))
    said += [
        f"{both.task}: {both.cheap} answers {100 * both.share:.0f} % of the test rows before "
        f"{both.costly}, at {value(both.accuracy.estimate, 'accuracy')} together "
        f"({points(both.difference, 'accuracy')} points, "
        f"{range_of(both.difference, 'accuracy', signed=True)})"
        for both in study.cascades
    ]
    return said or [f"Only {first} was evaluated."]


def as_json(report: Report) -> dict[str, Any]:
    """Return everything that was found as plain values; what is undefined is null."""
    study = report.study
    return {
        "title": report.title,
        "claims": claims(study),
        "data": _plain(report.card),
        "study": _plain(study),
        "notes": list(report.notes),
    }


def _plain(found: Any) -> Any:
    if isinstance(found, Enum):
        return found.value
    if is_dataclass(found):
        # raw scores stay in the runs
        return {f.name: _plain(getattr(found, f.name)) for f in fields(found) if f.name != "scores"}
    if isinstance(found, dict):
        return {str(key): _plain(each) for key, each in found.items()}
    if isinstance(found, list | tuple):
        return [_plain(each) for each in found]
    if isinstance(found, float | np.floating):
        return float(found) if isfinite(found) else None
    return found


def _learning(report: Report, paint: Mapping[str, str]) -> Iterator[Picture]:
    models = {model.name: model for model in report.study.models}
    for task in [task.task for task in report.study.tasks]:
        lines = []
        for history in report.histories:
            individual = models[history.model].role is Role.INDIVIDUAL
            for key, name in (("validation", "validation"), ("losses", "training")):
                steps, values = series(history, key, task)
                if len(steps) and (key == "validation" or not individual):
                    shade = paint[history.model] if key == "validation" else FAINT
                    lines.append(Line(f"{history.model}, {name}", shade, steps, values, dashed=individual))
        if lines:
            yield plots.curves(f"loss-{task}", f"{task}: loss", "loss", lines)
    for key, title in (("weights", "weights of the tasks"), ("cosines", "cosine of the tasks' gradients")):
        for history in report.histories:
            found = {name: series(history, key, name) for name in history.names(key)}
            if len(found) > 1 or (found and key == "cosines"):
                # weights are often equal
                thick = 5.5 if key == "weights" else 0.0
                lines = [
                    Line(name, COLOURS[i % len(COLOURS)], *each, width=max(1.2, thick - 2 * i))
                    for i, (name, each) in enumerate(found.items())
                ]
                yield plots.curves(f"{key}-{history.model}", f"{history.model}: {title}", key[:-1], lines)


def _undefined(study: Study) -> Iterator[str]:
    for task in study.tasks:
        for name, why in task.undefined.items():
            for metric, reason in why.items():
                yield f"{task.task}, {name}: {METRICS[metric].title} is undefined: {reason}"
