"""Pictures of models side by side and over steps, legible at the width of a phone.

A model keeps its colour in every picture. Hollow markers are models whose answer for a row depends on its
neighbours in a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from training.evaluate.drawing import COLOURS, INK, bar, label, new, picture
from training.evaluate.findings import Role
from training.evaluate.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from training.evaluate.compare import Interval
    from training.evaluate.drawing import Picture
    from training.evaluate.findings import Model, Study, TaskStudy

__all__ = ["Line", "colours", "curves", "differences", "pareto"]

#: Left and right of the fastest and the slowest model.
_AIR = 2.2
#: Lines of fewer points show them.
_DOTTED = 30


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plot over steps.

    Args:
        name: What it is called.
        colour: Its colour.
        steps: Where it has points.
        values: Their heights.
        dashed: Whether it is not the joint model's.
        width: Of the line; wider ones below thinner ones show where lines coincide.
    """

    name: str
    colour: str
    steps: NDArray[np.float64]
    values: NDArray[np.float64]
    dashed: bool = False
    width: float = 1.5


def colours(models: Sequence[Model]) -> dict[str, str]:
    """Return a colour for each model; beyond the palette they repeat."""
    return {model.name: COLOURS[i % len(COLOURS)] for i, model in enumerate(models)}


def curves(name: str, title: str, unit: str, lines: Sequence[Line]) -> Picture:
    """Draw lines over steps.

    Args:
        name: Of the file.
        title: What it shows.
        unit: What the heights are.
        lines: The lines.
    """
    figure, axes = new()
    for line in lines:
        axes.plot(
            line.steps,
            line.values,
            "--" if line.dashed else "-",
            color=line.colour,
            label=line.name,
            linewidth=line.width,
            marker="o" if len(line.steps) < _DOTTED else None,
            markersize=3.5,
        )
    axes.set_xlabel("step")
    axes.set_ylabel(unit)
    axes.set_title(title)
    axes.margins(y=0.15)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8.5)
    ends = "; ".join(f"{line.name} ends at {line.values[-1]:.3g}" for line in lines if len(line.values))
    return picture(figure, name, title, f"{title}: {ends}")


def differences(study: Study, task: TaskStudy) -> Picture | None:
    """Draw each model's main metric less the reference's, with its interval."""
    metric = METRICS[task.main]
    chance = {model.name for model in study.models if model.role is Role.CHANCE}
    rows = [
        (name, of[task.main])
        for name, of in task.differences.items()
        # so far off that nothing else could be read
        if name not in chance and np.isfinite(of[task.main].estimate)
    ]
    if not rows:
        return None
    paint, factor = colours(study.models), 100 if metric.share else 1
    unit = ", points" if metric.share else ""
    figure, axes = new(height=1.3 + 0.36 * len(rows))
    axes.axvline(0, color=INK, linewidth=1)
    for at, (name, found) in enumerate(reversed(rows)):
        low, middle, high = (factor * x for x in (found.low, found.estimate, found.high))
        bar = [[middle - low], [high - middle]] if np.isfinite(low) else None
        axes.errorbar(middle, at, xerr=bar, fmt="o", color=paint[name], capsize=3, markersize=5)
    axes.set_yticks(range(len(rows)), [name for name, _ in reversed(rows)])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel(f"{metric.title} less that of {study.reference}{unit}")
    title = f"{task.task}: beside {study.reference}"
    axes.set_title(title)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.grid(axis="x", alpha=0.3)
    said = "; ".join(f"{name} {factor * found.estimate:+.3g}" for name, found in rows)
    return picture(
        figure, f"difference-{task.task}", f"{title}; bars: 95 % intervals", f"{title}{unit}: {said}"
    )


def pareto(study: Study, task: TaskStudy) -> Picture | None:
    """Draw quality against time for a row; a marker's area is the model's size."""
    shown = [
        (model, task.values[model.name][task.main])
        for model in study.models
        if model.cost is not None and model.name in task.values
    ]
    shown = [(model, value) for model, value in shown if np.isfinite(value.estimate)]
    if len(shown) < 2:
        return None
    metric, paint = METRICS[task.main], colours(study.models)
    factor = 100 if metric.share else 1
    figure, axes = new(height=3.6)
    largest = max(model.cost.bytes for model, _ in shown if model.cost)
    points = [
        _marker(axes, model, value, factor=factor, largest=largest, colour=paint[model.name])
        for model, value in shown
    ]
    _decades(axes, [x for x, _, _ in points])
    axes.margins(y=0.12)
    axes.set_xlabel("CPU ms a row, batch of 8")
    axes.set_ylabel(_unit(task.main))
    hollows = any(model.independent is False for model, _ in shown)
    title = f"{task.task}: quality, time, size"
    axes.set_title(title)
    axes.grid(alpha=0.3)
    label(figure, axes, points, [f"{m.name}, {_megabytes(m.cost.bytes if m.cost else 0)}" for m, _ in shown])
    said = "; ".join(
        f"{m.name}{', batch-dependent' if m.independent is False else ''}: {x:.3g} ms, {y:.3g}"
        for (m, _), (x, y, _) in zip(shown, points, strict=True)
    )
    note = "; hollow: a row's answer depends on its neighbours" if hollows else ""
    return picture(figure, f"pareto-{task.task}", f"{title} (area: size{note})", f"{title}: {said}")


def _marker(
    axes: Axes, model: Model, value: Interval, *, factor: float, largest: int, colour: str
) -> tuple[float, float, float]:
    """Draw a model, hollow if its rows are not independent, and return where, and its area."""
    cost, height = model.cost, factor * value.estimate
    assert cost is not None  # noqa: S101 - such models were left out
    size = 22 + 330 * cost.bytes / largest
    axes.errorbar(
        cost.ms_8,
        height,
        yerr=bar(value, factor),
        fmt="none",
        ecolor=colour,
        elinewidth=0.9,
        alpha=0.55,
        zorder=1,
    )
    axes.scatter(
        cost.ms_8,
        height,
        s=size,
        facecolors="white" if model.independent is False else colour,
        edgecolors=colour,
        linewidths=1.6,
        alpha=0.9,
        zorder=2,
    )
    return cost.ms_8, height, size


def _decades(axes: Axes, times: Sequence[float]) -> None:
    """Give times an axis of decades, wide enough for names beside the first and the last."""
    axes.set_xscale("log")
    axes.set_xlim(min(times) / _AIR, max(times) * _AIR)
    # a tick for each decade may be none at all
    wide = max(times) > 100 * min(times)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _unit(metric: str) -> str:
    about = METRICS[metric]
    return f"{about.title}, %" if about.share else about.title


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB" if size >= 9.5e6 else f"{size / 1e6:.1f} MB"
