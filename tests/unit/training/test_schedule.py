"""The learning rate's course."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.schedule import DECAYS, factor


@given(st.integers(1, 500), st.floats(0, 0.99), st.sampled_from(sorted(DECAYS)))
def test_it_rises_to_one_and_never_above_and_falls_from_then_on(
    steps: int, warmup: float, decay: str
) -> None:
    course = [factor(step, steps, warmup=warmup, decay=decay) for step in range(steps)]
    warm = round(warmup * steps)
    assert all(0 <= value <= 1 for value in course)
    assert course[:warm] == sorted(course[:warm])
    assert course[warm:] == sorted(course[warm:], reverse=True)
    if warm:
        assert course[0] > 0
        assert course[warm - 1] == 1
    elif steps:
        assert course[0] == 1


@pytest.mark.parametrize(("decay", "middle"), [("linear", 0.5), ("cosine", 0.5), ("constant", 1.0)])
def test_halfway_after_warm_up_it_is_what_its_name_says(decay: str, middle: float) -> None:
    assert factor(60, 100, warmup=0.2, decay=decay) == pytest.approx(middle)


def test_steps_beyond_the_last_one_have_the_last_factor() -> None:
    """Where lists are packed into steps, their number is known only roughly."""
    assert factor(130, 100, warmup=0.1, decay="linear") == 0
