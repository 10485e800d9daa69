"""Means, element by element: arithmetic, weighted and geometric."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from gateway.strategies.base import Array, Example, SeatSpec, StrategyError, Traits
from gateway.strategies.elementwise import Elementwise, OutputOptions
from gateway.strategies.kernels import average, weighted_mean, wide, within
from protos.tensor import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["GeometricMean", "Mean", "WeightedMean"]


class Mean(Elementwise):
    """The arithmetic mean; every member counts the same, whatever its weight.

    Source: the sum rule of Kittler, Hatef, Duin, Matas, "On combining classifiers" (PAMI 1998).
    """

    kind: ClassVar[str] = "mean"

    def merge(self, values: Sequence[Array], weights: NDArray[np.float64]) -> Array:
        """Return sum(x_i) / m over the m members that answered."""
        return weighted_mean(values, weights)


class WeightedMean(Elementwise):
    """The arithmetic mean with the seats' weights.

    Source: the linear opinion pool, Stone, "The opinion pool" (1961).
    """

    kind: ClassVar[str] = "weighted_mean"
    traits: ClassVar[Traits] = Traits(weighted=True)

    def merge(self, values: Sequence[Array], weights: NDArray[np.float64]) -> Array:
        """Return sum(w_i x_i) / sum(w_i) over the members that answered."""
        return weighted_mean(values, weights)


class GeometricOptions(OutputOptions):
    """Options of the geometric mean."""

    epsilon: float = Field(
        0.0,
        ge=0.0,
        allow_inf_nan=False,
        description="the least value that counts; above zero, no single member can veto a class",
    )
    normalise: bool = Field(
        default=False,
        description="rescale the last axis to the sum that the members' have on average: 1 for probabilities",
    )


class GeometricMean(Elementwise):
    """The geometric mean of non-negative values with the seats' weights: exp(sum(w_i log x_i) / sum(w_i)).

    Values below ``epsilon`` count as ``epsilon``, negative ones too. The result never leaves the range of
    what the members said, so a class to which all give zero stays at zero. Rows that the members veto
    together (every class zero) stay zero when normalised.

    Source: the logarithmic opinion pool, Genest and Zidek, "Combining probability distributions" (1986).
    """

    kind: ClassVar[str] = "geometric_mean"
    traits: ClassVar[Traits] = Traits(weighted=True)
    Options = GeometricOptions
    options: GeometricOptions

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Return the common examples, and clipped and normalised probabilities."""
        probabilities = TensorSpec("probabilities", "FP32", (-1, 4), labels=("a", "b", "c", "d"))
        half = TensorSpec("masks", "FP16", (-1, 2, 3), labels=("sky", "sea", "land"))
        return (
            *super().examples(),
            Example(options={"epsilon": 0.01}, outputs=(probabilities,)),
            Example(options={"normalise": True}, outputs=(probabilities, half)),
        )

    def outputs(self, seats: Sequence[SeatSpec]) -> tuple[TensorSpec, ...]:
        """Return the common outputs; to be normalised they need an axis besides the rows."""
        specs = super().outputs(seats)
        for spec in specs:
            if self.options.normalise and len(spec.shape) < 2:
                raise StrategyError(
                    f"output {spec.name!r} has shape {list(spec.shape)}, so there is no axis to normalise; "
                    f"name another output with `output:` or set `normalise: false`"
                )
        return specs

    def merge(self, values: Sequence[Array], weights: NDArray[np.float64]) -> Array:
        """Return the mean in the log domain, brought back."""
        dtype = wide(values[0].dtype)
        exact = [value.astype(dtype) for value in values]
        logs = [np.log(np.maximum(value, dtype.type(self.options.epsilon))) for value in exact]
        mean = within(np.exp(average(logs, weights, dtype)), exact, weights)
        if self.options.normalise:
            members = [value.sum(axis=-1, keepdims=True) for value in exact]
            total = mean.sum(axis=-1, keepdims=True)
            target = within(average(members, weights, dtype), members, weights)
            mean = mean * np.divide(target, total, out=np.ones_like(total), where=total > 0)
        return mean.astype(values[0].dtype)
