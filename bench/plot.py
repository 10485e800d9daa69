"""Pictures of results: bars of ranges for each load, or lines along a scale."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bench.figures import Result, Spread

__all__ = ["bars", "dots", "lines", "ranges", "save"]

_COLOURS = ("#6b7785", "#1d6fa5", "#c2410c", "#4d7c0f", "#7e22ce", "#0f766e", "#b45309", "#be185d", "#334155")
_DPI = 100
_MAX_TICKS = 8


def ranges(path: Path, results: Sequence[Result], caption: str) -> None:
    """Draw latency and throughput of each target under each load; bars span all rounds."""
    shown = [result for result in results if "p50_s" in result.absolute]
    height = 1.6 + 0.24 * len(shown)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, height), sharey=True, layout="constrained")
    targets = list(dict.fromkeys(result.target for result in shown))
    for panel, name, scale, label in (
        (left, "p50_s", 1e3, "median latency, ms (log scale)"),
        (right, "calls_per_s", 1.0, "answered calls per second (log scale)"),
    ):
        _draw(panel, shown, targets, name, scale)
        panel.set_xlabel(label)
    loads = [result.load.name for result in shown]
    middles = {load: len(loads) - 1 - loads[::-1].index(load) + loads.index(load) for load in loads}
    left.set_yticks([middle / 2 for middle in middles.values()], list(middles))
    left.invert_yaxis()
    handles = [mpl.lines.Line2D([], [], marker="o", color=_colour(targets, name)) for name in targets]
    figure.legend(handles, targets, loc="outside upper center", ncols=min(5, len(targets)), frameon=False)
    save(figure, path, caption)


def lines(
    path: Path,
    series: Mapping[str, Sequence[tuple[float, Spread]]],
    caption: str,
    *,
    across: str,
    up: str,
) -> None:
    """Draw one line for each series of points; a band spans all rounds.

    Args:
        path: The PNG.
        series: Points by name.
        caption: What stands below.
        across: What the horizontal axis shows.
        up: What the vertical axis shows.
    """
    figure, panel = plt.subplots(figsize=(8, 4.2), layout="constrained")
    for name, points in series.items():
        colour = _colour(list(series), name)
        at = [x for x, _ in points]
        panel.plot(at, [spread.median for _, spread in points], "o-", color=colour, label=name, markersize=4)
        low, high = [spread.low for _, spread in points], [spread.high for _, spread in points]
        panel.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
    panel.set_ylim(bottom=0)
    ticks = sorted({x for points in series.values() for x, _ in points})
    if len(ticks) <= _MAX_TICKS:
        panel.set_xticks(ticks, [f"{x:,g}" for x in ticks])
    else:
        panel.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_xlabel(across)
    panel.set_ylabel(up)
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(alpha=0.25)
    panel.legend(frameon=False)
    save(figure, path, caption)


def bars(
    path: Path,
    groups: Mapping[str, Mapping[str, Spread]],
    caption: str,
    *,
    across: str,
) -> None:
    """Draw one bar for each name of each group; whiskers span all rounds.

    Args:
        path: The PNG.
        groups: Figures by name, by group; groups differ in colour.
        caption: What stands below.
        across: What the axis shows.
    """
    rows = [(group, name, value) for group, values in groups.items() for name, value in values.items()]
    figure, panel = plt.subplots(figsize=(8, 1.4 + 0.26 * len(rows)), layout="constrained")
    for at, (group, _, value) in enumerate(rows):
        errors = [[value.median - value.low], [value.high - value.median]]
        panel.barh(at, value.median, xerr=errors, color=_colour(list(groups), group), capsize=3)
        panel.annotate(
            f"{value.median:,.4g}", (value.high, at), (6, 0), textcoords="offset points", va="center"
        )
    panel.set_yticks(range(len(rows)), [f"{group}: {name}" for group, name, _ in rows])
    panel.invert_yaxis()
    panel.margins(x=0.12)
    panel.set_xlabel(across)
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(axis="x", alpha=0.25)
    save(figure, path, caption)


def dots(path: Path, groups: Mapping[str, Mapping[str, float]], caption: str, *, across: str) -> None:
    """Draw a line of dots for each name, one for each group, on a logarithmic axis.

    Args:
        path: The PNG.
        groups: Figures by name, by group; groups differ in colour.
        caption: What stands below.
        across: What the axis shows.
    """
    names = list(next(iter(groups.values())))
    figure, panel = plt.subplots(figsize=(8, 1.4 + 0.3 * len(names)), layout="constrained")
    for group, values in groups.items():
        colour = _colour(list(groups), group)
        panel.scatter(list(values.values()), range(len(values)), color=colour, label=group, alpha=0.8, s=60)
    panel.set_yticks(range(len(names)), names)
    panel.invert_yaxis()
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    panel.set_xlabel(across)
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(alpha=0.25)
    figure.legend(loc="outside upper center", ncols=len(groups), frameon=False)
    save(figure, path, caption)


def save(figure: Any, path: Path, caption: str) -> None:
    """Write a figure with a caption below it, and close it."""
    figure.supxlabel(textwrap.fill(caption, 150), fontsize=7, color="#555555")
    figure.savefig(path, dpi=_DPI)
    plt.close(figure)


def _colour(targets: Sequence[str], name: str) -> str:
    return _COLOURS[list(targets).index(name) % len(_COLOURS)]


def _draw(panel: Any, results: Sequence[Result], targets: Sequence[str], name: str, scale: float) -> None:
    for at, result in enumerate(results):
        colour = _colour(targets, result.target)
        spread = result.absolute[name]
        low, middle, high = (scale * x for x in (spread.low, spread.median, spread.high))
        errors = [[middle - low], [high - middle]]
        panel.errorbar(middle, at, xerr=errors, fmt="o", color=colour, capsize=3, markersize=4)
        text = f"{middle:,.0f}" if middle >= 100 else f"{middle:.2g}"
        panel.annotate(
            text, (high, at), (6, 0), textcoords="offset points", va="center", color=colour, fontsize=8
        )
        if at and results[at - 1].load != result.load:
            panel.axhline(at - 0.5, color="#dddddd", linewidth=0.8)
    panel.set_xscale("log")
    panel.margins(x=0.12)
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(axis="x", alpha=0.25)
