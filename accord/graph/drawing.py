"""What a picture of a plan consists of: boxes and arrows between them, before anything has a place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from accord.graph.shown import REQUEST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from accord.graph.shown import Shown, ShownCall

__all__ = ["Arrow", "Drawing", "Node", "drawing"]

Kind = Literal["input", "call", "merge", "answer"]
_ANSWER = "answer"


@dataclass(frozen=True, slots=True)
class Node:
    """A box.

    Args:
        id: What arrows call it.
        kind: What it stands for.
        lines: What is written in it; the first is its title.
        dashed: Whether it may be absent: an optional input, or a member that cannot be asked.
    """

    id: str
    kind: Kind
    lines: tuple[str, ...]
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Arrow:
    """An arrow from box to box.

    Args:
        source: The box it leaves.
        target: The box it ends at.
        labels: Names of the tensors that it stands for.
    """

    source: str
    target: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Drawing:
    """All boxes and arrows of one plan."""

    title: str
    nodes: tuple[Node, ...]
    arrows: tuple[Arrow, ...]


def drawing(shown: Shown) -> Drawing:
    """Return the boxes and arrows of a plan."""
    nodes = [
        Node(f"{REQUEST} {t.name}", "input", (t.name, f"{t.datatype} {list(t.shape)}"), dashed=t.optional)
        for t in shown.inputs
    ]
    nodes += [_call(call) for call in shown.calls]
    labels: dict[tuple[str, str], list[str]] = {}
    for source, target, label in _of_calls(shown):
        labels.setdefault((source, target), []).append(label)
    for merge in shown.merges:
        nodes.append(Node(merge.id, "merge", (merge.ensemble, merge.strategy)))
        for seat in merge.seats:
            if not seat.asks:
                nodes.append(
                    Node(f"{merge.id} {seat.name}", "call", (seat.name, "cannot be asked"), dashed=True)
                )
                labels[f"{merge.id} {seat.name}", merge.id] = []
                continue
            for name, own in seat.outputs:
                labels.setdefault((seat.asks, merge.id), []).append(_renamed(own, name))
    nodes.append(Node(_ANSWER, "answer", ("answer", *(str(t) for t in shown.outputs))))
    if shown.merges:
        labels[shown.merges[-1].id, _ANSWER] = [t.name for t in shown.outputs]
    arrows = tuple(
        Arrow(source, target, tuple(dict.fromkeys(names))) for (source, target), names in labels.items()
    )
    rows = f"up to {shown.max_rows} rows a call" if shown.max_rows else "does not batch"
    shares = "requests share batches" if shown.shares else "each request by itself"
    return Drawing(f"{shown.name} version {shown.version}: {rows}, {shares}", tuple(nodes), arrows)


def _call(call: ShownCall) -> Node:
    seats = ", ".join(call.seats)
    whose = (f"seat {seats}",) if seats not in ("", call.model) else ()
    return Node(
        call.id, "call", (call.model, *whose, "requests share it" if call.shares else "one for each request")
    )


def _of_calls(shown: Shown) -> Iterator[tuple[str, str, str]]:
    for call in shown.calls:
        for read in call.reads:
            for port in read.ports:
                if port.source == REQUEST:
                    yield f"{REQUEST} {port.output}", call.id, read.input
                else:
                    part = f"part of {read.input}" if len(read.ports) > 1 else read.input
                    yield port.source, call.id, _renamed(port.output, part)


def _renamed(own: str, name: str) -> str:
    return own if own == name else f"{own} → {name}"
