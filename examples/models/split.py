"""Training, validation and test rows without leaks between them."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Part", "connected", "split_groups"]


class Part(IntEnum):
    """What a row is for: fitting, choosing hyper-parameters, or the final measurement."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2


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

    Args:
        groups: The group of each row, int [n].
        strata: The stratum of each row; a group belongs to that of its first row.
        shares: Wanted shares of rows for training, validation and test; they sum to 1.
        seed: Seed of the order in which groups are dealt.

    Returns:
        The :class:`Part` of each row, int8 [n].
    """
    _, first, group_of, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(first))
    stratum = np.asarray(strata)[first]
    part = np.empty(len(first), np.int8)
    for name in np.unique(stratum):
        dealt: NDArray[Any] = order[stratum[order] == name]
        middle = np.cumsum(sizes[dealt]) - sizes[dealt] / 2
        part[dealt] = np.digitize(middle / sizes[dealt].sum(), np.cumsum(shares[:-1]))
    return part[group_of]
