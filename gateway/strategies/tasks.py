"""Several tasks in one call: every member's outputs side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from gateway.strategies.base import Array, Example, Mask, SeatSpec, State, Strategy, StrategyError, Traits
from gateway.strategies.kernels import pick
from protos.tensor import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Tasks"]


class Tasks(Strategy):
    """Each seat's outputs, untouched, as ``<seat>.<output>``.

    A tensor has no holes: a seat that lacks any of the rows asked for leaves its outputs out of that result.
    """

    kind: ClassVar[str] = "tasks"
    traits: ClassVar[Traits] = Traits(idempotent=False, partial=True)

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Return one example: a classifier with a label beside its probabilities."""
        classes = ("negative", "neutral", "positive")
        return (
            Example(
                outputs=(
                    TensorSpec("label", "BYTES", (-1,)),
                    TensorSpec("probabilities", "FP32", (-1, 3), labels=classes),
                )
            ),
        )

    def needs(self, seat: SeatSpec, wanted: frozenset[str]) -> frozenset[str]:
        """Return the seat's own part of what is wanted."""
        return frozenset(name for name in seat.outputs if f"{seat.name}.{name}" in wanted)

    def outputs(self, seats: Sequence[SeatSpec]) -> tuple[TensorSpec, ...]:
        """Return all outputs of all seats, renamed."""
        if not seats:
            raise StrategyError("there is no member to merge; list at least one")
        return tuple(
            TensorSpec(f"{seat.name}.{spec.name}", spec.datatype, spec.shape, spec.labels)
            for seat in seats
            for spec in seat.outputs.values()
        )

    def combine(self, state: State, rows: Mask) -> dict[str, Array]:
        """Return the outputs of every seat that answered all of the rows."""
        return {
            f"{seat}.{name}": pick(array, rows)
            for seat, answered, outputs in zip(state.seats, state.answered, state.outputs, strict=True)
            if answered[rows].all()
            for name, array in outputs.items()
        }
