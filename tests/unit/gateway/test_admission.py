"""Admission: who gets in, until when, and that every place is given back."""

from __future__ import annotations

import pytest

from gateway.edge.admission import Admission, deadline
from gateway.values import Rider, reserve_s
from protos.errors import AccordError, Reason


def admission(places: int = 2) -> Admission:
    return Admission(max_in_flight=places, max_request_bytes=1000, max_bytes_in_flight=1500)


def reason_of(gate: Admission, now: float = 0.0, until: float = 1.0) -> Reason:
    with pytest.raises(AccordError) as caught, gate.admit(now, until):
        pass
    return caught.value.reason


@pytest.mark.parametrize(
    ("rpc_deadline", "timeout_s", "expected"),
    [
        (None, None, 130.0),
        (None, 2.0, 102.0),
        (None, 99.0, 130.0),
        (105.0, None, 105.0),
        (105.0, 2.0, 102.0),
        (101.0, 2.0, 101.0),
        (500.0, None, 130.0),
        (99.0, 2.0, 99.0),
    ],
)
def test_the_deadline_is_the_earliest_of_all(
    rpc_deadline: float | None, timeout_s: float | None, expected: float
) -> None:
    """The cap is also the default; whoever names a shorter time gets it."""
    assert deadline(100.0, cap_s=30.0, rpc_deadline=rpc_deadline, timeout_s=timeout_s) == expected


@pytest.mark.parametrize(
    ("budget_s", "kept_s"),
    [(0.001, 0.002), (0.04, 0.002), (0.1, 0.005), (0.5, 0.025), (1.0, 0.05), (30.0, 0.05)],
)
def test_the_reserve_is_a_twentieth_within_its_bounds(budget_s: float, kept_s: float) -> None:
    """5 % of the budget, at least 2 ms and at most 50 ms, taken off once."""
    assert reserve_s(budget_s) == pytest.approx(kept_s)
    rider = Rider("r", slice(0, 1), arrived=7.0, deadline=7.0 + budget_s)
    assert rider.closes_at == pytest.approx(7.0 + budget_s - kept_s)


def test_places_are_counted_and_given_back() -> None:
    """As many as there are places get in; who leaves makes room, however it went."""
    gate = admission()
    with gate.admit(0.0, 1.0), gate.admit(0.0, 1.0):
        assert gate.in_flight == 2
        assert reason_of(gate) is Reason.OVERLOADED
    assert gate.in_flight == 0
    with pytest.raises(KeyError), gate.admit(0.0, 1.0):
        raise KeyError
    assert gate.in_flight == 0


def test_a_refused_call_takes_no_place() -> None:
    """Refusals do not fill the server."""
    gate = admission()
    for _ in range(10):
        assert reason_of(gate, now=2.0, until=1.0) is Reason.DEADLINE_AT_ADMISSION
    gate.draining = True
    assert reason_of(gate) is Reason.SHUTTING_DOWN
    assert gate.in_flight == 0


def test_a_call_without_time_to_work_is_refused() -> None:
    """Not a moment left is too little; any later end is enough."""
    assert reason_of(admission(), now=1.0, until=1.0) is Reason.DEADLINE_AT_ADMISSION
    with admission().admit(1.0, 1.0 + 1e-6):
        pass


def test_draining_is_told_before_anything_else() -> None:
    """A client should go elsewhere, not wait for a place or complain of its deadline."""
    gate = admission(places=0)
    assert reason_of(gate, now=2.0, until=1.0) is Reason.OVERLOADED
    gate.draining = True
    assert reason_of(gate, now=2.0, until=1.0) is Reason.SHUTTING_DOWN


def test_size_is_refused_from_the_first_byte_too_many() -> None:
    """The limit itself is still accepted."""
    gate = admission()
    with gate.receive(1000):
        pass
    with pytest.raises(AccordError) as caught, gate.receive(1001):
        pass
    assert caught.value.reason is Reason.REQUEST_TOO_LARGE
    assert "1001" in caught.value.message
    assert "1000" in caught.value.message


def test_messages_held_at_once_are_bounded_together() -> None:
    """What does not fit beside the others is shed; alone, every message of a permitted size fits."""
    gate = admission()
    with gate.receive(900):
        with pytest.raises(AccordError) as caught, gate.receive(601):
            pass
        assert caught.value.reason is Reason.OVERLOADED
        with gate.receive(600):
            pass
    small = Admission(max_in_flight=1, max_request_bytes=1000, max_bytes_in_flight=10)
    with small.receive(1000):
        pass
    with small.receive(1000):
        pass
