"""Equal calls are one call: which models a tree of merges asks, each once for the same inputs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.engine.plan import Call, Merge

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.engine.plan import Seat

__all__ = ["share"]

#: What makes calls equal: the model and where its inputs come from.
_Key = tuple[str, tuple[tuple[str, str], ...]]


def share(merge: Merge) -> tuple[Merge, tuple[Call, ...]]:
    """Make equal calls one call, with the outputs that any chosen seat reads and the longest timeout.

    Args:
        merge: The root merge; the outputs and the timeout of its calls follow from its seats anew.

    Returns:
        The merge with its calls shared, and all of them in the order of the seats.
    """
    parts: dict[_Key, list[Call]] = {}
    for seat, call in _asking(merge):
        outputs = tuple(reading.source for reading in seat.readings)
        part = replace(call, outputs=outputs, timeout_s=seat.timeout_s)
        parts.setdefault((call.model, call.inputs), []).append(part)
    calls = {key: _joined(equal) for key, equal in parts.items()}
    return _with(merge, calls), tuple(calls.values())


def _asking(merge: Merge) -> Iterator[tuple[Seat, Call]]:
    for seat in merge.seats:
        match seat.source:
            case Call() if seat.chosen:
                yield seat, seat.source
            case Merge() if seat.chosen:
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


def _joined(equal: Sequence[Call]) -> Call:
    outputs = tuple(dict.fromkeys(name for call in equal for name in call.outputs))
    timeouts = [call.timeout_s for call in equal]
    longest = None if None in timeouts else max(t for t in timeouts if t is not None)
    return replace(equal[0], outputs=outputs, timeout_s=longest)
