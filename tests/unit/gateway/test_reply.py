"""Replies: each rider gets its own rows, or its own error, and a report of how that came about."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gateway.strategies.means import Mean
from gateway.values import Answer, Failure, Rider
from protos.errors import Cause, Outcome
from protos.tensor import TensorSpec
from tests.clock import VirtualLoop, run
from tests.fakes import (
    FakeMember,
    Turn,
    adds,
    answers,
    compiled,
    drive,
    ensemble,
    fails,
    fakes,
    late,
    lost,
    one,
    one_of,
    outcomes,
    riders,
    seats,
    spec,
)

if TYPE_CHECKING:
    from gateway.strategies.base import Array, Mask, State
    from gateway.values import Question

# --- riders --------------------------------------------------------------------------------------------


def test_a_rider_with_a_short_deadline_gets_what_is_there_while_the_other_waits_on() -> None:
    """Each rider is answered by its own time with its own rows."""
    members = fakes(a=late(0.1, 1.0), b=late(0.7, 3.0))
    short, long = riders(0.5, 5.0)
    plan = compiled(members, {"e": ensemble(*seats("a", "b"), quorum=1)})
    early, late_one = run(drive(members, plan, [10.0, 20.0], short, long))
    assert early.reply.riders == (short,)
    assert early.at == pytest.approx(0.475)
    assert early.y == [11.0]
    assert outcomes(early)["b"] == ("FAILED", "MEMBER_TIMEOUT")
    assert late_one.reply.riders == (long,)
    assert late_one.at == pytest.approx(0.7)
    assert late_one.y == [22.0]
    assert not late_one.reply.report.degraded


def test_a_rider_whose_deadline_misses_the_quorum_gets_an_error_and_the_other_an_answer() -> None:
    """Too few for one, enough for the other: both are told the truth about their own rows."""
    members = fakes(a=late(0.1, 1.0), b=late(0.7, 3.0))
    short, long = riders(0.5, 5.0)
    plan = compiled(members, {"e": ensemble(*seats("a", "b"))})
    early, late_one = run(drive(members, plan, [10.0, 20.0], short, long))
    assert early.reason == "DEADLINE_IN_MEMBER"
    assert early.at == pytest.approx(0.475)
    assert early.reply.error is not None
    assert early.reply.error.metadata["quorum"] == "1/2"
    assert late_one.y == [22.0]


def test_riders_that_fare_alike_share_one_reply_in_the_order_of_their_rows() -> None:
    """However the riders are listed, rows and riders of a reply go together."""
    members = fakes(a=late(0.1, 0.5))
    one_, two, three = (
        Rider("one", slice(3, 4), 0.0, 5.0),
        Rider("two", slice(0, 2), 0.0, 5.0),
        Rider("three", slice(2, 3), 0.0, 5.0),
    )
    plan = compiled(members, {"e": ensemble(*seats("a"))})
    (got,) = run(drive(members, plan, [0.0, 1.0, 2.0, 3.0], one_, two, three))
    assert got.of(one_) == [3.5]
    assert got.of(two) == [0.5, 1.5]
    assert got.of(three) == [2.5]


def test_one_row_without_quorum_fails_only_its_rider() -> None:
    """NaN in one row of a needed member costs that rider its answer, and nobody else's."""
    members = fakes(a=Turn(says=adds(1.0, broken={20.0: np.nan})), b=late(0.1, 3.0))
    good, bad, other = riders(5.0, 5.0, 5.0)
    plan = compiled(members, {"e": ensemble(*seats("a", "b"))})
    got = {d.reply.riders: d for d in run(drive(members, plan, [10.0, 20.0, 30.0], good, bad, other))}
    assert got[good, other].y == [12.0, 32.0]
    assert not got[good, other].reply.report.degraded
    assert got[bad,].reason == "NONFINITE_OUTPUT"


def picky(after_s: float = 0.1) -> FakeMember:
    """Refuse a call with any negative input."""

    def says(question: Question) -> Answer | Failure:
        refuses = (question.inputs["x"].array() < 0).any()
        return Failure(Cause.MEMBER_REJECTED_INPUT) if refuses else adds(1.0)(question)

    return FakeMember(spec("p"), Turn(says=says, after_s=after_s))


