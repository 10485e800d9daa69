"""How sure a measured figure, or a difference of two, is: the bootstrap over rows or whole groups of rows.

Rows of one document are alike, so where rows have groups, whole groups are drawn. Models are compared on the
same draws (paired): the difference between two models on the same rows varies far less than either of them.

To draw a row twice is to count it twice. A draw is therefore a weight for each row, and whatever can be
computed of weighted rows has an interval, be it a mean or not.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), percentile interval, section 13.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

__all__ = ["DRAWS", "LEVEL", "Interval", "bootstrap", "drawn", "interval", "paired_bootstrap", "resample"]

_Key = TypeVar("_Key")

DRAWS = 5_000
LEVEL = 0.95

#: Numbers drawn at a time, so that memory stays small.
_CHUNK = 4_000_000

#: Where a figure is undefined on more of the draws than this, it has no interval.
_MAX_UNDEFINED = 0.1


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and where it lies, with the confidence asked for."""

    estimate: float
    low: float
    high: float

    def __neg__(self) -> Interval:
        """The same difference the other way round."""
        return Interval(-self.estimate, -self.high, -self.low)

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
    numbers = np.asarray(values, np.float64)
    group = _numbered(len(numbers), groups)
    sums, sizes = np.bincount(group, numbers), np.bincount(group).astype(np.float64)
    means = [counts @ sums / (counts @ sizes) for counts in _counts(len(sums), draws, seed)]
    return interval(float(np.mean(numbers)), np.concatenate(means), level=level)


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


def resample(
    figures: Mapping[_Key, Callable[[NDArray[np.float64]], NDArray[np.float64]]],
    groups: NDArray[Any],
    *,
    weights: NDArray[Any] | None = None,
    known: NDArray[np.bool_] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[_Key, NDArray[np.float64]]:
    """Return each figure on every draw; all figures see the same draws, so any two may be subtracted.

    Args:
        figures: From the weight of each known row, [d, m], to the figure of each draw, [d].
        groups: The group of each row, [n].
        weights: What a row counts when it is drawn once, [n]; None = 1.
        known: The rows that figures see; None = all. Draws are of all rows, so that they are the same ones
            for every task.
        draws: As for :func:`bootstrap`.
        seed: As for :func:`bootstrap`.

    Example:
        >>> heights = np.array([1.0, 2.0, 3.0])
        >>> means = {"mean": lambda times: times @ heights / times.sum(axis=1)}
        >>> float(resample(means, np.arange(3), draws=2000)["mean"].mean().round(1))
        2.0
    """
    rows = np.arange(len(groups)) if known is None else np.flatnonzero(known)
    scale = 1.0 if weights is None else weights[rows].astype(np.float64)
    parts: dict[_Key, list[NDArray[np.float64]]] = {name: [] for name in figures}
    for counts in drawn(groups, draws=draws, seed=seed):
        seen = counts[:, rows] * scale
        for name, figure in figures.items():
            parts[name].append(figure(seen))
    return {name: np.concatenate(part) if part else np.empty(0) for name, part in parts.items()}


def drawn(groups: NDArray[Any], *, draws: int = DRAWS, seed: int = 0) -> Iterator[NDArray[np.float64]]:
    """Yield how often each row counts in each draw, [d, n], in chunks that fit memory."""
    group = _numbered(len(groups), groups)
    if len(group):
        for counts in _counts(int(group.max()) + 1, draws, seed, width=len(group)):
            yield counts[:, group]


def interval(estimate: float, values: NDArray[np.float64], *, level: float = LEVEL) -> Interval:
    """Return an estimate with the percentile interval of its draws.

    A draw may leave a figure undefined, such as one without any row of a rare class. A few of those are
    left out; with many the ends are NaN.
    """
    there = values[np.isfinite(values)]
    if not np.isfinite(estimate) or not len(there) or 1 - len(there) / len(values) > _MAX_UNDEFINED:
        return Interval(estimate, np.nan, np.nan)
    low, high = np.quantile(there, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high))


def _numbered(rows: int, groups: NDArray[Any] | None) -> NDArray[np.intp]:
    return np.arange(rows) if groups is None else np.unique(groups, return_inverse=True)[1]


def _counts(groups: int, draws: int, seed: int, *, width: int = 0) -> Iterator[NDArray[np.float64]]:
    """Yield how often each group is drawn, [d, groups], in chunks for rows of the given width."""
    generator = np.random.default_rng(seed)
    per_chunk = max(1, _CHUNK // max(groups, width))
    for start in range(0, draws, per_chunk):
        made = min(per_chunk, draws - start)
        chosen = generator.integers(0, groups, (made, groups), np.int32)
        places = chosen + np.arange(made, dtype=np.int64)[:, None] * groups
        yield np.bincount(places.ravel(), minlength=made * groups).reshape(made, groups).astype(np.float64)
