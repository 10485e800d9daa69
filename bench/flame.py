"""A flame graph as a small SVG: each box is a function, as wide as the time spent in it and what it calls."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["draw"]

WIDTH, ROW, LETTER = 1200, 17, 6.6
#: Narrower boxes than this share of the whole are left out.
LEAST = 0.004
_COLOURS = {"gateway/": "#f0a868", "protos/": "#f0cf68", "grpc/": "#9fc5e8", "numpy/": "#b6d7a8"}
_OTHER = "#d0d5db"


def draw(stacks: Mapping[tuple[str, ...], int], title: str, per_sample: float, unit: str) -> str:
    """Return an SVG.

    Args:
        stacks: Samples by stack, outermost frame first.
        title: What stands above it.
        per_sample: What one sample is worth, for the boxes' tips.
        unit: In what, such as ``us per request``.
    """
    whole = sum(stacks.values())
    boxes = list(_boxes(stacks, LEAST * whole, 0.0, 0)) if whole else []
    depth = 1 + max((level for level, *_ in boxes), default=0)
    height = ROW * (depth + 2)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="monospace"'
    parts = [
        f'{head} font-size="11"><rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="4" y="13">{escape(title)}</text>',
    ]
    for level, at, count, frame in boxes:
        x, width = WIDTH * at / whole, WIDTH * count / whole
        y = height - ROW * (level + 1)
        colour = next((c for mark, c in _COLOURS.items() if f"({mark}" in frame), _OTHER)
        name = frame.partition(" (")[0]
        room = int(width / LETTER)
        text = name if len(name) <= room else f"{name[: room - 2]}.." if room > 4 else ""
        tip = escape(f"{frame}: {count * per_sample:.1f} {unit}")
        box = f'x="{x:.1f}" y="{y}" width="{width:.1f}" height="{ROW - 1}" fill="{colour}"'
        label = f'<text x="{x + 2:.1f}" y="{y + 12}">{escape(text)}</text>' if text else ""
        parts.append(f"<g><title>{tip}</title><rect {box}/>{label}</g>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def _boxes(
    stacks: Mapping[tuple[str, ...], int], least: float, at: float, level: int
) -> Iterator[tuple[int, float, int, str]]:
    """Yield boxes as level, left edge and width in samples, and frame; widest first."""
    widths: Counter[str] = Counter()
    inner: dict[str, Counter[tuple[str, ...]]] = {}
    for stack, count in stacks.items():
        if stack:
            widths[stack[0]] += count
            inner.setdefault(stack[0], Counter())[stack[1:]] += count
    for frame, count in widths.most_common():
        if count < least:
            return
        yield level, at, count, frame
        yield from _boxes(inner[frame], least, at, level + 1)
        at += count
