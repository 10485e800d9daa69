from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from accord.testing import batch
from gateway.strategies.first import First

if TYPE_CHECKING:
    from tests.unit.strategies.conftest import Merge


def test_each_row_takes_the_first_seat_that_is_in(merge: Merge) -> None:
    """In seat order, row by row, in any datatype."""
    state = batch(
        {"y": [1, 1, 1], "w": [b"a", b"a", b"a"]},
        {"y": [2, 2, 2], "w": [b"b", b"b", b"b"]},
        {"y": [3, 3, 3], "w": [b"c", b"c", b"c"]},
        missing=[(0, 1), (0, 2), (1, 2)],
    )
    merged = merge("first", state)
    assert merged["y"].tolist() == [1, 2, 3]
    assert merged["w"].tolist() == [b"a", b"b", b"c"]
    shares = First().shares(state, np.array([True, True, True]))
    assert shares.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_one_answer_settles_a_row_and_so_do_all_failures() -> None:
    """Row 0: answered by one; row 1: one failed, one still out; row 2: both failed."""
    state = batch({"y": [1, 1, 1]}, {"y": [2, 2, 2]})
    answered = np.array([[True, False, False], [False, False, False]])
    failed = np.array([[False, True, True], [False, False, True]])
    assert First().settled(replace(state, answered=answered, failed=failed)).done.tolist() == [
        True,
        False,
        True,
    ]


def test_nobody_is_asked_for_what_is_answered() -> None:
    """A seat that becomes eligible late is asked only for rows that are still open."""
    state = batch({"y": [1, 1]}, {"y": [2, 2]})
    asked = np.array([[True, True], [False, False]])
    answered = np.array([[True, False], [False, False]])
    (ask,) = First().plan(replace(state, asked=asked, answered=answered, failed=~answered & asked))
    assert (ask.seat, ask.rows.tolist()) == (1, [False, True])
