"""Plans derived from compiled ones: for requests that want some outputs only, and for those that lack inputs.

Rules:

- Who needs an input that a request lacks, and may lack, is not asked; neither is who needs the answer of one
  that is not asked. A tensor that a model can do without is left out instead.
- An ensemble in a seat is not asked if none of its own seats is, or if it lacks an output that is merged;
  where outputs stand side by side, those that it has are there.
- Seats that are not asked do not count for the quorum, which is then as many as are left if it was more.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.engine.calls import share
from gateway.engine.plan import Call, Feed, Merge
from gateway.engine.prune import at_most, prune
from protos.errors import AccordError, Reason

if TYPE_CHECKING:
    from gateway.engine.plan import Plan, Seat, Source

__all__ = ["lacking", "wanting"]


def wanting(plan: Plan, wanted: frozenset[str]) -> Plan:
    """Derive the plan that answers with some outputs only.

    Args:
        plan: The whole plan.
        wanted: Names of some of its outputs, one at least.

    Returns:
        A plan with the same inputs; the plan itself where all its outputs are wanted.
    """
    if all(spec.name in wanted for spec in plan.merge.outputs):
        return plan
    merge, upstream, calls = share(prune(plan.merge, wanted), plan.upstream)
    return replace(plan, merge=merge, upstream=upstream, calls=calls)


def lacking(plan: Plan, absent: frozenset[str]) -> Plan:
    """Derive the plan that answers a request without some of its inputs.

    Args:
        plan: A plan.
        absent: Names of inputs that may be absent.

    Raises:
        AccordError: INPUT_MISSING if nobody is left who could be asked.
    """
    cut = _Cut(absent)
    seats = (
        [] if plan.upstream is None else [cut.upstream(i, seat) for i, seat in enumerate(plan.upstream.seats)]
    )
    merge = cut.merge(plan.merge)
    if not any(seat.chosen for seat in merge.seats):
        first = min(absent)
        raise AccordError(
            Reason.INPUT_MISSING,
            f"input {first!r} is missing, and without it no member of {plan.name!r} can be asked",
            field="inputs",
            metadata={"model": plan.name},
        )
    upstream = None if plan.upstream is None else replace(plan.upstream, seats=tuple(seats))
    merge, upstream, calls = share(merge, upstream)
    return replace(plan, merge=merge, upstream=upstream, calls=calls)


class _Cut:
    """Cuts seats out of a plan, upstream ones first."""

    def __init__(self, absent: frozenset[str]) -> None:
        self._absent = absent
        #: Outputs of upstream seats that will not be there.
        self._lost: dict[Feed, str] = {}

    def upstream(self, index: int, seat: Seat) -> Seat:
        cut = self._seat(seat, partial=True)
        there = {reading.source for reading in cut.readings} if cut.chosen else ()
        for reading in seat.readings:
            if reading.source not in there:
                self._lost[Feed(index, reading.source)] = f"{reading.source!r} of member {seat.name!r}"
        return cut

    def merge(self, merge: Merge) -> Merge:
        partial = merge.strategy.traits.partial
        seats = tuple(self._seat(seat, partial=partial) for seat in merge.seats)
        asked = [seat.spec() for seat in seats if seat.chosen and seat.barred is None]
        outputs = merge.strategy.outputs(asked) if partial and asked else merge.outputs
        return replace(merge, seats=seats, outputs=outputs, quorum=at_most(merge.quorum, seats))

    def _seat(self, seat: Seat, *, partial: bool) -> Seat:
        if not seat.chosen:
            return seat
        match seat.source:
            case Call():
                return self._called(seat, seat.source)
            case Merge():
                return self._nested(seat, seat.source, partial=partial)
        return seat

    def _nested(self, seat: Seat, merge: Merge, *, partial: bool) -> Seat:
        merge = self.merge(merge)
        there = {spec.name for spec in merge.outputs}
        readings = tuple(reading for reading in seat.readings if reading.source in there)
        asked = any(inner.chosen for inner in merge.seats)
        if asked and (readings if partial else len(readings) == len(seat.readings)):
            return replace(seat, source=merge, readings=readings)
        why = next((inner.problem for inner in merge.seats if not inner.chosen and inner.problem), "")
        return replace(seat, source=merge, chosen=False, problem=why)

    def _called(self, seat: Seat, call: Call) -> Seat:
        missing = {own: why for own, source in call.inputs if (why := self._missing(source))}
        if needed := [own for own in missing if own not in call.optional]:
            why = f"not asked: the request lacks what its {needed[0]!r} is made of, {missing[needed[0]]}"
            return replace(seat, chosen=False, problem=why)
        if not missing:
            return seat
        inputs = tuple((own, source) for own, source in call.inputs if own not in missing)
        return replace(seat, source=replace(call, inputs=inputs))

    def _missing(self, source: Source) -> str:
        """Return what is missing of where an input comes from, or nothing."""
        if isinstance(source, str):
            return f"input {source!r}" if source in self._absent else ""
        return next((self._lost[feed] for feed in source if feed in self._lost), "")
