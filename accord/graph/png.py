"""Layouts as one PNG, one below the other, by matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from accord.graph.layout import LINE
from accord.graph.svg import COLOURS, FAINT, INK

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from accord.graph.layout import Box, Layout, Line

__all__ = ["save"]

_DPI = 144
#: Points of the letters: then a monospaced one is as wide as the layout takes it to be.
_FONT = 11.9


def save(layouts: Sequence[Layout], path: Path) -> None:
    """Write a PNG.

    Raises:
        ImportError: If matplotlib is not installed.
        OSError: If it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - an extra of its own
    from matplotlib.figure import Figure  # noqa: PLC0415 - likewise

    width = max(layout.width for layout in layouts)
    height = sum(layout.height for layout in layouts)
    figure = Figure(figsize=(width / 72, height / 72), dpi=_DPI)
    FigureCanvasAgg(figure)
    panel = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    panel.set_axis_off()
    top = 0.0
    for layout in layouts:
        _text(panel, 14, top + LINE, layout.title, weight="bold")
        for line in layout.lines:
            _line(panel, line, top)
        for box in layout.boxes:
            _box(panel, box, top)
        top += layout.height
    figure.savefig(path, format="png")


def _box(panel: Any, box: Box, top: float) -> None:
    from matplotlib.patches import FancyBboxPatch  # noqa: PLC0415 - as above

    style: dict[str, Any] = {
        "boxstyle": "round,pad=0,rounding_size=4",
        "facecolor": COLOURS[box.node.kind],
        "edgecolor": FAINT,
        "linestyle": "--" if box.node.dashed else "-",
    }
    panel.add_patch(FancyBboxPatch((box.x, box.y + top), box.width, box.height, linewidth=0.8, **style))
    y = top + box.y + box.height / 2 - LINE * len(box.node.lines) / 2 + LINE * 0.75
    for i, text in enumerate(box.node.lines):
        _text(
            panel, box.x + 9, y + LINE * i, text, color=FAINT if i else INK, weight="normal" if i else "bold"
        )


def _line(panel: Any, line: Line, top: float) -> None:
    from matplotlib.patches import PathPatch, Polygon  # noqa: PLC0415 - as above
    from matplotlib.path import Path as Way  # noqa: PLC0415 - as above

    (x, y), *rest = line.points
    way, codes = [(x, y + top)], [Way.MOVETO]
    for to_x, to_y in rest:
        middle = (x + to_x) / 2
        way += [(middle, y + top), (middle, to_y + top), (to_x, to_y + top)]
        codes += [Way.CURVE4] * 3
        x, y = to_x, to_y
    panel.add_patch(PathPatch(Way(way, codes), facecolor="none", edgecolor=FAINT, linewidth=0.8))
    tip = [(x, y + top), (x - 8, y + top - 3.5), (x - 8, y + top + 3.5)]
    panel.add_patch(Polygon(tip, facecolor=FAINT, edgecolor="none"))
    for (label_x, label_y), label in line.labels:
        _text(panel, label_x, label_y + top, label)


def _text(panel: Any, x: float, y: float, text: str, **style: Any) -> None:
    # a dollar would begin a formula
    plain = {"family": "DejaVu Sans Mono", "fontsize": _FONT, "parse_math": False, "color": INK, **style}
    panel.text(x, y, text, **plain)
