"""Which models a plan asks: equal calls are one call, and of what feeds others only that which is read.

An upstream seat is read by calls that stand after it, so those are looked at from the last to the first: when
its turn comes, everything that reads it is known.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.engine.plan import Call, Merge
from gateway.engine.prune import prune
from gateway.strategies.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.engine.plan import Seat, Source

__all__ = ["share", "upstream_of"]

#: What makes calls equal: the model and where its inputs come from.
_Key = tuple[str, tuple[tuple[str, "Source"], ...]]


def upstream_of(name: str, seats: Sequence[Seat]) -> Merge | None:
    """Return upstream seats as the merge that merges nothing; None if there are none."""
    if not seats:
        return None
    return Merge(
        name=name,
        strategy=Tasks(),
        seats=tuple(seats),
        quorum=None,
        nonfinite="pass",  # who reads it answers for what comes of it
        deadline_s=None,
        outputs=(),
    )


def share(merge: Merge, upstream: Merge | None) -> tuple[Merge, Merge | None, tuple[Call, ...]]:
    """Make equal calls one call, with the outputs that are read of it and the longest timeout.

    Args:
        merge: The root merge; the outputs and the timeout of its calls follow from its seats anew.
        upstream: What feeds its calls.

    Returns:
        Both with their calls shared, and with upstream seats that nobody reads not chosen; and all calls in
        the order in which they can be made.
    """
    parts = list(_asking(merge))
    needed: dict[int, dict[str, None]] = {}
    _note(needed, parts)
    seats = list(upstream.seats if upstream else ())
    for i in range(len(seats) - 1, -1, -1):
        seats[i] = _read(seats[i], tuple(needed.get(i, ())))
        if seats[i].chosen:
            below = list(_asking_of(seats[i]))
            _note(needed, below)
            parts = [*below, *parts]
    calls = _joined(parts)
    shared = None if upstream is None else _with(replace(upstream, seats=tuple(seats)), calls)
    return _with(merge, calls), shared, tuple(calls.values())


def _read(seat: Seat, outputs: Sequence[str]) -> Seat:
    """Cut an upstream seat down to what is read of it."""
    readings = tuple(reading for reading in seat.readings if reading.source in outputs)
    source = (
        prune(seat.source, frozenset(outputs)) if isinstance(seat.source, Merge) and outputs else seat.source
    )
    return replace(seat, readings=readings, source=source, chosen=bool(outputs))


def _note(needed: dict[int, dict[str, None]], parts: Sequence[Call]) -> None:
    for call in parts:
        for feed in call.feeds:
            needed.setdefault(feed.seat, {})[feed.output] = None


def _asking(merge: Merge) -> Iterator[Call]:
    for seat in merge.seats:
        if seat.chosen:
            yield from _asking_of(seat)


def _asking_of(seat: Seat) -> Iterator[Call]:
    match seat.source:
        case Call():
            outputs = tuple(reading.source for reading in seat.readings)
            yield replace(seat.source, outputs=outputs, timeout_s=seat.timeout_s)
        case Merge():
            yield from _asking(seat.source)


def _with(merge: Merge, calls: Mapping[_Key, Call]) -> Merge:
    seats = []
    for seat in merge.seats:
        match seat.source:
            case Call(model=model, inputs=inputs) if seat.chosen:
                seats.append(replace(seat, source=calls[model, inputs]))
            case Merge() if seat.chosen:
                seats.append(replace(seat, source=_with(seat.source, calls)))
            case _:
                seats.append(seat)
    return replace(merge, seats=tuple(seats))


def _joined(parts: Sequence[Call]) -> dict[_Key, Call]:
    equal: dict[_Key, list[Call]] = {}
    for call in parts:
        equal.setdefault((call.model, call.inputs), []).append(call)
    return {key: _union(calls) for key, calls in equal.items()}


def _union(equal: Sequence[Call]) -> Call:
    outputs = tuple(dict.fromkeys(name for call in equal for name in call.outputs))
    timeouts = [call.timeout_s for call in equal]
    longest = None if None in timeouts else max(t for t in timeouts if t is not None)
    return replace(equal[0], outputs=outputs, timeout_s=longest)
