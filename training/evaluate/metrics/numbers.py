"""Metrics of numbers: how far off, and how well they move together.

Pearson's r from weighted moments: K. Pearson, "Notes on regression and inheritance in the case of two
parents" (1895).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.evaluate.metrics.figures import Figure, divided, mean_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["measured"]

#: A variance this much smaller than the mean square is what rounding leaves of none.
_FLAT = 1e-12


def measured(scores: NDArray[np.float64], truth: NDArray[np.float64]) -> dict[str, Figure]:
    """Return mean absolute error, root mean squared error and Pearson's r.

    Args:
        scores: A number per row, [n].
        truth: The true ones, [n].
    """
    off = scores - truth
    squared = mean_of(off**2)
    return {
        "mae": mean_of(np.abs(off)),
        "rmse": Figure(lambda weights: np.sqrt(squared.of(weights)), squared.undefined),
        "pearson": _pearson(scores, truth),
    }


def _pearson(scores: NDArray[np.float64], truth: NDArray[np.float64]) -> Figure:
    # far from zero, squares would swallow the differences
    x, y = (values - values.mean() if len(values) else values for values in (scores, truth))
    moments = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)

    def of(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        total, sums = (weights @ moments)[:, :1], (weights @ moments)[:, 1:]
        mean_x, mean_y, xx, yy, xy = divided(sums, np.broadcast_to(total, sums.shape)).T
        var_x, var_y = xx - mean_x**2, yy - mean_y**2
        spread = np.where((var_x > _FLAT * xx) & (var_y > _FLAT * yy), var_x * var_y, 0.0)
        return divided(xy - mean_x * mean_y, np.sqrt(spread))

    return Figure(of, "the scores or the true numbers are all the same")
