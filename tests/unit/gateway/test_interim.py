"""Interim replies: what there is as members arrive, and when there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gateway.strategies.means import Mean
from protos.errors import Cause
from tests.clock import run
from tests.fakes import (
    Delivered,
    FakeMember,
    Turn,
    adds,
    compiled,
    drive,
    ensemble,
    fakes,
    late,
    lost,
    outcomes,
    riders,
    seats,
)

if TYPE_CHECKING:
    from gateway.strategies.base import Array, Mask, State, Strategy
    from gateway.values import Rider


def curious(*deadlines: float, rows: int = 1) -> list[Rider]:
    return [replace(rider, interim=True) for rider in riders(*deadlines, rows=rows)]


def told(
    members: dict[str, FakeMember],
    plan: dict[str, Any],
    x: list[float],
    *aboard: Rider,
    strategy: Strategy | None = None,
    wanted: tuple[str, ...] = (),
) -> list[Delivered]:
    return run(drive(members, compiled(members, plan, strategy=strategy), x, *aboard, wanted=wanted))


def moments(delivered: list[Delivered]) -> list[tuple[float, bool]]:
    return [(round(d.at, 6), d.reply.final) for d in delivered]


def test_each_arrival_is_shown_and_the_last_is_final() -> None:
    """Three members, three replies, each over those that are in; the report says who is pending."""
    members = fakes(a=late(0.1, 1.0), b=late(0.2, 3.0), c=late(0.3, 8.0))
    got = told(members, {"e": ensemble(*seats("a", "b", "c"), quorum=2)}, [0.0], *curious(5.0))
    assert moments(got) == [(0.1, False), (0.2, False), (0.3, True)]
    assert [d.y for d in got] == [[1.0], [2.0], [4.0]]
    assert [d.reply.report.quorum_met for d in got] == [False, True, True]
    assert outcomes(got[0]) == {"a": ("OK", ""), "b": ("PENDING", ""), "c": ("PENDING", "")}
    assert not got[0].reply.report.degraded
    assert [d.reply.report.elapsed_s for d in got] == pytest.approx([0.1, 0.2, 0.3])


def test_what_arrives_together_is_shown_once() -> None:
    """Two members at one moment are one reply."""
    members = fakes(a=late(0.1, 1.0), b=late(0.1, 3.0), c=late(0.3, 8.0))
    got = told(members, {"e": ensemble(*seats("a", "b", "c"))}, [0.0], *curious(5.0))
    assert moments(got) == [(0.1, False), (0.3, True)]


def test_a_failure_is_no_news() -> None:
    """Only an answer changes what there is to merge; the next reply tells of the failure."""
    members = fakes(a=late(0.1, 1.0), b=lost(Cause.WORKER_CRASHED, 0.2), c=late(0.3, 3.0), d=late(0.4, 5.0))
    got = told(members, {"e": ensemble(*seats("a", "b", "c", "d"), quorum=1)}, [0.0], *curious(5.0))
    assert moments(got) == [(0.1, False), (0.3, False), (0.4, True)]
    assert [d.reply.report.degraded for d in got] == [False, True, True]


def test_an_answer_for_some_of_the_rows_is_not_shown() -> None:
    """A reply has all rows of its rider, so somebody must have answered all of them."""
    members = fakes(
        a=Turn(says=adds(1.0, broken={20.0: np.nan}), after_s=0.1), b=late(0.2, 3.0), c=late(0.3, 5.0)
    )
    got = told(members, {"e": ensemble(*seats("a", "b", "c"), quorum=1)}, [10.0, 20.0], *curious(5.0, rows=2))
    assert moments(got) == [(0.2, False), (0.3, True)]
    assert got[0].y == [12.0, 23.0]


def test_the_final_failure_comes_after_what_was_shown() -> None:
    """An interim reply is no promise: when the quorum is missed, the last word is the error."""
    members = fakes(a=late(0.1, 1.0), b=lost(Cause.WORKER_CRASHED, 0.2))
    got = told(members, {"e": ensemble(*seats("a", "b"))}, [0.0], *curious(5.0))
    assert moments(got) == [(0.1, False), (0.2, True)]
    assert (got[0].reason, got[1].reason) == ("", "QUORUM_NOT_MET")
    assert not got[0].reply.report.quorum_met


def test_tasks_show_their_parts_as_they_come() -> None:
    """What is wanted and not there yet is absent, in the order asked."""
    members = fakes(a=late(0.3, 1.0), b=late(0.1, 2.0), c=late(0.2, 3.0))
    plan = {"e": ensemble(*seats("a", "b", "c"), kind="tasks")}
    got = told(members, plan, [0.0], *curious(5.0), wanted=("a.y", "c.y", "b.y"))
    assert [list(d.reply.outputs) for d in got] == [["b.y"], ["c.y", "b.y"], ["a.y", "c.y", "b.y"]]


def test_a_nested_ensemble_is_shown_when_it_is_whole() -> None:
    """Its members count inside it; outside it is one seat."""
    members = fakes(a=late(0.1, 1.0), b=late(0.2, 3.0), c=late(0.3, 4.0))
    plan = {"inner": ensemble(*seats("a", "b")), "e": ensemble({"ensemble": "inner"}, {"model": "c"})}
    got = told(members, plan, [0.0], *curious(5.0))
    assert moments(got) == [(0.2, False), (0.3, True)]
    assert got[0].y == [2.0]


def test_each_rider_is_shown_its_own_rows() -> None:
    """Riders of one batch get interim replies of their own, and only those who want them."""
    members = fakes(a=late(0.1, 1.0), b=late(0.2, 3.0))
    plain, watching = riders(5.0, 5.0)
    watching = replace(watching, interim=True)
    got = told(members, {"e": ensemble(*seats("a", "b"))}, [10.0, 20.0], plain, watching)
    assert moments(got) == [(0.1, False), (0.2, True)]
    assert got[0].reply.riders == (watching,)
    assert got[0].y == [21.0]
    assert got[1].of(plain) == [12.0]


def test_the_first_answer_is_the_last_where_it_settles() -> None:
    """Nothing comes before the final reply of `first`, and nothing after it."""
    members = fakes(a=late(0.1, 1.0), b=late(0.2, 2.0))
    got = told(members, {"e": ensemble(*seats("a", "b"), kind="first")}, [0.0], *curious(5.0))
    assert moments(got) == [(0.1, True)]


class FailsHalfway(Mean):
    """Cannot merge two of three."""

    def combine(self, state: State, rows: Mask) -> dict[str, Array]:
        if state.answered.sum() == 2:
            raise ValueError("secret")
        return super().combine(state, rows)


class SharesHalfway(Mean):
    """Cannot tell who has which part in two of three."""

    def shares(self, state: State, rows: Mask) -> Array:
        if state.answered.sum() == 2:
            raise ValueError("secret")
        return super().shares(state, rows)


@pytest.mark.parametrize("strategy", [FailsHalfway(), SharesHalfway()])
def test_a_strategy_that_fails_halfway_costs_one_interim_reply(
    strategy: Mean, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged with the request's id; the next arrival and the final reply come as ever."""
    members = fakes(a=late(0.1, 1.0), b=late(0.2, 3.0), c=late(0.3, 8.0))
    got = told(members, {"e": ensemble(*seats("a", "b", "c"))}, [0.0], *curious(5.0), strategy=strategy)
    assert moments(got) == [(0.1, False), (0.3, True)]
    assert got[-1].y == [4.0]
    (record,) = caplog.records
    assert getattr(record, "request_id", None) == "r0"
