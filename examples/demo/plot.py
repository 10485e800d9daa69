"""The accuracy plot: each ensemble beside its members, with intervals."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.layout_engine import ConstrainedLayoutEngine

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from examples.demo.scores import Comparison

__all__ = ["save_plot"]

_MEMBER, _ENSEMBLE = "#6b7785", "#c2410c"


def save_plot(path: Path, comparisons: Sequence[Comparison]) -> None:
    """Write a PNG with one panel for each ensemble."""
    heights = [len(comparison.members) + 1 for comparison in comparisons]
    figure, panels = plt.subplots(
        len(comparisons),
        1,
        figsize=(8, 0.42 * sum(heights) + 1.2 * len(comparisons) + 0.3),
        height_ratios=heights,
        layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1),
        squeeze=False,
    )
    for panel, comparison in zip(panels[:, 0], comparisons, strict=True):
        _draw(panel, comparison)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _draw(panel: Any, comparison: Comparison) -> None:
    ordered = sorted(comparison.members.items(), key=lambda member: member[1].estimate)
    rows = [*ordered, (f"{comparison.ensemble} ({comparison.how})", comparison.merged)]
    for at, (_, interval) in enumerate(rows):
        colour = _ENSEMBLE if at == len(rows) - 1 else _MEMBER
        left, middle, right = (100 * x for x in (interval.low, interval.estimate, interval.high))
        panel.errorbar(middle, at, xerr=[[middle - left], [right - middle]], fmt="o", color=colour, capsize=3)
        panel.annotate(
            f"{middle:.1f}", (right, at), (6, 0), textcoords="offset points", va="center", color=colour
        )
    panel.axvline(100 * comparison.merged.estimate, color=_ENSEMBLE, linewidth=0.8, linestyle=":", zorder=0)
    panel.set_yticks(range(len(rows)), [name for name, _ in rows])
    panel.set_ylim(-0.6, len(rows) - 0.4)
    panel.margins(x=0.08)
    panel.set_xlabel(f"accuracy as served, % of {comparison.rows:,} held-out rows; bars: 95 % interval")
    panel.set_title("\n".join(wrap(comparison.claim, 80)), loc="left", fontsize=9)
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(axis="x", alpha=0.25)
