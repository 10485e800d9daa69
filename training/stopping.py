"""Early stopping: whether validation still gets better. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Set

    from training.config import EarlyStopping

__all__ = ["Standing", "whole_loss"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How validation stands.

    Args:
        best: The least loss yet.
        worse: Looks since then.
        ended: Whether they are enough.
    """

    best: float = math.inf
    worse: int = 0
    ended: bool = False

    def after(self, loss: float, wanted: EarlyStopping) -> Standing:
        """Return how it stands after another look; it was the best if ``worse`` is 0.

        Example:
            >>> from training.config import EarlyStopping
            >>> once = Standing().after(0.5, EarlyStopping(patience=1))
            >>> once, once.after(0.6, EarlyStopping(patience=1)).ended
            (Standing(best=0.5, worse=0, ended=False), True)
        """
        if loss < self.best - wanted.least:
            return Standing(best=loss)
        return Standing(self.best, self.worse + 1, self.worse + 1 >= wanted.patience)


def whole_loss(losses: Mapping[str, float], alphas: Mapping[str, float], labelled: Set[str]) -> float:
    """Return the loss that is judged: the weighted sum over the tasks that validation has labels of.

    Example:
        >>> losses, alphas = {"a": 1.0, "b": float("nan")}, {"a": 2.0, "b": 1.0}
        >>> whole_loss(losses, alphas, {"a"}), whole_loss(losses, alphas, {"a", "b"})
        (2.0, inf)
    """
    whole = sum(alphas[task] * loss for task, loss in losses.items() if task in labelled)
    # what diverged is worse than anything
    return whole if math.isfinite(whole) else math.inf
