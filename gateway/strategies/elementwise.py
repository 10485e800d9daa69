"""Merges that treat every element of an output alike: what they share.

Such a merge says in :meth:`Elementwise.merge` how m arrays become one; which outputs, which seats and
which rows is settled here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from gateway.strategies.base import Array, Example, Mask, Options, SeatSpec, State, Strategy
from gateway.strategies.kernels import gather, names_answered
from gateway.strategies.proof import FLOATS, check_weights, shared_specs
from protos.tensor import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Elementwise", "OutputOptions"]


class OutputOptions(Options):
    """Options of every elementwise merge."""

    output: str | None = Field(
        None, description="the output to merge; null merges all of them, and every member must have the same"
    )


class Elementwise(Strategy):
    """Base of elementwise merges; a subclass defines ``kind`` and :meth:`merge`.

    Args:
        options: Which output to merge, or all.
    """

    Options = OutputOptions
    options: OutputOptions
    #: The datatypes that the merge takes.
    datatypes: ClassVar[tuple[str, ...]] = FLOATS

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Return one example with a named output, one for each float datatype and one for all others."""
        every = [
            Example(outputs=(TensorSpec("y", datatype, (-1,)), TensorSpec("z", datatype, (-1, 2, -1))))
            for datatype in FLOATS
        ]
        if others := [datatype for datatype in cls.datatypes if datatype not in FLOATS]:
            every.append(Example(outputs=tuple(TensorSpec(name.lower(), name, (-1, 2)) for name in others)))
        probabilities = TensorSpec("probabilities", "FP32", (-1, 3), labels=("ham", "spam", "eggs"))
        named = Example(
            options={"output": "probabilities"}, outputs=(TensorSpec("label", "BYTES", (-1,)), probabilities)
        )
        return (named, *every)

    def reads(self, seat: SeatSpec) -> frozenset[str]:
        """Return the named output, or all."""
        return frozenset(seat.outputs if self.options.output is None else (self.options.output,))

    def needs(self, seat: SeatSpec, wanted: frozenset[str]) -> frozenset[str]:
        """Return the wanted outputs themselves: each is merged for itself."""
        return self.reads(seat) & wanted

    def outputs(self, seats: Sequence[SeatSpec]) -> tuple[TensorSpec, ...]:
        """Return the outputs that every seat has alike; a merge changes neither datatype nor shape."""
        if self.traits.weighted:
            check_weights(seats)
        return shared_specs(seats, self.options.output, self.datatypes)

    def combine(self, state: State, rows: Mask) -> dict[str, Array]:
        """Merge each output over the seats that count."""
        used = self.used(state, rows)
        names = names_answered(state) if self.options.output is None else (self.options.output,)
        # Values that are not finite get here only where the config lets them pass; they are no news then.
        with np.errstate(all="ignore"):
            return {name: self.merge(*gather(state, rows, name, used)) for name in names}

    def merge(self, values: Sequence[Array], weights: NDArray[np.float64]) -> Array:
        """Merge one output.

        Args:
            values: The answers of m seats, each [r, ...], of one dtype; m >= 1.
            weights: How much each counts, float64 [m, r]; where it is zero the values are undefined. For
                every row at least one is positive.

        Returns:
            The merged output, [r, ...], in the values' dtype.
        """
        raise NotImplementedError(f"{type(self).__name__} needs merge()")
