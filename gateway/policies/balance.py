"""Which replica gets the next call: the one with the fewest calls in flight."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["least_loaded"]


def least_loaded(in_flight: Sequence[int], ready: Sequence[bool], turn: int) -> int | None:
    """Pick a replica.

    Args:
        in_flight: Calls under way at each replica.
        ready: Whether each replica may be asked.
        turn: A counter that rises with every call, so that equals take turns.

    Returns:
        The replica's index, or None if none is ready.

    Example:
        >>> least_loaded([2, 1, 1], [True, True, True], turn=0)
        1
        >>> least_loaded([0, 5], [False, True], turn=0)
        1
    """
    candidates = [i for i, up in enumerate(ready) if up]
    if not candidates:
        return None
    fewest = min(in_flight[i] for i in candidates)
    equals = [i for i in candidates if in_flight[i] == fewest]
    return equals[turn % len(equals)]
