from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from accord.strategy import StrategyError, TensorSpec
from accord.testing import batch

if TYPE_CHECKING:
    from tests.unit.strategies.conftest import Merge, Prove, Seat


def test_outputs_stand_side_by_side(merge: Merge, prove: Prove, seat: Seat) -> None:
    """Each under its seat's name, with labels, datatype and shape untouched; seats need not be alike."""
    topic = TensorSpec("p", "FP32", (-1, 2), ("sport", "news"))
    assert prove("tasks", seat("topic", topic), seat("tone", TensorSpec("score", "INT8", (-1,)))) == (
        TensorSpec("topic.p", "FP32", (-1, 2), ("sport", "news")),
        TensorSpec("tone.score", "INT8", (-1,)),
    )
    merged = merge("tasks", batch({"p": [[0.5, 0.5]]}, {"score": [3]}))
    assert {name: array.tolist() for name, array in merged.items()} == {"m0.p": [[0.5, 0.5]], "m1.score": [3]}


def test_a_task_that_lacks_a_row_is_absent_from_that_result(merge: Merge) -> None:
    """A tensor has no holes; a result without the missing row has the task again."""
    state = batch({"y": [1, 2]}, {"y": [3, 4]}, missing=[(1, 0)])
    assert set(merge("tasks", state)) == {"m0.y"}
    second = merge("tasks", state, np.array([False, True]))
    assert {name: array.tolist() for name, array in second.items()} == {"m0.y": [2], "m1.y": [4]}


def test_no_member_is_no_ensemble(prove: Prove) -> None:
    """There must be something to put side by side."""
    with pytest.raises(StrategyError, match="no member"):
        prove("tasks")
