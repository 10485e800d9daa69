"""How pictures look: size, colours, and names beside markers that do not cover each other."""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from matplotlib.transforms import Bbox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from training.evaluate.compare import Interval

__all__ = ["COLOURS", "FAINT", "HEIGHT", "INK", "Picture", "bar", "label", "new", "picture"]

INK, FAINT = "#1f2937", "#9ca3af"
#: Mostly Okabe and Ito's, told apart with a colour vision deficiency.
COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#4b5563", "#b8a000",
)  # fmt: skip
#: So small that its letters can be read where it is shrunk to a phone's width.
_WIDTH, HEIGHT = 4.5, 3.2
_DPI = 168

#: Where a name may stand: beside its marker first, then above and below.
_AROUND = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG.

    Args:
        name: Of its file, without suffix.
        caption: What it shows, for those who see it.
        alt: What can be read off it, for those who do not.
        png: Its bytes.
    """

    name: str
    caption: str
    alt: str
    png: bytes


def new(height: float = HEIGHT) -> tuple[Figure, Axes]:
    """Return an empty figure, in inches of height, and its axes."""
    figure = Figure(figsize=(_WIDTH, height), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9, colors=INK)
    axes.title.set_fontsize(11)
    axes.xaxis.label.set_fontsize(9.5)
    axes.yaxis.label.set_fontsize(9.5)
    return figure, axes


def picture(figure: Figure, name: str, caption: str, alt: str) -> Picture:
    """Return a figure as a picture; the file's name is made of what file systems take."""
    stream = io.BytesIO()
    # without the version of matplotlib, equal findings give equal files
    figure.savefig(stream, format="png", dpi=_DPI, metadata={"Software": None})
    return Picture(
        "".join(c if c.isalnum() or c in "-_." else "-" for c in name), caption, alt, stream.getvalue()
    )


def bar(value: Interval, factor: float) -> list[list[float]] | None:
    """Return how far an interval reaches below and above its estimate, times a factor; None if unknown."""
    if not np.isfinite(value.low):
        return None
    return [[factor * (value.estimate - value.low)], [factor * (value.high - value.estimate)]]


def label(
    figure: Figure, axes: Axes, points: Sequence[tuple[float, float, float]], names: Sequence[str]
) -> None:
    """Write names beside markers, given with their areas, so that none covers another or a marker."""
    figure.draw_without_rendering()
    frame = axes.get_window_extent()
    dot = figure.dpi / 72
    taken = []
    for x, y, area in points:
        (at_x, at_y), half = axes.transData.transform((x, y)), np.sqrt(area) / 2 * dot
        taken.append(Bbox([[at_x - half, at_y - half], [at_x + half, at_y + half]]))
    for (x, y, area), name in sorted(zip(points, names, strict=True), key=lambda each: -each[0][1]):
        for away, (right, up) in product((6, 14, 24, 36, 50, 66), _AROUND):
            start = np.sqrt(area) / 2
            offset = (right * (start + (4 if up else away)), up * (start + away))
            text = axes.annotate(
                name,
                (x, y),
                offset,
                textcoords="offset points",
                ha={1: "left", 0: "center", -1: "right"}[right],
                va={1: "bottom", 0: "center", -1: "top"}[up],
                fontsize=8.5,
                color=INK,
                arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.7} if up and away > 6 else None,
                zorder=4,
            )
            text.get_window_extent()  # puts it in its place
            box = Text.get_window_extent(text)  # without its line
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if inside and not any(box.overlaps(other) for other in taken):
                break
            text.remove()
        else:
            continue  # no room: the table has it
        taken.append(box)
