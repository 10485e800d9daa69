"""Whatever the lengths, sharing rows out among runs loses none and pads no more."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from workers.model.text.groups import MOST_RUNS, RUN_TOKENS, split

lengths_of_rows = st.lists(st.integers(0, 600), max_size=80)


def padded(lengths: list[int], runs: list[np.ndarray]) -> int:
    """Return how many tokens are computed, padding included."""
    return sum(len(rows) * max((lengths[i] for i in rows), default=0) for rows in runs)


@given(lengths_of_rows, st.integers(0, 100), st.integers(1, 10))
@example([], 32, 8)
@example([0, 0], 0, 8)
@example([5] * 9, 0, 8)
@example([1, 100_000], 32, 8)
def test_every_row_runs_once_and_padding_never_grows(lengths: list[int], run_tokens: int, most: int) -> None:
    """In runs that hold each at least one row, in order, and are not more than asked."""
    runs = split(lengths, run_tokens=run_tokens, most=most)
    assert sorted(np.concatenate(runs).tolist()) == list(range(len(lengths)))
    assert all((np.diff(rows) > 0).all() for rows in runs)
    assert len(runs) <= most
    assert len(runs) == 1 or all(len(rows) for rows in runs)
    whole = [np.arange(len(lengths))]
    assert padded(lengths, runs) <= padded(lengths, whole)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=9), st.integers(0, 40), st.integers(1, 4))
def test_no_other_way_to_cut_costs_less(lengths: list[int], run_tokens: int, most: int) -> None:
    """Held against all ways to cut the rows in order of length; lengths up to 64 are told apart exactly."""
    order = np.argsort(lengths, kind="stable")
    ways = (
        np.split(order, list(cuts))
        for count in range(most)
        for cuts in combinations(range(1, len(lengths)), count)
    )
    least = min(padded(lengths, way) + run_tokens * len(way) for way in ways)
    runs = split(lengths, run_tokens=run_tokens, most=most)
    assert padded(lengths, runs) + run_tokens * len(runs) == pytest.approx(least)


def test_rows_of_one_length_run_together() -> None:
    """Nothing is split that has nothing to gain."""
    assert len(split([30] * 64)) == 1
    assert len(split([30, 31] * 8, run_tokens=RUN_TOKENS)) == 1


def test_there_are_never_more_runs_than_the_bound() -> None:
    """Though every row has a length of its own, and runs are free."""
    assert len(split(list(range(1, 513)), run_tokens=0)) == MOST_RUNS
