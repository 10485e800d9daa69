"""How sure a measured accuracy, or a difference of two, is: the bootstrap over rows or whole groups of rows.

Rows of one document are alike, so where rows have groups, whole groups are drawn. Models are compared on the
same draws (paired): the difference between two models on the same rows varies far less than either of them.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), percentile interval, section 13.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Interval", "bootstrap", "paired_bootstrap"]

DRAWS = 5_000
LEVEL = 0.95

#: Numbers drawn at a time, so that memory stays small.
_CHUNK = 4_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and where it lies, with the confidence asked for."""

    estimate: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


def bootstrap(
    values: NDArray[Any],
    groups: NDArray[Any] | None = None,
    *,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Return the mean of values per row and its percentile interval.

    Args:
        values: One number or bool per row, [n].
        groups: The group of each row, [n]; None = every row stands alone.
        draws: How often to draw as many groups as there are, with replacement.
        level: The interval's confidence.
        seed: Seed of the draws.

    Example:
        >>> bootstrap(np.array([1, 1, 1, 1]))
        Interval(estimate=1.0, low=1.0, high=1.0)
    """
    means = _resampled_means(np.asarray(values, np.float64), groups, draws, seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(np.mean(values)), float(low), float(high))


def paired_bootstrap(
    first: NDArray[Any], second: NDArray[Any], groups: NDArray[Any] | None = None, **options: Any
) -> Interval:
    """Return the mean of ``first - second`` on the same rows and its interval.

    Args:
        first: One number or bool per row, [n].
        second: Likewise, for the same rows.
        groups: As for :func:`bootstrap`.
        **options: As for :func:`bootstrap`.

    Example:
        >>> paired_bootstrap(np.array([True, True]), np.array([True, True]))
        Interval(estimate=0.0, low=0.0, high=0.0)
    """
    return bootstrap(np.asarray(first, np.float64) - np.asarray(second, np.float64), groups, **options)


def _resampled_means(
    values: NDArray[np.float64], groups: NDArray[Any] | None, draws: int, seed: int
) -> NDArray[np.float64]:
    group = np.arange(len(values)) if groups is None else np.unique(groups, return_inverse=True)[1]
    sums, sizes = np.bincount(group, values), np.bincount(group)
    generator, count = np.random.default_rng(seed), len(sums)
    per_chunk = max(1, _CHUNK // count)
    means = np.empty(draws)
    for start in range(0, draws, per_chunk):
        stop = min(start + per_chunk, draws)
        drawn = generator.integers(0, count, (stop - start, count), np.int32)
        means[start:stop] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return means
