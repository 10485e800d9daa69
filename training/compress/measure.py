"""What a file costs: bytes, and CPU time for a row.

The time is that of this thread's CPU, the session's only one, so that neighbours on the machine disturb it
little; passes over the same rows are repeated, and the fastest counts, because what disturbs only ever adds.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from training.compress.running import answers, open_session
from training.compress.scores import drawn
from training.evaluate.findings import Cost

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["cost"]

Array = np.ndarray[Any, np.dtype[Any]]

_PASSES = 3
_ROWS = 64
#: Fast models need more rows to be told from the clock's steps.
_LEAST_S = 0.2


def cost(onnx: bytes, feed: Callable[[Array], Mapping[str, Array]], rows: Array) -> Cost:
    """Measure a file on one core.

    Args:
        onnx: The file's content.
        feed: Makes a batch of rows; its own time is not counted.
        rows: Real rows, of which some are drawn.
    """
    session, some = open_session(onnx), drawn(rows, _ROWS)

    def row_ms(size: int) -> float:
        batches = [feed(some[i : i + size]) for i in range(0, len(some), size)]
        for batch in batches[:2]:
            answers(session, batch)
        best = np.inf
        for _ in range(_PASSES):
            began, laps = time.thread_time(), 0
            while True:
                for batch in batches:
                    answers(session, batch)
                laps += 1
                spent_s = time.thread_time() - began
                if spent_s >= _LEAST_S:
                    break
            best = min(best, 1000 * spent_s / (laps * len(some)))
        return best

    return Cost(len(onnx), row_ms(1), row_ms(8))
