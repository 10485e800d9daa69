"""An ensemble beside its members on the same held-out rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from training.evaluate.compare import Interval, bootstrap, paired_bootstrap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["Comparison", "compare_accuracy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Accuracies as served.

    Args:
        ensemble: The ensemble's name.
        how: How it merges, in words.
        rows: Held-out rows.
        merged: Its accuracy.
        members: Each member's accuracy.
        best: The member with the highest accuracy on these very rows. Choosing it by the rows it is
            measured on flatters it, so the comparison leans against the ensemble.
        gain: The ensemble's accuracy minus that of the best member, on the same draws.
    """

    ensemble: str
    how: str
    rows: int
    merged: Interval
    members: Mapping[str, Interval]
    best: str
    gain: Interval

    @property
    def claim(self) -> str:
        """What may be said: a difference is claimed only where its interval excludes zero."""
        gain, low, high = (100 * x for x in (self.gain.estimate, self.gain.low, self.gain.high))
        points = f"{gain:+.1f} points, 95 % interval {low:+.1f} to {high:+.1f}"
        if not self.gain.excludes_zero:
            return f"{self.ensemble} and its best member {self.best} cannot be told apart ({points})"
        word = "better" if self.gain.estimate > 0 else "worse"
        return f"{self.ensemble} is {word} than its best member {self.best} ({points})"


def compare_accuracy(
    ensemble: str,
    merged: NDArray[Any],
    members: Mapping[str, NDArray[Any]],
    truth: NDArray[Any],
    groups: NDArray[Any] | None = None,
    *,
    how: str = "soft vote",
) -> Comparison:
    """Compare an ensemble's labels with its members'.

    Args:
        ensemble: Its name.
        merged: Its labels, [n].
        members: Each member's labels, [n].
        truth: The true labels, [n].
        groups: The group of each row; whole groups are drawn.
        how: How the ensemble merges, in words.
    """
    right = {name: labels == truth for name, labels in members.items()}
    best = max(right, key=lambda name: right[name].mean())
    return Comparison(
        ensemble=ensemble,
        how=how,
        rows=len(truth),
        merged=bootstrap(merged == truth, groups),
        members={name: bootstrap(hits, groups) for name, hits in right.items()},
        best=best,
        gain=paired_bootstrap(merged == truth, right[best], groups),
    )
