"""What one request may change: fewer members, other weights, another quorum, another strategy.

An override derives a plan from the compiled one; the engine does not know the difference.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gateway.engine.calls import share
from gateway.engine.plan import Plan, quorum_met
from protos.errors import AccordError, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.config.schema import Quorum
    from gateway.engine.plan import Seat
    from protos.tensor import TensorSpec

__all__ = ["Overrides", "apply", "check_permitted", "invalid"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What a request asks for; each part absent by default.

    Args:
        members: Seats to ask; empty = all.
        quorum: Another quorum.
        weights: Other weights by seat, each >= 0 and finite.
        strategy: Another strategy's kind, or empty.
        options: Its options.
    """

    members: tuple[str, ...] = ()
    quorum: Quorum | None = None
    # equal ones are one key of a cache, though a mapping has no hash
    weights: Mapping[str, float] = field(default_factory=dict, hash=False)
    strategy: str = ""
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def used(self) -> list[str]:
        """Return the names of the overrides in use."""
        parts = {
            "members": bool(self.members),
            "quorum": self.quorum is not None,
            "weights": bool(self.weights),
            "strategy": bool(self.strategy),
        }
        return [name for name, used in parts.items() if used]


def check_permitted(plan: Plan, overrides: Overrides, permitted: Sequence[str]) -> None:
    """Refuse overrides that the configuration does not permit.

    Tasks of a ``tasks`` ensemble may always be chosen: fewer tasks change no answer's meaning.

    Raises:
        AccordError: PARAMETER_INVALID, naming the field.
    """
    allowed = {*permitted, "members"} if plan.kind == "tasks" else set(permitted)
    for name in overrides.used():
        if name not in allowed:
            listed = ", ".join(sorted(allowed)) or "none"
            raise invalid(plan, name, f"the override {name!r} is not permitted; permitted: {listed}")


def apply(plan: Plan, overrides: Overrides) -> Plan:
    """Derive the plan that answers a request with other members, weights or quorum.

    Args:
        plan: The compiled plan, with the overriding strategy if there is one.
        overrides: What the request asks for.

    Raises:
        AccordError: PARAMETER_INVALID, naming the field, if an override is impossible.
    """
    seats = _chosen(plan, overrides)
    merge = replace(
        plan.merge, seats=seats, quorum=overrides.quorum or plan.merge.quorum, outputs=_outputs(plan, seats)
    )
    chosen = np.array([[seat.chosen] for seat in seats])
    if not quorum_met(merge, chosen)[0]:
        need = merge.quorum.count if merge.quorum else 0
        raise invalid(
            plan, "quorum", f"a quorum of {need} cannot be reached by the {chosen.sum()} chosen; set both"
        )
    merge, upstream, calls = share(merge, plan.upstream)
    return replace(plan, merge=merge, upstream=upstream, calls=calls)


def _outputs(plan: Plan, seats: Sequence[Seat]) -> tuple[TensorSpec, ...]:
    """Return what the chosen seats yield; only where each has outputs of its own is that less than before."""
    chosen = [seat.spec() for seat in seats if seat.chosen and seat.barred is None]
    if not plan.merge.strategy.traits.partial or not chosen:
        return plan.merge.outputs
    return plan.merge.strategy.outputs(chosen)


def _chosen(plan: Plan, overrides: Overrides) -> tuple[Seat, ...]:
    names = [seat.name for seat in plan.merge.seats]
    for field_name, given in (("members", overrides.members), ("weights", overrides.weights)):
        unknown = [name for name in given if name not in names]
        if unknown:
            raise invalid(
                plan, field_name, f"there is no member {unknown[0][:64]!r}; members: {', '.join(names)}"
            )
    seats = tuple(
        replace(
            seat,
            chosen=not overrides.members or seat.name in overrides.members,
            weight=overrides.weights.get(seat.name, seat.weight),
        )
        for seat in plan.merge.seats
    )
    if overrides.weights and not any(seat.weight for seat in seats if seat.chosen):
        raise invalid(plan, "weights", "the weights of all members asked are zero")
    return seats


def invalid(plan: Plan, field_name: str, problem: str) -> AccordError:
    """Return the error for an override that cannot be."""
    return AccordError(Reason.PARAMETER_INVALID, problem, field=field_name, metadata={"model": plan.name})
