"""Several tasks in one call: every member's outputs side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from gateway.strategies.base import (
    Array,
    Example,
    Mask,
    Options,
    SeatSpec,
    State,
    Strategy,
    StrategyError,
    Traits,
)
from gateway.strategies.kernels import pick
from protos.tensor import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Tasks", "TasksOptions"]


class TasksOptions(Options):
    """How the outputs are named."""

    prefix: bool = Field(
        True,
        description="whether outputs are named `<seat>.<output>`; else they keep names that all differ",
    )


class Tasks(Strategy):
    """Each seat's outputs, untouched, as ``<seat>.<output>``, or under their own names.

    A tensor has no holes: a seat that lacks any of the rows asked for leaves its outputs out of that result.

    Args:
        options: How they are named.
    """

    kind: ClassVar[str] = "tasks"
    Options = TasksOptions
    options: TasksOptions
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
        return frozenset(name for name in seat.outputs if self._name(seat.name, name) in wanted)

    def outputs(self, seats: Sequence[SeatSpec]) -> tuple[TensorSpec, ...]:
        """Return all outputs of all seats, renamed."""
        if not seats:
            raise StrategyError("there is no member to merge; list at least one")
        specs: dict[str, tuple[TensorSpec, str]] = {}
        for seat in seats:
            for spec in seat.outputs.values():
                name = self._name(seat.name, spec.name)
                if name in specs:
                    raise StrategyError(
                        f"members {specs[name][1]!r} and {seat.name!r} both return {name!r}; "
                        "name one of the two otherwise by outputs:"
                    )
                specs[name] = (TensorSpec(name, spec.datatype, spec.shape, spec.labels), seat.name)
        return tuple(spec for spec, _ in specs.values())

    def combine(self, state: State, rows: Mask) -> dict[str, Array]:
        """Return the outputs of every seat that answered all of the rows."""
        return {
            self._name(seat, name): pick(array, rows)
            for seat, answered, outputs in zip(state.seats, state.answered, state.outputs, strict=True)
            if answered[rows].all()
            for name, array in outputs.items()
        }

    def _name(self, seat: str, output: str) -> str:
        return f"{seat}.{output}" if self.options.prefix else output
