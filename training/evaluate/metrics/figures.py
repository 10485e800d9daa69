"""What a metric is: a figure of weighted rows, and what to say where there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["Figure", "Undefined", "divided", "mean_of"]


class Undefined(float):
    """NaN that knows why.

    Example:
        >>> nothing = Undefined("no row is labelled")
        >>> nothing != nothing, nothing.reason
        (True, 'no row is labelled')
    """

    __slots__ = ("reason",)

    reason: str

    def __new__(cls, reason: str) -> Undefined:
        """Make one."""
        value = super().__new__(cls, "nan")
        value.reason = reason
        return value

    def __reduce__(self) -> tuple[type[Undefined], tuple[str]]:
        return Undefined, (self.reason,)


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric of given rows.

    Args:
        of: From the weights of the labelled rows, [d, n], to the metric of each weighting, [d]; NaN =
            undefined.
        undefined: Why it is undefined where it is.
    """

    of: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    undefined: str


def mean_of(values: NDArray[np.float64]) -> Figure:
    """The weighted mean of a number per row."""
    return Figure(lambda weights: divided(weights @ values, weights.sum(axis=1)), "the weights add up to 0")


def divided(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide; by zero gives NaN."""
    quotient = np.full(np.shape(above), np.nan)
    np.divide(above, below, out=quotient, where=below != 0)
    return quotient
