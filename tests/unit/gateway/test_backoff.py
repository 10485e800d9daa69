"""Back-off: it grows, it is capped, and it forgives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policies.backoff import Backoff

POLICY = Backoff(first_s=0.1, most_s=10.0, healthy_s=30.0)


@given(st.integers(1, 10_000))
def test_delays_double_up_to_the_cap(failures: int) -> None:
    """Each failure in a row doubles the delay; none is longer than the longest, however many there were."""
    delay, longer = POLICY.delay_s(failures), POLICY.delay_s(failures + 1)
    assert POLICY.first_s <= delay <= longer <= POLICY.most_s
    assert longer == pytest.approx(min(2 * delay, POLICY.most_s))


def test_a_healthy_run_is_forgiven() -> None:
    """After a long enough run the count starts again at one; short runs add up."""
    assert POLICY.failures(0, ran_s=0.0) == 1
    assert POLICY.failures(7, ran_s=29.9) == 8
    assert POLICY.failures(7, ran_s=30.0) == 1
    assert POLICY.delay_s(POLICY.failures(7, ran_s=30.0)) == POLICY.first_s
