"""Which values the inputs of a file's products take on real rows, and how much eight bits would spoil them.

Two passes over the rows, one for the extremes and one for histograms between them; so rows may have any
lengths, and memory is that of one batch. The range of a tensor is what is left when the same share is cut
off at both ends; its *noise* is the mean square error of rounding and cutting over the mean square of the
values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import helper

from training.compress.running import answers, open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Range", "calibrate"]

Array = np.ndarray[Any, np.dtype[Any]]

_BINS = 4096
_STEPS = 255


@dataclass(frozen=True, slots=True)
class Range:
    """What a tensor's values are cut to.

    Args:
        low: The least value; 0 at most.
        high: The largest value; 0 at least.
        noise: What eight bits would do to it, as a share of its power.
    """

    low: float
    high: float
    noise: float


def calibrate(
    model: Any,
    tensors: Sequence[str],
    feed: Callable[[Array], Mapping[str, Array]],
    rows: Array,
    *,
    percentile: float,
    size: int = 8,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Range]:
    """Return the range of each tensor.

    Args:
        model: The file as a message; it is left as it is.
        tensors: Names of fp32 tensors inside it.
        feed: Makes a batch of rows.
        rows: Real rows, not those of the test.
        percentile: Share of the values that ranges cover, in per cent.
        size: Rows of a batch.
        report: Told after each batch how many rows of how many are done, over both passes.
    """
    if not tensors:
        return {}
    shown = type(model)()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.extend(helper.make_tensor_value_info(name, 1, None) for name in tensors)
    session = open_session(shown.SerializeToString(), threads=0)
    batches = [rows[i : i + size] for i in range(0, len(rows), size)]
    ends = dict.fromkeys(tensors, (0.0, 0.0))
    for done, batch in enumerate(batches, 1):
        for name, array in answers(session, feed(batch)).items():
            low, high = ends[name]
            ends[name] = (min(low, float(array.min())), max(high, float(array.max())))
        report(min(done * size, len(rows)), 2 * len(rows))
    counts = {name: np.zeros(_BINS, np.int64) for name in tensors}
    for done, batch in enumerate(batches, 1):
        for name, array in answers(session, feed(batch)).items():
            counts[name] += _histogram(array, *ends[name])
        report(len(rows) + min(done * size, len(rows)), 2 * len(rows))
    return {name: _range(counts[name], *ends[name], percentile) for name in tensors}


def _histogram(array: Array, low: float, high: float) -> Array:
    if low == high:
        return np.zeros(_BINS, np.int64)
    places = ((array.ravel() - low) * (_BINS / (high - low))).astype(np.int64)
    return np.bincount(np.minimum(places, _BINS - 1), minlength=_BINS)


def _range(counts: Array, low: float, high: float, percentile: float) -> Range:
    total = int(counts.sum())
    if not total:
        return Range(low, high, 0.0)
    edges = np.linspace(low, high, _BINS + 1)
    cut = total * (100.0 - percentile) / 200.0
    below = np.cumsum(counts)
    # a bin is cut only if all of it may go
    first = int(np.searchsorted(below, cut, side="right"))
    last = int(np.searchsorted(below, total - cut, side="left"))
    least, most = min(0.0, edges[first]), max(0.0, edges[last + 1])
    middle = (edges[:-1] + edges[1:]) / 2
    power = float((counts * middle**2).sum())
    lost = float((counts * (middle - np.clip(middle, least, most)) ** 2).sum())
    rounding = total * ((most - least) / _STEPS) ** 2 / 12
    return Range(float(least), float(most), (lost + rounding) / power if power else 0.0)
