"""Places the boxes and arrows of a drawing: layers from left to right, as few crossings as cheap sweeps find.

Rules:

- A box stands one layer to the right of the last one that it reads; a tensor of the request stands just
  before the first box that reads it.
- All boxes of a layer are equally wide, so that arrows end on one line. An arrow over several layers keeps a
  lane of its own in each of them, so none passes behind a box.
- An arrow ends in a level piece that carries its labels. Each arrow has a slot of its own at both of its
  boxes, as high as its labels, so labels do not meet.

Lengths are pixels; text is assumed to be monospaced.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from accord.graph.drawing import Arrow, Drawing, Node

__all__ = ["LETTER", "LINE", "Box", "Layout", "Line", "Point", "layout"]

#: Width of a letter and height of a line of text.
LETTER, LINE = 7.2, 16.0
#: Inside a box; between boxes; for the curve of an arrow; around everything.
_PAD, _BETWEEN, _CURVE, _MARGIN = 9.0, 18.0, 46.0, 14.0
_LEAST_WIDTH = 70.0
_SWEEPS = 12

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """A box with its place."""

    node: Node
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Line:
    """An arrow with its way.

    Args:
        arrow: The arrow.
        points: Where it passes; between points of one height it is straight, else an S curve.
        labels: Each label with the left end of its base line.
    """

    arrow: Arrow
    points: tuple[Point, ...]
    labels: tuple[tuple[Point, str], ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """A drawing with all its places."""

    title: str
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    width: float
    height: float


@dataclass(slots=True, eq=False)
class _Spot:
    """A box, or with no node the lane of one arrow, in its layer."""

    layer: int
    node: Node | None = None
    y: float = 0.0
    height: float = LINE
    before: list[_Piece] = field(default_factory=list)
    after: list[_Piece] = field(default_factory=list)

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


@dataclass(slots=True, eq=False)
class _Piece:
    """The part of an arrow between two neighbouring layers."""

    source: _Spot
    target: _Spot
    labels: tuple[str, ...] = ()
    start: float = 0.0
    end: float = 0.0

    @property
    def slot(self) -> float:
        return LINE * max(1, len(self.labels))


def layout(drawing: Drawing) -> Layout:
    """Place a drawing."""
    depth = _depths(drawing)
    layers: list[list[_Spot]] = [[] for _ in range(1 + max(depth.values(), default=0))]
    spots = {node.id: _Spot(depth[node.id], node) for node in drawing.nodes}
    for spot in spots.values():
        layers[spot.layer].append(spot)
    ways = [_way(arrow, spots, layers) for arrow in drawing.arrows]
    for spot in (spot for layer in layers for spot in layer):
        spot.height = _height(spot)
    _order(layers)
    _stack(layers)
    _slots(layers)
    lefts, widths = _columns(layers)
    boxes = tuple(
        Box(spot.node, lefts[spot.layer], spot.y, widths[spot.layer], spot.height)
        for spot in spots.values()
        if spot.node is not None
    )
    lines = tuple(_line(arrow, way, lefts, widths) for arrow, way in zip(drawing.arrows, ways, strict=True))
    width = max((box.x + box.width for box in boxes), default=0.0) + _MARGIN
    height = max((spot.y + spot.height for layer in layers for spot in layer), default=0.0) + _MARGIN
    return Layout(drawing.title, boxes, lines, max(width, 2 * _MARGIN + LETTER * len(drawing.title)), height)


def _depths(drawing: Drawing) -> dict[str, int]:
    """Return the layer of each box: after all that it reads; what reads nothing, just before its reader."""
    above: dict[str, list[str]] = {node.id: [] for node in drawing.nodes}
    below: dict[str, list[str]] = {node.id: [] for node in drawing.nodes}
    for arrow in drawing.arrows:
        above[arrow.target].append(arrow.source)
        below[arrow.source].append(arrow.target)
    depth: dict[str, int] = {}
    for name in TopologicalSorter(above).static_order():
        depth[name] = 1 + max((depth[source] for source in above[name]), default=-1)
    for name in [name for name, sources in above.items() if not sources and below[name]]:
        depth[name] = min(depth[target] for target in below[name]) - 1
    return depth


def _way(arrow: Arrow, spots: Mapping[str, _Spot], layers: Sequence[list[_Spot]]) -> list[_Piece]:
    """Lead an arrow from layer to layer, through lanes where it passes one."""
    at, target, pieces = spots[arrow.source], spots[arrow.target], []
    for layer in range(at.layer + 1, target.layer + 1):
        last = layer == target.layer
        to = target if last else _Spot(layer)
        if not last:
            layers[layer].append(to)
        piece = _Piece(at, to, arrow.labels if last else ())
        at.after.append(piece)
        to.before.append(piece)
        pieces.append(piece)
        at = to
    return pieces


def _height(spot: _Spot) -> float:
    if spot.node is None:
        return LINE
    sides = (sum(piece.slot for piece in side) for side in (spot.before, spot.after))
    return 2 * _PAD + max(LINE * len(spot.node.lines), *sides)


def _order(layers: Sequence[list[_Spot]]) -> None:
    """Order each layer by the middle of its neighbours, forwards and back."""
    place = {id(spot): float(i) for layer in layers for i, spot in enumerate(layer)}
    for sweep in range(_SWEEPS):
        forwards = sweep % 2 == 0
        for layer in layers if forwards else reversed(layers):
            wanted = {}
            for spot in layer:
                near = [p.source for p in spot.before] if forwards else [p.target for p in spot.after]
                wanted[id(spot)] = _mean((place[id(s)] for s in near), place[id(spot)])
            layer.sort(key=lambda spot: wanted[id(spot)])  # stable: ties keep their order
            for i, spot in enumerate(layer):
                # counted from the middle, so that layers of unlike sizes compare
                place[id(spot)] = i - (len(layer) - 1) / 2


def _stack(layers: Sequence[list[_Spot]]) -> None:
    """Give each spot its height in the picture: near its neighbours, below the one before it."""
    for layer in layers:
        _settle(layer, [0.0] * len(layer))
    for sweep in range(_SWEEPS):
        forwards = sweep % 2 == 0
        for layer in layers if forwards else reversed(layers):
            near = [[p.source for p in s.before] if forwards else [p.target for p in s.after] for s in layer]
            _settle(
                layer, [_mean((n.middle for n in ns), s.middle) for s, ns in zip(layer, near, strict=True)]
            )
    top = min((spot.y for layer in layers for spot in layer), default=0.0)
    for spot in (spot for layer in layers for spot in layer):
        spot.y += _MARGIN + LINE + _PAD - top  # the title stands above


def _settle(layer: Sequence[_Spot], wanted: Sequence[float]) -> None:
    """Move spots as near to where they are wanted as their order and distance allow."""
    tops = [middle - spot.height / 2 for spot, middle in zip(layer, wanted, strict=True)]
    # blocks of spots that touch: first spot, how many, and the sum of where their tops are wanted
    blocks: list[tuple[int, int, float]] = []
    offsets = [0.0]
    for spot in layer:
        offsets.append(offsets[-1] + spot.height + _BETWEEN)
    for i, top in enumerate(tops):
        blocks.append((i, 1, top - offsets[i]))
        while len(blocks) > 1 and blocks[-2][2] / blocks[-2][1] > blocks[-1][2] / blocks[-1][1]:
            (first, count, total), (_, more, further) = blocks[-2], blocks[-1]
            blocks[-2:] = [(first, count + more, total + further)]
    for first, count, total in blocks:
        for i in range(first, first + count):
            layer[i].y = total / count + offsets[i]


def _slots(layers: Sequence[Sequence[_Spot]]) -> None:
    """Give each arrow its own height at both of its boxes, in the order of their other ends."""
    for spot in (spot for layer in layers for spot in layer):
        spot.before.sort(key=lambda piece: piece.source.middle)
        spot.after.sort(key=lambda piece: piece.target.middle)
        for side, ends in ((spot.before, True), (spot.after, False)):
            at = spot.middle - sum(piece.slot for piece in side) / 2
            for piece in side:
                at += piece.slot
                if spot.node is None:
                    piece.start, piece.end = (piece.start, spot.middle) if ends else (spot.middle, piece.end)
                elif ends:
                    piece.end = at - LINE / 4 if piece.labels else at - LINE / 2
                else:
                    piece.start = at - piece.slot / 2


def _columns(layers: Sequence[Sequence[_Spot]]) -> tuple[list[float], list[float]]:
    """Return left edge and width of each layer; labels stand before the layer where their arrows end."""
    lefts, widths, x = [], [], _MARGIN
    for number, layer in enumerate(layers):
        if number:
            x += _CURVE + _reach(piece for spot in layer for piece in spot.before)
        texts = [line for spot in layer if spot.node for line in spot.node.lines]
        widths.append(max([_LEAST_WIDTH, *(2 * _PAD + LETTER * len(text) for text in texts)]))
        lefts.append(x)
        x += widths[-1]
    return lefts, widths


def _reach(pieces: Iterable[_Piece]) -> float:
    longest = max((len(label) for piece in pieces for label in piece.labels), default=0)
    return LETTER * longest + 2 * _PAD


def _line(arrow: Arrow, way: Sequence[_Piece], lefts: Sequence[float], widths: Sequence[float]) -> Line:
    points: list[Point] = []
    for piece in way:
        begins = lefts[piece.source.layer] + widths[piece.source.layer]
        ends = lefts[piece.target.layer]
        points += [(begins, piece.start), (begins + _CURVE, piece.end), (ends, piece.end)]
    labels = way[-1].labels
    x, y = points[-2][0] + _PAD / 2, points[-1][1] - LINE / 4
    placed = tuple(((x, y - LINE * i), label) for i, label in enumerate(reversed(labels)))
    return Line(arrow, tuple(points), placed)


def _mean(values: Iterable[float], otherwise: float) -> float:
    found = list(values)
    return sum(found) / len(found) if found else otherwise
