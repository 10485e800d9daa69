"""The arithmetic that merges share: picking the answers that count, and folding or averaging them.

Every function takes the answers of m seats as arrays [r, ...] and their weights as float64 [m, r]; a
weight of zero means that the seat does not count for that row and that its values there are undefined.

Sums run in float64 in the order given; for FP64 in ``longdouble``, so that the one final cast, not the
summation, decides the last bit.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from gateway.strategies.base import Array, Mask, State, StrategyError
from protos.tensor import datatype_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["average", "fold", "gather", "names_answered", "over", "pick", "weighted_mean", "wide", "within"]


def pick(array: Array, rows: Mask) -> Array:
    """Return the rows where the mask is true, without copying when that is all of them."""
    return array if rows.all() else array[rows]


def names_answered(state: State) -> tuple[str, ...]:
    """Return the output names of the first seat that answered at all; empty if none did."""
    return next((tuple(outputs) for outputs in state.outputs if outputs), ())


def gather(
    state: State, rows: Mask, name: str, used: NDArray[np.float64], *, any_length: bool = False
) -> tuple[list[Array], NDArray[np.float64]]:
    """Collect one output of the seats that count for any of the rows.

    Args:
        state: What is known of the batch.
        rows: The rows to merge, r of them.
        name: The output.
        used: Weight of each seat's answer, float64 [k, r], as ``Strategy.used`` says.
        any_length: Whether the seats' shapes may differ beyond the row axis.

    Returns:
        The m answers [r, ...] in seat order, and their weights [m, r]. Without rows it is the first seat
        that has the output, so that shape and dtype are known.

    Raises:
        StrategyError: If nobody has the output, or if dimensions known only now differ between the seats.
    """
    seats = [i for i, row in enumerate(used) if row.any()]
    if not seats:
        seats = [i for i, outputs in enumerate(state.outputs) if name in outputs][:1]
    if not seats:
        raise StrategyError(f"no member answered output {name!r}")
    first = state.outputs[seats[0]][name]
    for i in seats[1:]:
        shape = state.outputs[i][name].shape
        if shape[1:] != first.shape[1:] and not any_length:
            raise StrategyError(
                f"output {name!r} has shape {list(first.shape)} at member {state.seats[seats[0]]!r} "
                f"but {list(shape)} at member {state.seats[i]!r}; such answers cannot be merged"
            )
    return [pick(state.outputs[i][name], rows) for i in seats], used[seats]


def over(per_row: Array, like: Array) -> Array:
    """Reshape [r] so that it broadcasts over the rows of ``like``."""
    return per_row.reshape(-1, *(1,) * (like.ndim - 1))


def wide(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype in which values of a float dtype are summed."""
    return np.dtype(np.longdouble if datatype_of(dtype) == "FP64" else np.float64)


def fold(
    step: Callable[[Array, Array], Array], values: Sequence[Array], weights: NDArray[np.float64]
) -> Array:
    """Fold the values that count, element by element in seat order, in their own dtype.

    Example:
        >>> a, b = np.array([1, 5]), np.array([3, 9])
        >>> fold(np.maximum, [a, b], np.array([[1.0, 1.0], [1.0, 0.0]])).tolist()
        [3, 5]
    """
    counts = weights > 0
    if counts.all():
        return reduce(step, values)
    result, seen = values[0], counts[0]
    for value, here in zip(values[1:], counts[1:], strict=True):
        only_new, both = over(here & ~seen, value), over(here & seen, value)
        result = np.where(both, step(result, value), np.where(only_new, value, result))
        seen = seen | here
    return result


def average(values: Sequence[Array], weights: NDArray[np.float64], dtype: np.dtype[Any]) -> Array:
    """Return the weighted mean of the values that count, summed in seat order and left in ``dtype``."""
    scale, dense = weights.astype(dtype), bool((weights > 0).all())
    total, result = np.zeros(weights.shape[1:], dtype), np.zeros(values[0].shape, dtype)
    for value, weight in zip(values, scale, strict=True):
        column = over(weight, value)
        known = value if dense else np.where(column > 0, value, np.zeros((), value.dtype))
        result += known.astype(dtype) * column
        total += weight
    result /= over(total, result)
    return result


def weighted_mean(values: Sequence[Array], weights: NDArray[np.float64]) -> Array:
    """Return the weighted mean in the values' dtype, never outside what the members say.

    Example:
        >>> a, b = np.array([0.5], np.float32), np.array([0.75], np.float32)
        >>> weighted_mean([a, b], np.array([[1.0], [3.0]]))
        array([0.6875], dtype=float32)
    """
    return within(average(values, weights, wide(values[0].dtype)), values, weights)


def within(result: Array, values: Sequence[Array], weights: NDArray[np.float64]) -> Array:
    """Cast to the values' dtype and clip to their range, so that unanimous members come back exactly."""
    low, high = fold(np.minimum, values, weights), fold(np.maximum, values, weights)
    clipped: Array = np.minimum(np.maximum(result.astype(low.dtype), low), high)
    return clipped
