"""The picture: latency and throughput of each target under each load."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.figures import Result

__all__ = ["save_plot"]

_COLOURS = ("#6b7785", "#1d6fa5", "#c2410c", "#4d7c0f", "#7e22ce")


def save_plot(path: Path, results: Sequence[Result], caption: str) -> None:
    """Write a PNG with one panel for latency and one for throughput; bars span all rounds."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True, layout="constrained")
    _draw(left, results, "p50_s", 1e3, "median latency, ms (log scale)")
    _draw(right, results, "calls_per_s", 1.0, "answered calls per second (log scale)")
    cases = list(dict.fromkeys(result.case for result in results))
    left.set_yticks(range(len(cases)), [case.name for case in cases])
    left.invert_yaxis()
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    figure.supxlabel(textwrap.fill(caption, 150), fontsize=7, color="#555555")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _draw(panel: Any, results: Sequence[Result], name: str, scale: float, label: str) -> None:
    cases = list(dict.fromkeys(result.case for result in results))
    targets = list(dict.fromkeys(result.target for result in results))
    for which, (target, colour) in enumerate(zip(targets, _COLOURS, strict=False)):
        for result in (result for result in results if result.target == target):
            at = cases.index(result.case) + 0.24 * (which - (len(targets) - 1) / 2)
            spread = result.absolute[name]
            low, middle, high = (scale * x for x in (spread.low, spread.median, spread.high))
            panel.errorbar(
                middle,
                at,
                xerr=[[middle - low], [high - middle]],
                fmt="o",
                color=colour,
                capsize=3,
                label=target if result.case == cases[0] else None,
            )
            text = f"{middle:,.0f}" if middle >= 100 else f"{middle:.2g}"
            panel.annotate(
                text, (high, at), (6, 0), textcoords="offset points", va="center", color=colour, fontsize=8
            )
    panel.set_xscale("log")
    panel.margins(x=0.12)
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    for between in range(1, len(cases)):
        panel.axhline(between - 0.5, color="#dddddd", linewidth=0.8)
    panel.set_xlabel(label)
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(axis="x", alpha=0.25)