def test_a_rejected_input_is_told_to_the_rider_who_sent_it_alone() -> None:
    """The call is made again rider by rider: the guilty one is refused, the others are answered."""
    members = {"p": picky()} | fakes(b=late(0.05, 3.0))
    good, bad, fine = riders(5.0, 5.0, 5.0, rows=2)
    plan = compiled(members, {"e": ensemble(*seats("p", "b"))})
    x = [1.0, 2.0, 3.0, -4.0, 5.0, 6.0]
    delivered = run(drive(members, plan, x, good, bad, fine))
    got = {rider: d for d in delivered for rider in d.reply.riders}
    assert got[good].of(good) == [3.0, 4.0]
    assert got[fine].of(fine) == [7.0, 8.0]
    assert got[bad].reason == "INPUT_REJECTED"
    assert [asked.rows for asked in members["p"].asked] == [x, x[:2], x[2:4], x[4:]]
    assert {d.reply.report.seats[0].attempts for d in delivered} == {2}
    assert all(d.at == pytest.approx(0.2) for d in delivered)


def test_a_rider_alone_is_not_asked_for_twice() -> None:
    """There is nobody to tell apart."""
    members = {"p": picky()}
    assert one(members, {"e": ensemble(*seats("p"))}, [-1.0, 1.0]).reason == "INPUT_REJECTED"
    assert len(members["p"].asked) == 1


def test_a_rider_is_not_blamed_for_one_who_has_gone() -> None:
    """The guilty one left while its input was still in the call: the other one is asked for by itself."""
    members = {"p": picky()}
    plan = compiled(members, {"e": ensemble(*seats("p"))})
    innocent, guilty = riders(5.0, 5.0)
    (got,) = run(drive(members, plan, [1.0, -1.0], innocent, guilty, leaving=[(0.05, guilty)]))
    assert (got.reply.riders, got.y) == ((innocent,), [2.0])
    assert [asked.rows for asked in members["p"].asked] == [[1.0, -1.0], [1.0]]


def test_asking_again_gives_no_seat_more_time() -> None:
    """The seat's timeout runs on from the first call."""
    members = {"p": picky(after_s=0.2)} | fakes(b=late(0.05, 3.0))
    plan = compiled(members, {"e": ensemble({"model": "p", "timeout_s": 0.3}, *seats("b"), quorum=1)})
    good, bad = riders(5.0, 5.0)
    delivered = run(drive(members, plan, [1.0, -1.0], good, bad))
    assert [d.at for d in delivered] == pytest.approx([0.3, 0.3])
    assert {outcomes(d)["p"] for d in delivered} == {("FAILED", "MEMBER_TIMEOUT")}
    assert members["p"].running == 0


def test_all_seats_of_a_rejected_call_are_served_by_the_new_ones() -> None:
    """A call that several seats share, one of them nested, is still made once for each rider."""
    members = {"p": picky()}
    outer = ensemble({"ensemble": "inner"}, *seats("p"))
    plan = compiled(members, {"inner": ensemble(*seats("p")), "e": outer})
    good, bad = riders(5.0, 5.0)
    got = {d.reply.riders[0]: d for d in run(drive(members, plan, [1.0, -1.0], good, bad))}
    assert got[good].y == [2.0]
    assert got[bad].reason == "INPUT_REJECTED"
    assert [asked.rows for asked in members["p"].asked] == [[1.0, -1.0], [1.0], [-1.0]]


def test_a_required_member_is_a_veto_though_the_quorum_holds() -> None:
    """Its own reason is what the caller is told."""
    members = fakes(a=late(0.1), b=late(0.1), c=lost(Cause.MEMBER_RESOURCE_EXHAUSTED))
    plan = ensemble({"model": "a"}, {"model": "b"}, {"model": "c", "required": True}, quorum=1)
    got = one(members, {"e": plan}, [0.0])
    assert got.reason == "MEMBER_RESOURCE_EXHAUSTED"
    assert [member.seat for member in got.reply.error.members] == ["c"]  # type: ignore[union-attr]


def test_a_weight_quorum_counts_shares() -> None:
    """Three of four parts of the weight are there, which is more than 0.7; the error says how much."""
    heavy, light = {"model": "a", "weight": 3.0}, {"model": "b", "weight": 1.0}
    policy: dict[str, Any] = {"kind": "weighted_mean", "quorum": {"weight": 0.7}}
    fine = fakes(a=late(0.1), b=lost(Cause.WORKER_CRASHED))
    assert one(fine, {"e": ensemble(heavy, light, **policy)}, [5.0]).y == [5.0]
    short = fakes(a=lost(Cause.WORKER_CRASHED), b=late(0.1))
    got = one(short, {"e": ensemble(heavy, light, **policy)}, [5.0])
    assert got.reason == "QUORUM_NOT_MET"
    assert got.reply.error.metadata["quorum"] == "0.25/0.7 of the weight"  # type: ignore[union-attr]


