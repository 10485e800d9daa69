"""Order statistics, element by element: median, trimmed mean, maximum, minimum.

All of them count members, not weights: an order has no weights to multiply.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from gateway.strategies.base import Array, Example
from gateway.strategies.elementwise import Elementwise, OutputOptions
from gateway.strategies.kernels import fold, weighted_mean
from gateway.strategies.proof import NUMBERS
from protos.tensor import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Max", "Median", "Min", "TrimmedMean"]


class Median(Elementwise):
    """The median; with an even number of answers, the mean of the middle two.

    Integers are refused, because the middle of two of them need not be one.
    """

    kind: ClassVar[str] = "median"

    def merge(self, values: Sequence[Array], weights: NDArray[np.float64]) -> Array:
        """Return the middle of the values that count."""
        answers = (weights > 0).sum(axis=0)
        return _mean_of_middle(values, weights, (answers - 1) // 2)


class TrimOptions(OutputOptions):
    """Options of the trimmed mean."""

    trim: float = Field(
        0.2, ge=0.0, lt=0.5, description="the share of the answers cut at each end, 0 <= trim < 0.5"
    )


class TrimmedMean(Elementwise):
    """The mean of what is left after cutting the lowest and the highest answers.

    Of m answers to a row, floor(trim * m) are cut at each end, for each element by itself; at least one
    always stays. A product that misses a whole number by less than 1e-9 counts as that number (0.29 * 100).

    Source: ``scipy.stats.trim_mean``, whose rounding is the same; Tukey (1962).
    """

    kind: ClassVar[str] = "trimmed_mean"
    Options = TrimOptions
    options: TrimOptions

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Return the common examples, and one that cuts as much as it may."""
        most = Example(options={"trim": 0.49}, outputs=(TensorSpec("y", "FP32", (-1, 3)),))
        return (*super().examples(), most)

    def merge(self, values: Sequence[Array], weights: NDArray[np.float64]) -> Array:
        """Return the mean of the values between the cuts."""
        answers = (weights > 0).sum(axis=0)
        cut = np.floor(self.options.trim * answers + 1e-9).astype(np.int64)
        return _mean_of_middle(values, weights, np.minimum(cut, (answers - 1) // 2))


class Max(Elementwise):
    """The largest value, in any numeric datatype; for BOOL it is "any".

    Source: the max rule of Kittler et al. (PAMI 1998).
    """

    kind: ClassVar[str] = "max"
    datatypes: ClassVar[tuple[str, ...]] = NUMBERS

    def merge(self, values: Sequence[Array], weights: NDArray[np.float64]) -> Array:
        """Return the maximum of the values that count."""
        return fold(np.maximum, values, weights)


class Min(Elementwise):
    """The smallest value, in any numeric datatype; for BOOL it is "all".

    Source: the min rule of Kittler et al. (PAMI 1998).
    """

    kind: ClassVar[str] = "min"
    datatypes: ClassVar[tuple[str, ...]] = NUMBERS

    def merge(self, values: Sequence[Array], weights: NDArray[np.float64]) -> Array:
        """Return the minimum of the values that count."""
        return fold(np.minimum, values, weights)


def _mean_of_middle(values: Sequence[Array], weights: NDArray[np.float64], cut: NDArray[np.int64]) -> Array:
    """Return the mean of the sorted values without the ``cut`` [r] first and last that count."""
    counts, dtype = weights > 0, values[0].dtype
    # NaN sorts last, out of the way of what counts. Two-byte floats sort slowly or not so; FP32 holds them.
    exact = np.dtype(np.float32) if dtype.itemsize == 2 else dtype
    stack = np.stack([value.astype(exact) for value in values])
    if not counts.all():
        stack[~counts] = np.nan
    ranked = np.sort(stack, axis=0).astype(dtype)
    rank, answers = np.arange(len(values))[:, None], counts.sum(axis=0)
    kept = (rank >= cut) & (rank < answers - cut)
    return weighted_mean(list(ranked), kept.astype(np.float64))
