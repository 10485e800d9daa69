"""Whether the answers of a merge's seats can be merged: each seat must fit those before it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.engine.labels import aligned, labels_for
from gateway.strategies.base import SeatSpec, StrategyError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.config.schema import Ensemble
    from gateway.engine.plan import Seat
    from gateway.strategies.base import Strategy
    from protos.tensor import TensorSpec

__all__ = ["fit"]


def fit(
    ensemble: Ensemble, strategy: Strategy, seats: Mapping[int, Seat], bar: Callable[[int, str], Seat]
) -> tuple[list[Seat], tuple[TensorSpec, ...]]:
    """Find what a merge yields, and cut each seat's readings down to what the strategy reads.

    Args:
        ensemble: The ensemble.
        strategy: How it merges.
        seats: The seats that count, by their index in the configuration.
        bar: Takes a seat that does not fit, and why; returns it barred.

    Returns:
        The seats, in order, and the merge's outputs.
    """
    # where outputs only stand side by side, nothing is merged and classes need not agree
    if not strategy.traits.partial:
        seats = _align(ensemble, strategy, seats, bar)
    return _prove(ensemble, strategy, seats, bar)


def _align(
    ensemble: Ensemble, strategy: Strategy, seats: Mapping[int, Seat], bar: Callable[[int, str], Seat]
) -> dict[int, Seat]:
    """Put every labelled output that is merged into one class order, named alike on all seats."""
    canonical: dict[str, tuple[str, ...]] = {}
    merged = {index: _merged_outputs(strategy, seat) for index, seat in seats.items()}
    for index, seat in seats.items():
        for spec in (reading.spec for reading in seat.readings if reading.spec.name in merged[index]):
            if labels := labels_for(spec, ensemble.labels):
                canonical.setdefault(spec.name, labels)
    readable = {}
    for index, seat in seats.items():
        try:
            readings = tuple(
                aligned(r, canonical.get(r.spec.name, ())) if r.spec.name in merged[index] else r
                for r in seat.readings
            )
            readable[index] = replace(seat, readings=readings)
        except StrategyError as error:
            readable[index] = bar(index, str(error))
    return readable


def _prove(
    ensemble: Ensemble, strategy: Strategy, seats: Mapping[int, Seat], bar: Callable[[int, str], Seat]
) -> tuple[list[Seat], tuple[TensorSpec, ...]]:
    fitting: list[SeatSpec] = []
    outputs: tuple[TensorSpec, ...] = ()
    proved: list[Seat] = []
    read = frozenset[str]().union(*(member.reads for member in ensemble.members))
    for index, seat in seats.items():
        if seat.barred:
            proved.append(seat)
            continue
        try:
            outputs = strategy.outputs([*fitting, seat.spec()])
        except StrategyError as error:
            unread = f"; no member reads {seat.name!r} either" if read and seat.name not in read else ""
            proved.append(bar(index, f"{error}{unread}"))
            continue
        needed = strategy.reads(seat.spec())
        kept = replace(seat, readings=tuple(r for r in seat.readings if r.spec.name in needed))
        fitting.append(seat.spec())
        proved.append(kept)
    return proved, outputs


def _merged_outputs(strategy: Strategy, seat: Seat) -> frozenset[str]:
    try:
        return strategy.reads(seat.spec())
    except StrategyError:  # which the proof will say again, and say where
        return frozenset()
