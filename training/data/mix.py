"""The order in which training sees its rows: a function of seed and step, so that a run resumes anywhere.

A *unit* is what is drawn together: a row, or a list of rows to be ranked against each other. An epoch draws
as many units as there are. Each domain has its quota of them, in proportion to its size to the power 1 /
temperature; a domain that gets more than its size repeats units, one that gets less leaves some for the next
epoch. Within a domain, units go round in shuffled rounds that epochs continue: at any time all of them were
drawn equally often, give or take one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.data.dataset import Kind, Part

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from training.data.dataset import Dataset

__all__ = ["Order", "order"]


class Order:
    """Which rows each step has.

    Args:
        units: Rows that are drawn together.
        domains: The domain of each unit.
        batch: Rows of a step; of units of several rows, as many as have about so many rows.
        temperature: 1 draws domains by size; a larger one more evenly.
        seed: Seed of the order.

    Example:
        >>> rows = [np.array([i]) for i in range(5)]
        >>> [step.tolist() for step in Order(rows, np.zeros(5, int), batch=2).steps(1)]
        [[4, 1], [3, 2], [0]]
    """

    def __init__(
        self,
        units: Sequence[NDArray[np.int64]],
        domains: NDArray[np.int64],
        *,
        batch: int,
        temperature: float = 1.0,
        seed: int = 0,
    ) -> None:
        if not units:
            raise ValueError("there is nothing to draw from")
        rows = sum(map(len, units))
        self._units = units
        self._seed = seed
        self._each = max(1, round(batch * len(units) / rows))
        self._pools = [np.flatnonzero(domains == domain) for domain in np.unique(domains)]
        self._quotas = _shared_out(len(units), np.array([len(p) for p in self._pools]) ** (1 / temperature))
        self._epoch: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))
        #: Steps of an epoch; the last one may be smaller.
        self.per_epoch = -(-len(units) // self._each)

    def at(self, step: int) -> NDArray[np.int64]:
        """Return the rows of a step, counted from 0 over all epochs."""
        epoch, within = divmod(step, self.per_epoch)
        if self._epoch[0] != epoch:
            self._epoch = epoch, self._drawn(epoch)
        drawn = self._epoch[1][within * self._each : (within + 1) * self._each]
        return np.concatenate([self._units[unit] for unit in drawn])

    def steps(self, epochs: int, start: int = 0) -> Iterator[NDArray[np.int64]]:
        """Yield the rows of each step up to the end of an epoch, beginning anywhere."""
        return (self.at(step) for step in range(start, epochs * self.per_epoch))

    def _drawn(self, epoch: int) -> NDArray[np.int64]:
        drawn = [
            self._stream(domain, epoch * quota, (epoch + 1) * quota)
            for domain, quota in enumerate(self._quotas.tolist())
        ]
        mixed: NDArray[np.int64] = np.concatenate(drawn)
        np.random.default_rng([self._seed, epoch]).shuffle(mixed)
        return mixed

    def _stream(self, domain: int, begin: int, end: int) -> NDArray[np.int64]:
        """Return a piece of a domain's endless sequence of shuffled rounds."""
        pool = self._pools[domain]
        n = len(pool)
        rounds = [
            np.random.default_rng([self._seed, domain, turn, 1]).permutation(pool)
            for turn in range(begin // n, -(-end // n))
        ]
        return np.concatenate([np.empty(0, np.int64), *rounds])[begin % n : begin % n + end - begin]


def order(
    dataset: Dataset,
    *,
    batch: int,
    temperature: float = 1.0,
    seed: int = 0,
) -> Order:
    """Return the order of the training rows that have a label for a task.

    Args:
        dataset: The rows.
        batch: Rows of a step.
        temperature: How evenly domains are drawn.
        seed: Seed of the order.
    """
    labels = list(dataset.labels.values())
    useful = np.logical_or.reduce([each.known for each in labels])
    rows = dataset.rows(Part.TRAIN)
    rows = rows[useful[rows]]
    lists = next((each.queries for each in labels if each.kind is Kind.RANK), None)
    units: list[NDArray[np.int64]] = []
    if lists is None:
        units = list(rows[:, None])
    else:
        units = list(rows[lists[rows] < 0][:, None])
        listed = rows[lists[rows] >= 0]
        listed = listed[np.argsort(lists[listed], kind="stable")]
        units += np.split(listed, np.flatnonzero(np.diff(lists[listed])) + 1) if len(listed) else []
    domains = dataset.domains[[unit[0] for unit in units]]
    return Order(units, domains, batch=batch, temperature=temperature, seed=seed)


def _shared_out(total: int, weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """Share a whole number out in proportion, the largest remainders rounded up.

    Example:
        >>> _shared_out(10, np.array([1.0, 1.0, 1.0])).tolist()
        [4, 3, 3]
    """
    wanted = total * weights / weights.sum()
    shares: NDArray[np.int64] = np.floor(wanted).astype(np.int64)
    upwards = np.argsort(shares - wanted, kind="stable")[: total - int(shares.sum())]
    shares[upwards] += 1
    return shares