# --- the report ----------------------------------------------------------------------------------------


def test_the_report_says_what_each_seat_did() -> None:
    """Version, attempts, times, weight and outcome of every seat, as it was."""
    y = {"y": np.array([[1.0]], np.float32)}
    members = {
        "a": FakeMember(
            spec("a"),
            Turn(says=answers(y, version="7", queue_s=0.25, compute_s=0.5, attempts=3), after_s=1.0),
        ),
        "b": FakeMember(spec("b"), Turn(says=answers(y), after_s=0.5)),
        "c": FakeMember(spec("c"), Turn(says=fails(Cause.WORKER_HUNG, attempts=2), after_s=2.0)),
    }
    plan = ensemble(
        {"model": "a", "weight": 3.0}, {"model": "b"}, {"model": "c"}, kind="weighted_mean", quorum=2
    )
    got = one(members, {"e": plan}, [0.0])
    a, b, c = got.reply.report.seats
    assert (a.version, a.attempts, a.queue_s, a.compute_s) == ("7", 3, 0.25, 0.5)
    assert (a.elapsed_s, b.elapsed_s, c.elapsed_s) == pytest.approx((1.0, 0.5, 2.0))
    assert (a.weight_used, b.weight_used, c.weight_used) == (0.75, 0.25, 0.0)
    assert (c.outcome, c.cause, c.attempts) == (Outcome.FAILED, Cause.WORKER_HUNG, 2)
    assert c.message == Cause.WORKER_HUNG.text
    assert (b.queue_s, b.version, b.message) == (None, "", "")
    assert got.reply.report.elapsed_s == pytest.approx(2.0)
    assert (got.reply.report.asked, got.reply.report.used) == (3, 2)
    assert got.reply.report.degraded


def test_the_critical_path_is_that_of_the_last_usable_answer() -> None:
    """Its parts follow one another, whoever else was asked beside it; a failure is nobody's answer."""
    y = {"y": np.array([[1.0]], np.float32)}
    members = {
        "a": FakeMember(spec("a"), Turn(says=answers(y, queue_s=0.1, compute_s=0.2), after_s=0.4)),
        "b": FakeMember(spec("b"), Turn(says=answers(y, queue_s=0.5, compute_s=0.1), after_s=0.7)),
        "c": FakeMember(spec("c"), lost(Cause.WORKER_CRASHED, 0.9)),
    }
    path = one(members, {"e": ensemble(*seats("a", "b", "c"), quorum=1)}, [0.0]).reply.report.critical_path
    assert path is not None
    assert (path.seat, path.elapsed_s, path.queue_s, path.compute_s) == ("b", 0.7, 0.5, 0.1)
    assert path.merge_s == 0.0


def test_the_critical_path_leads_into_nested_ensembles() -> None:
    """The seat is the innermost one whose answer the others waited for."""
    members = fakes(a=late(0.1), b=late(0.4), c=late(0.2))
    plan = {"inner": ensemble(*seats("a", "b")), "e": ensemble({"ensemble": "inner"}, {"model": "c"})}
    path = one(members, plan, [0.0]).reply.report.critical_path
    assert path is not None
    assert (path.seat, path.elapsed_s, path.queue_s) == ("inner/b", pytest.approx(0.4), None)


def test_the_merge_is_timed() -> None:
    """Its own time is part of the answer's wall time."""

    class Slow(Mean):
        def combine(self, state: State, rows: Mask) -> dict[str, Array]:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            loop._jumping.now += 0.25
            return super().combine(state, rows)

    members = fakes(a=late(0.5))
    got = one_of(members, compiled(members, {"e": ensemble(*seats("a"))}, strategy=Slow()), [0.0])
    path = got.reply.report.critical_path
    assert path is not None
    assert path.merge_s == pytest.approx(0.25)
    assert got.reply.report.elapsed_s == pytest.approx(0.75)


def test_an_error_has_no_critical_path() -> None:
    """There is no answer that waited for anyone."""
    members = fakes(a=late(0.1), b=lost(Cause.WORKER_CRASHED))
    assert one(members, {"e": ensemble(*seats("a", "b"))}, [0.0]).reply.report.critical_path is None


def test_a_member_that_was_never_reached_has_no_attempts() -> None:
    """Attempts count calls that left: a member refused before its call was made reports none."""
    members = {"a": FakeMember(spec("a"), Turn(says=fails(Cause.MEMBER_NOT_READY, attempts=0)))}
    got = one(members, {"e": ensemble(*seats("a"))}, [0.0])
    assert got.reply.report.seats[0].attempts == 0


