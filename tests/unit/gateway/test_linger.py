"""When batches leave, in virtual time: what lingering costs, and what it brings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.simulation import Alone, Fixed, Machine, bursts, poisson, simulate, steady, unlimited
from gateway.policies.linger import Linger, Places

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.simulation import Ridden

CAP_S = 0.005
BUSY = Machine(batch_s=0.001, request_s=0.00005)
INLINE = Machine(batch_s=0.0003, request_s=0.00003, inline=True, read_s=0.0001)
REMOTE = Machine(batch_s=0.05, request_s=0.0, side_by_side=True)


def waits(ridden: Sequence[Ridden]) -> list[float]:
    return [each.left - each.arrived for each in ridden]


def rate(ridden: Sequence[Ridden]) -> float:
    return len(ridden) / (max(r.answered for r in ridden) - min(r.arrived for r in ridden))


def riders(ridden: Sequence[Ridden]) -> float:
    return float(np.mean([each.riders for each in ridden]))


@pytest.mark.parametrize("machine", [BUSY, REMOTE])
def test_who_is_alone_does_not_wait(machine: Machine) -> None:
    """But for one request in 64, which looks behind for a moment; a fixed delay makes every one wait."""
    one = simulate(Linger(cap_s=CAP_S), machine, [0.0], clients=1, until_s=4.0)
    apart = simulate(Linger(cap_s=CAP_S), machine, steady(10.0, 4.0))
    waited = [wait for wait in waits([*one, *apart]) if wait]
    assert len(waited) <= (len(one) + len(apart)) / 64
    assert max(waited, default=0.0) <= 0.001 + 1e-9
    assert min(waits(simulate(Fixed(cap_s=CAP_S), machine, steady(10.0, 2.0)))) == pytest.approx(CAP_S)


def test_a_crowd_that_has_gone_is_forgotten() -> None:
    """After sixty-four clients have left, one that stays behind soon waits for nobody."""
    linger = Linger(cap_s=CAP_S)
    simulate(linger, BUSY, [0.0] * 64, clients=64, until_s=0.5)
    assert linger.crowd > 32
    alone = simulate(linger, BUSY, [1.0], clients=1, until_s=2.0)
    assert sum(wait > 0 for wait in waits(alone[-640:])) <= 10


def test_a_process_that_reads_and_computes_by_turns_reads_first() -> None:
    """It sees one request at a time whatever stands before its door; who looks behind finds the others."""
    crowd = simulate(Linger(cap_s=CAP_S), INLINE, [0.0] * 64, clients=64, until_s=2.0)
    alone = simulate(Alone(cap_s=0.0), INLINE, [0.0] * 64, clients=64, until_s=2.0, places=unlimited())
    assert rate(crowd) > 3 * rate(alone)
    assert riders(crowd) > 40


def test_clients_that_ask_again_share_batches() -> None:
    """Sixty-four of them are answered ten times as fast as one by one, in batches of half of them."""
    crowd = simulate(Linger(cap_s=CAP_S), BUSY, [0.0] * 64, clients=64, until_s=2.0)
    alone = simulate(Alone(cap_s=0.0), BUSY, [0.0] * 64, clients=64, until_s=2.0, places=unlimited())
    assert rate(crowd) > 10 * rate(alone)
    assert riders(crowd) >= 30


def test_bursts_ride_in_few_batches() -> None:
    """The first of a burst may go ahead; the others share."""
    ridden = simulate(Linger(cap_s=CAP_S), BUSY, bursts(50, 0.1, 3.0))
    assert riders(ridden) > 20
    assert max(each.answered - each.arrived for each in ridden) < 0.01


def test_requests_that_come_steadily_lose_little() -> None:
    """At four fifths of what the machine could do one by one: it is less than a batch takes."""
    ridden = simulate(Linger(cap_s=CAP_S), BUSY, poisson(800.0, 3.0))
    alone = simulate(Alone(cap_s=0.0), BUSY, poisson(800.0, 3.0), places=unlimited())
    assert np.mean(waits(ridden)) < BUSY.batch_s
    assert np.mean([r.answered - r.arrived for r in ridden]) < np.mean(
        [r.answered - r.arrived for r in alone]
    )


def test_members_that_work_side_by_side_get_more_batches_at_once() -> None:
    """So that a request does not wait for others to come back from far away."""
    places = Places(most=16)
    simulate(Linger(cap_s=CAP_S), REMOTE, poisson(5000.0, 4.0), places=places)
    assert places.number >= 8


def test_a_busy_machine_keeps_up_by_larger_batches() -> None:
    """Twelve times what it could do one by one, and nobody waits long."""
    ridden = simulate(Linger(cap_s=CAP_S), BUSY, poisson(12_000.0, 4.0))
    assert rate(ridden) > 11_500
    assert np.quantile([r.answered - r.arrived for r in ridden], 0.99) < 0.05


def test_without_more_places_requests_wait_for_them() -> None:
    """The control: two batches at once, whatever the members could do."""
    few = simulate(Linger(cap_s=CAP_S), REMOTE, poisson(800.0, 4.0), places=Places(most=2))
    more = simulate(Linger(cap_s=CAP_S), REMOTE, poisson(800.0, 4.0), places=Places(most=16))
    assert np.mean(waits(few[-800:])) > 4 * np.mean(waits(more[-800:]))


@given(
    cap_s=st.floats(0, 0.1),
    crowd=st.integers(1, 500),
    took_s=st.floats(0, 1),
    waiting=st.integers(1, 500),
    places=st.integers(1, 16),
    soonest=st.floats(100.0, 200.0),
)
def test_nobody_waits_for_company_too_long(  # noqa: PLR0917 - hypothesis names them
    cap_s: float, crowd: int, took_s: float, waiting: int, places: int, soonest: float
) -> None:
    """Beyond the cap or the first deadline, or half of what a batch takes; a full share goes on a pause."""
    linger = Linger(cap_s=cap_s)
    linger.arrived(100.0, present=crowd)
    linger.ended(took_s)
    at = linger.leaves_at(waiting=waiting, oldest=100.0, soonest=soonest, places=places)
    assert at <= 100.0 + min(cap_s, took_s / 2)
    assert at <= soonest - took_s
    if waiting >= crowd / places:
        assert at <= 100.001


@given(st.lists(st.tuples(st.floats(0.001, 1), st.integers(1, 64), st.booleans()), max_size=300))
def test_places_stay_within_their_bounds(ended: list[tuple[float, int, bool]]) -> None:
    """Whatever batches take and whoever waits, at least one place and never more than the most."""
    places, now = Places(most=5), 0.0
    for took_s, count, wanted in ended:
        now += took_s
        places.ended(now, riders=count, took_s=took_s, wanted=wanted)
        assert 1 <= places.number <= 5
