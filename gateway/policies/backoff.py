"""How long to wait before something is started again."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Backoff"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Exponential back-off that forgives after a healthy run.

    Args:
        first_s: Delay after the first failure.
        most_s: Longest delay.
        healthy_s: A run at least this long counts as healthy: the next delay is the first again.

    Example:
        >>> policy = Backoff(first_s=0.1, most_s=10.0, healthy_s=30.0)
        >>> [policy.delay_s(failures) for failures in (1, 2, 3, 20)]
        [0.1, 0.2, 0.4, 10.0]
    """

    first_s: float = 0.1
    most_s: float = 10.0
    healthy_s: float = 30.0

    def failures(self, before: int, ran_s: float) -> int:
        """Return the number of failures in a row, after one more run of the given length."""
        return 1 if ran_s >= self.healthy_s else before + 1

    def delay_s(self, failures: int) -> float:
        """Return the delay after the given number of failures in a row."""
        return min(self.most_s, self.first_s * 2.0 ** min(failures - 1, 32))
