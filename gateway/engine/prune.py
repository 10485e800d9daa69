"""What nobody wants is not asked for: merges cut down to some of their outputs.

Rules:

- A strategy says which outputs of a seat some merged outputs need; of a model, only those are requested.
- Where a lost member leaves outputs out, a seat of whose outputs none is wanted is not asked, and does
  not count for the quorum, which is then as many as are left if it was more.
- Elsewhere every member has its part in every output, so all are asked, whatever is wanted.
- It goes downwards: a nested ensemble is cut down to what the seat above reads of it.
- To want everything there is changes nothing, so that naming all outputs equals naming none.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.config.schema import Quorum
from gateway.engine.plan import Merge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.engine.plan import Seat

__all__ = ["at_most", "prune"]


def prune(merge: Merge, wanted: frozenset[str]) -> Merge:
    """Cut a merge, and those nested in it, down to what some of its outputs need; calls are left unshared."""
    if _all_wanted(merge, wanted):
        return replace(merge, seats=tuple(_below(seat) for seat in merge.seats))
    seats = tuple(_below(_cut(merge, seat, wanted)) for seat in merge.seats)
    outputs = tuple(spec for spec in merge.outputs if spec.name in wanted)
    return replace(merge, seats=seats, outputs=outputs, quorum=at_most(merge.quorum, seats))


def _all_wanted(merge: Merge, wanted: frozenset[str]) -> bool:
    return all(spec.name in wanted for spec in merge.outputs)


def _cut(merge: Merge, seat: Seat, wanted: frozenset[str]) -> Seat:
    needed = merge.strategy.needs(seat.spec(), wanted)
    readings = tuple(reading for reading in seat.readings if reading.spec.name in needed)
    useless = merge.strategy.traits.partial and not readings
    return replace(seat, readings=readings, chosen=seat.chosen and not useless)


def _below(seat: Seat) -> Seat:
    if not (isinstance(seat.source, Merge) and seat.chosen and seat.readings):
        return seat
    read = frozenset(reading.source for reading in seat.readings)
    return replace(seat, source=prune(seat.source, read))


def at_most(quorum: Quorum | None, seats: Sequence[Seat]) -> Quorum | None:
    """Return a quorum that the chosen seats can reach, one at least; a share of weight is one of theirs."""
    if quorum is None or quorum.count is None:
        return quorum
    return Quorum(count=min(quorum.count, max(1, sum(seat.chosen for seat in seats))))