def test_agreement_is_the_weight_share_behind_the_label_row_by_row() -> None:
    """Where all agree it is 1; where the lighter member dissents, it is the heavier one's share."""
    p = (TensorSpec("p", "FP32", (-1, 2)),)
    members = {
        "a": FakeMember(
            spec("a", outputs=p), Turn(says=answers({"p": np.array([[1, 0], [1, 0]], np.float32)}))
        ),
        "b": FakeMember(
            spec("b", outputs=p), Turn(says=answers({"p": np.array([[1, 0], [0, 1]], np.float32)}))
        ),
    }
    plan = ensemble({"model": "a", "weight": 3.0}, {"model": "b"}, kind="soft_vote")
    got = one(members, {"e": plan}, [0.0, 0.0])
    agreement = got.reply.report.agreement
    assert agreement is not None
    assert agreement.tolist() == [1.0, 0.75]
    assert got.reply.outputs["label"].array().tolist() == [0, 0]


def test_each_rider_has_the_agreement_of_its_own_rows() -> None:
    """The report is about the rider's rows, not the batch's."""
    p = (TensorSpec("p", "FP32", (-1, 2)),)
    says = [
        answers({"p": np.array([[1, 0], [1, 0], [1, 0]], np.float32)}),
        answers({"p": np.array([[1, 0], [0, 1], [np.nan, 1]], np.float32)}),
    ]
    members = {
        name: FakeMember(spec(name, outputs=p), Turn(says=say)) for name, say in zip("ab", says, strict=True)
    }
    plan = compiled(members, {"e": ensemble(*seats("a", "b"), kind="soft_vote", quorum=1)})
    first, second, third = riders(5.0, 5.0, 5.0)
    got = {r: d for d in run(drive(members, plan, [0.0] * 3, first, second, third)) for r in d.reply.riders}
    assert got[first] is got[second]
    assert got[first].reply.report.agreement.tolist() == [1.0, 0.5]  # type: ignore[union-attr]
    assert got[third].reply.report.agreement.tolist() == [1.0]  # type: ignore[union-attr]
    assert got[third].reply.report.degraded


def test_members_own_outputs_come_along_when_they_are_wanted() -> None:
    """Each usable member's outputs, for the rider's rows; nothing of one that was not usable for all."""
    members = fakes(a=late(0.1, 1.0), b=Turn(says=adds(3.0, broken={20.0: np.nan})))
    plan = compiled(members, {"e": ensemble(*seats("a", "b"), quorum=1)})
    one_, two = riders(5.0, 5.0)
    delivered = run(drive(members, plan, [10.0, 20.0], one_, two, keep_members=True))
    got = {d.reply.riders[0]: d.reply.report.seats for d in delivered}
    assert [s.outputs["y"].array().tolist() for s in got[one_]] == [[[11.0]], [[13.0]]]
    assert got[two][0].outputs["y"].array().tolist() == [[21.0]]
    assert got[two][1].outputs == {}
    delivered = run(drive(members, plan, [10.0, 20.0], one_, two))
    assert all(not seat.outputs for d in delivered for seat in d.reply.report.seats)


# --- several tasks -------------------------------------------------------------------------------------


def test_a_lost_optional_task_is_absent_and_reported() -> None:
    """The other tasks are answered; the lost one is not there and the answer is degraded."""
    members = fakes(a=late(0.1, 1.0), b=lost(Cause.WORKER_CRASHED))
    got = one(members, {"e": ensemble(*seats("a", "b"), kind="tasks", quorum=1)}, [0.0])
    assert list(got.reply.outputs) == ["a.y"]
    assert got.reply.report.degraded


def test_a_lost_task_that_was_asked_for_by_name_fails_with_its_reason() -> None:
    """Whoever wants that very output is told why it is not there; who wants another is answered."""
    members = fakes(a=late(0.1, 1.0), b=lost(Cause.WORKER_CRASHED))
    plan = {"e": ensemble(*seats("a", "b"), kind="tasks", quorum=1)}
    assert one(members, plan, [0.0], wanted=["b.y"]).reason == "MEMBER_UNAVAILABLE"
    assert list(one(members, plan, [0.0], wanted=["a.y"]).reply.outputs) == ["a.y"]


