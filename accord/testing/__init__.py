"""The laws of strategies, for those who write one.

Example:
    >>> from gateway.strategies.means import Mean
    >>> check_strategy(Mean)
    >>> "symmetric" in shown_laws(Mean)
    True
"""

from __future__ import annotations

from accord.testing.cases import batch
from accord.testing.laws import LawBroken, check_law, check_strategy, shown_laws

__all__ = ["LawBroken", "batch", "check_law", "check_strategy", "shown_laws"]
