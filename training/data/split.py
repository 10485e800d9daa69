"""Training, validation and test rows without leaks between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from training.data.dataset import Part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["connected", "place_groups", "some_groups", "split_groups", "torn"]

#: How far a part may be from its share, as a share of it, before groups are dealt by size.
_FAR = 1 / 3


def connected(*keys: Sequence[str]) -> NDArray[np.int64]:
    """Number the groups of rows that share a value of any key, directly or through other rows.

    Args:
        keys: Sequences of one length, the number of rows.

    Returns:
        The group of each row, int64 [n].

    Example:
        >>> connected(["a", "a", "b", "c"], ["x", "y", "y", "z"]).tolist()
        [0, 0, 0, 1]
    """
    n = len(keys[0])
    columns, width = [], 0
    for key in keys:
        values, inverse = np.unique(np.asarray(key), return_inverse=True)
        columns.append(n + width + inverse)
        width += len(values)
    edges = (np.tile(np.arange(n), len(keys)), np.concatenate(columns))
    graph = coo_array((np.ones(len(edges[0]), bool), edges), shape=(n + width, n + width))
    _, component = connected_components(graph, directed=False)
    return np.unique(component[:n], return_inverse=True)[1].astype(np.int64)


def split_groups(
    groups: NDArray[np.int64], strata: Sequence[str], shares: tuple[float, float, float], *, seed: int
) -> NDArray[np.int8]:
    """Deal whole groups to the parts, so that each stratum is shared out alike.

    Where groups are so large that a part would miss its share by more than a third, or stay empty, they are
    dealt by size instead, whatever their stratum.

    Args:
        groups: The group of each row, int [n].
        strata: The stratum of each row; a group belongs to that of its first row.
        shares: Wanted shares of rows for training, validation and test; they sum to 1.
        seed: Seed of the order in which groups are dealt.

    Returns:
        The :class:`~training.data.dataset.Part` of each row, int8 [n].
    """
    _, first, group_of, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(first))
    stratum = np.asarray(strata)[first]
    part = np.empty(len(first), np.int8)
    for name in np.unique(stratum):
        dealt: NDArray[Any] = order[stratum[order] == name]
        middle = np.cumsum(sizes[dealt]) - sizes[dealt] / 2
        part[dealt] = np.digitize(middle / sizes[dealt].sum(), np.cumsum(shares[:-1]))
    wanted = np.array(shares) * sizes.sum()
    found = np.bincount(part, sizes, minlength=len(Part))
    if (np.abs(found - wanted) > wanted * _FAR).any():
        part[order] = _by_size(sizes[order], wanted)
    return part[group_of]


def _by_size(sizes: NDArray[np.int64], wanted: NDArray[np.float64]) -> NDArray[np.int8]:
    """Deal groups, the largest first, each to the part that is then least full; of one size, in their order.

    The last groups go to parts that would have none.

    Example:
        >>> _by_size(np.array([1, 1, 8, 1]), np.array([8.8, 1.1, 1.1])).tolist()
        [1, 2, 0, 0]
    """
    part = np.empty(len(sizes), np.int8)
    found = np.zeros(len(wanted))
    for left, group in zip(range(len(sizes), 0, -1), np.argsort(-sizes, kind="stable"), strict=True):
        empty = (found == 0) & (wanted > 0)
        allowed = empty if left <= empty.sum() else wanted > 0
        full = np.divide(found + sizes[group], wanted, out=np.full(len(wanted), np.inf), where=allowed)
        part[group] = full.argmin()
        found[part[group]] += sizes[group]
    return part


def place_groups(
    groups: NDArray[np.int64],
    strata: Sequence[str],
    given: NDArray[np.int8],
    shares: tuple[float, float, float],
    *,
    seed: int,
) -> NDArray[np.int8]:
    """Put whole groups into the parts that some of their rows must be in, and deal the others.

    Args:
        groups: The group of each row, int [n].
        strata: The stratum of each row.
        given: The part that a row must be in, or -1, int8 [n].
        shares: Wanted shares of the groups that are dealt.
        seed: Seed of the order in which groups are dealt.

    Returns:
        The part of each row; torn groups stay torn (:func:`torn` finds them).
    """
    part = given.copy()
    fixed = np.full(groups.max(initial=-1) + 1, -1, np.int8)
    rows = np.flatnonzero(given >= 0)
    fixed[groups[rows]] = given[rows]
    part[part < 0] = fixed[groups[part < 0]]
    free = np.flatnonzero(part < 0)
    if len(free):
        part[free] = split_groups(groups[free], np.asarray(strata)[free].tolist(), shares, seed=seed)
    return part


def torn(groups: NDArray[np.int64], parts: NDArray[np.int8]) -> list[tuple[int, int]]:
    """Return, for each group that is in more than one part, two rows of it that are in different ones.

    Example:
        >>> torn(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 2], np.int8))
        [(2, 3)]
    """
    _, first, of = np.unique(groups, return_index=True, return_inverse=True)
    pairs: dict[int, tuple[int, int]] = {}
    for row in np.flatnonzero(parts != parts[first][of]):
        pairs.setdefault(int(of[row]), (int(first[of[row]]), int(row)))
    return list(pairs.values())


def some_groups(groups: NDArray[np.int64], share: float, *, seed: int) -> NDArray[np.bool_]:
    """Choose whole groups with about a share of the rows; a smaller share chooses a subset of a larger one's.

    Returns:
        Whether a row is chosen, bool [n]; at least one group is.
    """
    names, of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng([seed, 1]).permutation(len(names))
    begun = np.cumsum(sizes[order]) - sizes[order]
    chosen = np.zeros(len(names), bool)
    chosen[order[begun < share * len(groups)]] = True
    return chosen[of]