def test_a_task_lost_for_one_rider_is_not_lost_for_the_others() -> None:
    """One rider's bad row takes the task from that rider only."""
    members = fakes(a=late(0.1, 1.0), b=Turn(says=adds(3.0, broken={20.0: np.nan})))
    plan = compiled(members, {"e": ensemble(*seats("a", "b"), kind="tasks", quorum=1)})
    good, bad = riders(5.0, 5.0)
    got = {d.reply.riders[0]: d.reply for d in run(drive(members, plan, [10.0, 20.0], good, bad))}
    assert sorted(got[good].outputs) == ["a.y", "b.y"]
    assert list(got[bad].outputs) == ["a.y"]
    assert got[good].outputs["b.y"].array().tolist() == [[13.0]]
    assert not got[good].report.degraded
    assert got[bad].report.degraded


def test_a_nested_task_lost_for_one_row_is_not_lost_for_the_others() -> None:
    """The same one level down: the rider that lacks a part gets the others, and its neighbours get all."""
    members = fakes(a=late(0.1, 1.0), b=Turn(says=adds(3.0, broken={20.0: np.nan})))
    plan = compiled(
        members,
        {
            "inner": ensemble(*seats("a", "b"), kind="tasks", quorum=1),
            "e": ensemble({"ensemble": "inner"}, kind="tasks"),
        },
    )
    good, bad = riders(5.0, 5.0)
    got = {d.reply.riders[0]: d for d in run(drive(members, plan, [10.0, 20.0], good, bad))}
    assert got[good].reason == ""
    assert got[good].reply.outputs["inner.b.y"].array().tolist() == [[13.0]]
    assert list(got[bad].reply.outputs) == ["inner.a.y"]
    assert outcomes(got[bad])["inner/b"] == ("UNUSABLE", "NONFINITE_OUTPUT")
    assert got[bad].reply.report.degraded


def test_a_nested_part_that_was_asked_for_by_name_fails_with_its_own_reason() -> None:
    """Two levels down, it is still that very member's fault that the caller is told."""
    members = fakes(a=late(0.1, 1.0), b=lost(Cause.WORKER_CRASHED), c=late(0.1))
    plan = {
        "inner": ensemble(*seats("a", "b"), kind="tasks", quorum=1),
        "e": ensemble({"ensemble": "inner"}, {"model": "c"}, kind="tasks"),
    }
    assert one(members, plan, [0.0], wanted=["inner.b.y"]).reason == "MEMBER_UNAVAILABLE"
    assert list(one(members, plan, [0.0]).reply.outputs) == ["inner.a.y", "c.y"]


def test_a_nested_part_lost_for_one_row_of_a_rider_is_left_out_of_its_answer() -> None:
    """A tensor has no holes: the other row's part goes too, and is not filled with what nobody said."""
    members = fakes(a=late(0.1, 1.0), b=Turn(says=adds(3.0, broken={20.0: np.nan})))
    plan = {
        "inner": ensemble(*seats("a", "b"), kind="tasks", quorum=1),
        "middle": ensemble({"ensemble": "inner"}, kind="tasks"),
        "e": ensemble({"ensemble": "middle"}, kind="tasks"),
    }
    got = one(members, plan, [10.0, 20.0], keep_members=True)
    assert list(got.reply.outputs) == ["middle.inner.a.y"]
    assert got.reply.outputs["middle.inner.a.y"].array().ravel().tolist() == [11.0, 21.0]
    kept = {seat.seat: sorted(seat.outputs) for seat in got.reply.report.seats}
    assert kept["middle"] == ["inner.a.y"]
    assert kept["middle/inner"] == ["a.y"]


def test_a_merge_cannot_do_without_a_nested_part() -> None:
    """Where every output must be there, a part that is missing makes the whole seat unusable."""
    members = fakes(a=late(0.1, 1.0), b=lost(Cause.WORKER_CRASHED), c=late(0.1))
    plan = {
        "inner": ensemble(*seats("a", "b"), kind="tasks", quorum=1),
        "e": ensemble({"ensemble": "inner", "outputs": {"y": "b.y"}}, {"model": "c"}, quorum=1),
    }
    got = one(members, plan, [0.0])
    assert got.reply.report.seats[0].missing


def test_wanted_outputs_come_alone_and_in_the_order_asked() -> None:
    """What was not asked for is not sent."""
    members = fakes(a=late(0.1, 1.0), b=late(0.1, 3.0))
    got = one(members, {"e": ensemble(*seats("a", "b"), kind="tasks")}, [0.0], wanted=["b.y", "a.y"])
    assert list(got.reply.outputs) == ["b.y", "a.y"]
