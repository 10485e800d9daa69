"""Layouts as one SVG, one below the other."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from accord.graph.layout import LETTER, LINE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from accord.graph.layout import Box, Layout, Line

__all__ = ["COLOURS", "FAINT", "INK", "draw"]

#: Fill of each kind of box.
COLOURS = {"input": "#e3f1e1", "call": "#dbe9f6", "merge": "#fdecd2", "answer": "#eceff1"}
INK, FAINT = "#263238", "#607d8b"
_FONT = 12


def draw(layouts: Sequence[Layout]) -> str:
    """Return an SVG."""
    width = max((layout.width for layout in layouts), default=0.0)
    height = sum(layout.height for layout in layouts)
    size = f'width="{width:.0f}" height="{height:.0f}"'
    style = f'font-family="monospace" font-size="{_FONT}" fill="{INK}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" {size} {style}>',
        f'<rect {size} fill="#fff"/>',
    ]
    top = 0.0
    for layout in layouts:
        parts.append(f'<g transform="translate(0 {top:.1f})">')
        parts.append(_text(14, LINE, layout.title, 'font-weight="bold"'))
        for line in layout.lines:
            parts += _line(line)
        for box in layout.boxes:
            parts += _box(box)
        parts.append("</g>")
        top += layout.height
    return "\n".join([*parts, "</svg>"]) + "\n"


def _box(box: Box) -> Iterator[str]:
    place = f'x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}"'
    dash = ' stroke-dasharray="5 3"' if box.node.dashed else ""
    yield f'<rect {place} rx="4" fill="{COLOURS[box.node.kind]}" stroke="{FAINT}"{dash}/>'
    y = box.y + box.height / 2 - LINE * len(box.node.lines) / 2 + LINE * 0.75
    for i, text in enumerate(box.node.lines):
        yield _text(box.x + 9, y + LINE * i, text, f'fill="{FAINT}"' if i else 'font-weight="bold"')


def _line(line: Line) -> Iterator[str]:
    (x, y), *rest = line.points
    way = [f"M{x:.1f} {y:.1f}"]
    for to_x, to_y in rest:
        middle = (x + to_x) / 2
        straight = f"L{to_x:.1f} {to_y:.1f}"
        way.append(
            straight if to_y == y else f"C{middle:.1f} {y:.1f} {middle:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}"
        )
        x, y = to_x, to_y
    yield f'<path d="{" ".join(way)}" fill="none" stroke="{FAINT}"/>'
    yield f'<path d="M{x:.1f} {y:.1f}l-8 -3.5v7z" fill="{FAINT}"/>'
    for (label_x, label_y), label in line.labels:
        yield _text(label_x, label_y, label)


def _text(x: float, y: float, text: str, style: str = "") -> str:
    # XML has no way to say control characters
    clean = "".join(letter if letter.isprintable() else "?" for letter in text)
    length = f'textLength="{LETTER * len(clean):.1f}" lengthAdjust="spacingAndGlyphs"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {length} {style}>{escape(clean)}</text>'.replace(" >", ">")
