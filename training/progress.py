"""How far something is, told while it goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Progress"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far something is.

    Args:
        phase: What is going on.
        done: Of it.
        total: Of it.
        eta_s: Seconds that it will still take; None while that is not known.
        losses: By task, in training.
    """

    phase: str
    done: int
    total: int
    eta_s: float | None
    losses: Mapping[str, float]
