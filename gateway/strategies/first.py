"""The first answer wins: ask all, take what comes first, and let the others go."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gateway.strategies.base import Array, Ask, Exits, Mask, State, Traits
from gateway.strategies.elementwise import Elementwise
from gateway.strategies.kernels import fold
from gateway.strategies.proof import ALL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["First"]


class First(Elementwise):
    """The answer that came first; of several that are in by then, that of the first seat in config order.

    Source: replicated requests, Dean and Barroso, "The tail at scale" (CACM 2013).
    """

    kind: ClassVar[str] = "first"
    traits: ClassVar[Traits] = Traits(symmetric=False, arrival_dependent=True)
    datatypes: ClassVar[tuple[str, ...]] = ALL

    def plan(self, state: State) -> tuple[Ask, ...]:
        """Ask every eligible seat for the rows that it was not asked yet and that nobody answered."""
        waiting = ~state.asked & state.eligible[:, None] & ~state.answered.any(axis=0)
        return tuple(Ask(i, rows) for i, rows in enumerate(waiting) if rows.any())

    def settled(self, state: State) -> Exits:
        """Return the rows that somebody answered, or that nobody will."""
        return Exits(state.answered.any(axis=0) | super().settled(state).done)

    def used(self, state: State, rows: Mask) -> NDArray[np.float64]:
        """Count one seat for each row: the first that answered."""
        answered = state.answered[:, rows]
        earliest: NDArray[np.bool_] = answered & (np.cumsum(answered, axis=0) == 1)
        return earliest.astype(np.float64)

    def merge(self, values: Sequence[Array], weights: NDArray[np.float64]) -> Array:
        """Return for each row the one answer that counts."""
        return fold(lambda kept, _: kept, values, weights)
