"""Balancing: the least loaded replica that is ready, and turns among equals."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gateway.policies.balance import least_loaded

REPLICAS = st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=6)


@given(REPLICAS, st.integers(0, 1000))
def test_the_pick_is_ready_and_has_the_least_to_do(replicas: list[tuple[int, bool]], turn: int) -> None:
    """If anyone is ready, someone is picked; never one that is not, never a busier one."""
    loads, ready = [load for load, _ in replicas], [up for _, up in replicas]
    picked = least_loaded(loads, ready, turn)
    if not any(ready):
        assert picked is None
        return
    assert picked is not None
    assert ready[picked]
    assert loads[picked] == min(load for load, up in replicas if up)


@given(st.integers(1, 6), st.integers(0, 1000))
def test_equals_take_turns(replicas: int, start: int) -> None:
    """Over as many turns as there are idle replicas, each is picked once."""
    picks = Counter(least_loaded([0] * replicas, [True] * replicas, start + i) for i in range(replicas))
    assert picks == dict.fromkeys(range(replicas), 1)
