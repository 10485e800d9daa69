"""Pictures of plans: whatever the graph, boxes stand apart, arrows end at boxes, names are told whole."""

from __future__ import annotations

import io
from itertools import pairwise
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from hypothesis import given, settings
from hypothesis import strategies as st

from accord.graph import svg
from accord.graph.drawing import Arrow, Drawing, Node
from accord.graph.layout import LETTER, LINE, layout

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn

    from accord.graph.layout import Box, Layout

NAMES = st.text(min_size=1, max_size=12)
SVG = "{http://www.w3.org/2000/svg}"
#: A rectangle: left, top, right, bottom.
Area = tuple[float, float, float, float]


@st.composite
def drawings(draw: DrawFn) -> Drawing:
    """Draw boxes of any names, and arrows between them that lead in no circle."""
    count = draw(st.integers(1, 9))
    nodes = [
        Node(
            str(i),
            draw(st.sampled_from(["input", "call", "merge", "answer"])),
            tuple(draw(st.lists(NAMES, min_size=1, max_size=4))),
            dashed=draw(st.booleans()),
        )
        for i in range(count)
    ]
    pairs = [(a, b) for a in range(count) for b in range(a + 1, count)]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=16)) if pairs else []
    arrows = [Arrow(str(a), str(b), tuple(draw(st.lists(NAMES, max_size=3, unique=True)))) for a, b in chosen]
    return Drawing(draw(NAMES), tuple(draw(st.permutations(nodes))), tuple(arrows))


def area(box: Box) -> Area:
    return box.x, box.y, box.x + box.width, box.y + box.height


def meet(a: Area, b: Area) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def labels(placed: Layout) -> list[Area]:
    """Return where the labels stand, from the base line up to the height of capitals."""
    return [
        (x, y - 0.6 * LINE, x + LETTER * len(text), y)
        for line in placed.lines
        for (x, y), text in line.labels
    ]


@given(drawing=drawings())
@settings(max_examples=300, deadline=None)
def test_nothing_stands_on_anything_else(drawing: Drawing) -> None:
    """Boxes, and labels of arrows, keep apart, and all of them within the picture."""
    placed = layout(drawing)
    areas = [*map(area, placed.boxes), *labels(placed)]
    assert not [(a, b) for i, a in enumerate(areas) for b in areas[:i] if meet(a, b)]
    assert all(a[0] >= 0 and a[1] >= 0 and a[2] <= placed.width and a[3] <= placed.height for a in areas)
    assert {box.node for box in placed.boxes} == set(drawing.nodes)


@given(drawing=drawings())
@settings(max_examples=300, deadline=None)
def test_arrows_lead_from_box_to_box(drawing: Drawing) -> None:
    """From the right side of one to the left side of the other, always rightwards, behind no third box."""
    placed = layout(drawing)
    boxes = {box.node.id: box for box in placed.boxes}
    assert [line.arrow for line in placed.lines] == list(drawing.arrows)
    for line in placed.lines:
        source, target = boxes[line.arrow.source], boxes[line.arrow.target]
        (x, y), (end_x, end_y) = line.points[0], line.points[-1]
        assert x == source.x + source.width
        assert source.y < y < source.y + source.height
        assert end_x == target.x
        assert target.y < end_y < target.y + target.height
        for (left, a), (right, b) in pairwise(line.points):
            assert left <= right
            way = (left, min(a, b), right, max(a, b))
            assert not [box for box in placed.boxes if meet(area(box), way)]


@given(drawing=drawings())
@settings(max_examples=100, deadline=None)
def test_an_svg_holds_every_name(drawing: Drawing) -> None:
    """It is well-formed whatever the names hold; what XML cannot say is a question mark."""
    root = ET.parse(io.StringIO(svg.draw([layout(drawing)]))).getroot()
    told = [text.text for text in root.iter(f"{SVG}text")]
    names = [drawing.title, *(line for node in drawing.nodes for line in node.lines)]
    names += [label for arrow in drawing.arrows for label in arrow.labels]
    assert sorted("".join(c if c.isprintable() else "?" for c in name) for name in names) == sorted(
        text or "" for text in told
    )


@given(drawing=drawings())
@settings(max_examples=50, deadline=None)
def test_a_drawing_has_one_layout(drawing: Drawing) -> None:
    """So that pictures in a repository change only with their plans."""
    assert layout(drawing) == layout(drawing)
