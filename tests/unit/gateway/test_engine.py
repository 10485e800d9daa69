"""The engine in virtual time: when waiting ends, who gets what, and that nothing is left running."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gateway import values
from gateway.engine import engine as engine_module
from gateway.engine.compile import compile_ensemble, compile_model
from gateway.strategies.base import Ask, Exits, Mask, State, Strategy
from gateway.strategies.first import First
from gateway.strategies.means import Mean
from gateway.values import Rider
from protos.errors import Cause, Outcome
from protos.tensor import TensorSpec
from tests.clock import run
from tests.fakes import (
    Delivered,
    FakeMember,
    Turn,
    adds,
    answers,
    compiled,
    config,
    drive,
    fails,
    raising,
    spec,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.strategies.base import Array

NEVER = 1e9


def ensemble(*members: Mapping[str, Any], kind: str = "mean", **policy: Any) -> dict[str, Any]:
    return {"strategy": {"kind": kind}, "members": list(members), **policy}


def seats(*names: str) -> list[dict[str, Any]]:
    return [{"model": name} for name in names]


def fakes(**turns: Turn) -> dict[str, FakeMember]:
    return {name: FakeMember(spec(name), turn) for name, turn in turns.items()}


def late(after_s: float, amount: float = 0.0) -> Turn:
    return Turn(says=adds(amount), after_s=after_s)


def lost(cause: Cause, after_s: float = 0.0) -> Turn:
    return Turn(says=fails(cause), after_s=after_s)


def one(members: dict[str, FakeMember], ensembles: dict[str, Any], *args: Any, **kwargs: Any) -> Delivered:
    """Drive a batch of one rider, and return the one reply."""
    (delivered,) = run(drive(members, compiled(members, ensembles), *args, **kwargs))
    assert delivered.reply.final
    return delivered


def outcomes(delivered: Delivered) -> dict[str, tuple[str, str]]:
    return {
        seat.seat: (seat.outcome.name, seat.cause.name if seat.cause else "")
        for seat in delivered.reply.report.seats
    }


def riders(*deadlines: float, rows: int = 1) -> list[Rider]:
    return [
        Rider(f"r{i}", slice(i * rows, (i + 1) * rows), 0.0, deadline) for i, deadline in enumerate(deadlines)
    ]


# --- when waiting ends ---------------------------------------------------------------------------------


def test_waiting_goes_on_though_the_quorum_is_there() -> None:
    """A quorum says what an answer needs, not when to stop: the slow member still counts."""
    members = fakes(a=late(0.1, 1.0), b=late(0.4, 3.0))
    got = one(members, {"e": ensemble(*seats("a", "b"), quorum=1)}, [0.0])
    assert got.at == pytest.approx(0.4)
    assert got.y == [2.0]
    assert not got.reply.report.degraded


@pytest.mark.parametrize(("budget_s", "reserve_s"), [(0.010, 0.002), (0.5, 0.025), (1.0, 0.05), (30.0, 0.05)])
def test_waiting_ends_at_the_deadline_minus_the_reserve(budget_s: float, reserve_s: float) -> None:
    """What is there then is the answer: 5 % of the budget is kept back, at least 2 and at most 50 ms."""
    members = fakes(a=late(0.001, 1.0), b=late(NEVER))
    plan = {"e": ensemble(*seats("a", "b"), quorum=1, deadline_s=budget_s)}
    got = one(members, plan, [0.0])
    assert got.at == pytest.approx(budget_s - reserve_s)
    assert got.y == [1.0]
    assert outcomes(got)["b"] == ("FAILED", "MEMBER_TIMEOUT")


def test_without_the_reserve_the_answer_would_come_at_the_very_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Negative control: it is the reserve that leaves time for the way home."""
    monkeypatch.setattr(values, "reserve_s", lambda _: 0.0)
    members = fakes(a=late(NEVER))
    assert one(members, {"e": ensemble(*seats("a"), deadline_s=1.0)}, [0.0]).at == pytest.approx(1.0)


def test_a_member_that_ignores_its_deadline_holds_nobody() -> None:
    """The engine keeps time itself; the member's own good manners are not needed."""
    members = fakes(a=Turn(after_s=NEVER, deaf=True))
    got = one(members, {"e": ensemble(*seats("a"), deadline_s=1.0)}, [0.0])
    assert got.at == pytest.approx(0.95)
    assert got.reason == "DEADLINE_IN_MEMBER"
    assert members["a"].asked[0].cancelled


def test_a_seat_stops_waiting_at_its_own_timeout() -> None:
    """The others are in and the slow seat's time is over: the answer does not wait for the deadline."""
    members = fakes(a=late(0.1, 1.0), b=Turn(after_s=NEVER, deaf=True))
    plan = {"e": ensemble({"model": "a"}, {"model": "b", "timeout_s": 0.25}, quorum=1, deadline_s=1.0)}
    got = one(members, plan, [0.0])
    assert got.at == pytest.approx(0.25)
    assert outcomes(got)["b"] == ("FAILED", "MEMBER_TIMEOUT")
    assert members["b"].asked[0].question.deadline == pytest.approx(0.25)


def test_a_seat_timeout_only_shortens() -> None:
    """A timeout beyond the deadline does not move the deadline."""
    members = fakes(a=late(NEVER))
    got = one(members, {"e": ensemble({"model": "a", "timeout_s": 60.0}, deadline_s=1.0)}, [0.0])
    assert got.at == pytest.approx(0.95)
    assert members["a"].asked[0].question.deadline == pytest.approx(0.95)


def test_first_settles_at_the_first_answer() -> None:
    """Where the strategy needs no more, nobody is waited for, and the losers are told to stop."""
    members = fakes(a=late(0.5, 1.0), b=late(0.2, 2.0), c=late(NEVER))
    got = one(members, {"e": ensemble(*seats("a", "b", "c"), kind="first")}, [0.0])
    assert (got.at, got.y) == (pytest.approx(0.2), [2.0])
    assert outcomes(got) == {"a": ("CANCELLED", ""), "b": ("OK", ""), "c": ("CANCELLED", "")}
    assert not got.reply.report.degraded
    assert members["a"].asked[0].cancelled
    assert members["c"].asked[0].cancelled


def test_first_passes_over_members_that_fail() -> None:
    """The first usable answer counts; a quick failure is no answer."""
    members = fakes(a=lost(Cause.WORKER_CRASHED, 0.1), b=late(0.2, 2.0))
    got = one(members, {"e": ensemble(*seats("a", "b"), kind="first")}, [0.0])
    assert (got.at, got.y) == (pytest.approx(0.2), [2.0])
    assert got.reply.report.degraded


def test_settled_ends_no_waiting_that_the_quorum_still_needs() -> None:
    """A strategy that is content with one answer still waits for the second that the quorum asks for."""
    members = fakes(a=late(0.1, 1.0), b=late(0.3, 2.0), c=late(NEVER))
    got = one(members, {"e": ensemble(*seats("a", "b", "c"), kind="first", quorum=2)}, [0.0])
    assert got.at == pytest.approx(0.3)


def test_settled_ends_no_waiting_for_a_required_seat() -> None:
    """The first answer is there, but without the required seat it would be refused."""
    members = fakes(a=late(0.1, 1.0), b=late(0.3, 2.0))
    plan = {"e": ensemble({"model": "a"}, {"model": "b", "required": True}, kind="first")}
    assert one(members, plan, [0.0]).at == pytest.approx(0.3)


def test_a_member_that_failed_ends_the_waiting_for_it() -> None:
    """Everyone is in, one of them with bad news: nobody waits for the deadline."""
    members = fakes(a=late(0.1), b=lost(Cause.MEMBER_INTERNAL, 0.2))
    got = one(members, {"e": ensemble(*seats("a", "b"))}, [0.0])
    assert (got.at, got.reason) == (pytest.approx(0.2), "INTERNAL")


# --- equal calls are one call --------------------------------------------------------------------------

HEADS = (TensorSpec("p", "FP32", (-1, 1)), TensorSpec("q", "FP32", (-1, 1)), TensorSpec("r", "FP32", (-1, 1)))


def heads(after_s: float) -> FakeMember:
    columns = {name: np.full((1, 1), i, np.float32) for i, name in enumerate("pqr")}
    return FakeMember(spec("m", outputs=HEADS), Turn(says=answers(columns), after_s=after_s, deaf=True))


def head(name: str, output: str, timeout_s: float | None = None) -> dict[str, Any]:
    return {"model": "m", "name": name, "outputs": {"y": output}, "timeout_s": timeout_s}


def test_seats_of_one_model_are_one_call_with_all_their_outputs() -> None:
    """A model with several heads is asked once, for the heads that somebody reads."""
    members = {"m": heads(0.1)}
    plan = {"e": ensemble(head("one", "p"), head("two", "r"), head("three", "r"), kind="tasks")}
    got = one(members, plan, [0.0])
    (asked,) = members["m"].asked
    assert asked.question.outputs == ("p", "r")
    assert {name: t.array().item() for name, t in got.reply.outputs.items()} == {
        "one.y": 0.0,
        "two.y": 2.0,
        "three.y": 2.0,
    }


def test_each_seat_of_a_shared_call_leaves_at_its_own_timeout() -> None:
    """The call lives as long as its most patient seat; the impatient one is late all the same."""
    members = {"m": heads(0.3)}
    plan = {"e": ensemble(head("hasty", "p", 0.1), head("calm", "q", 0.4), kind="tasks", quorum=1)}
    got = one(members, plan, [0.0])
    assert got.at == pytest.approx(0.3)
    assert outcomes(got) == {"hasty": ("FAILED", "MEMBER_TIMEOUT"), "calm": ("OK", "")}
    (asked,) = members["m"].asked
    assert not asked.cancelled
    assert asked.question.deadline == pytest.approx(0.4)


def test_a_shared_call_without_a_timeout_at_one_seat_has_none() -> None:
    """One patient seat is enough to make the call patient."""
    members = {"m": heads(0.3)}
    plan = {"e": ensemble(head("hasty", "p", 0.1), head("calm", "q"), kind="tasks", quorum=1, deadline_s=1.0)}
    assert one(members, plan, [0.0]).at == pytest.approx(0.3)
    assert members["m"].asked[0].question.deadline == pytest.approx(0.95)


def test_a_shared_call_is_cancelled_when_its_last_seat_leaves() -> None:
    """Nobody waits any more: the model is told at once, not at the deadline."""
    members = {"m": heads(NEVER)} | fakes(b=late(0.5, 1.0))
    plan = ensemble(head("hasty", "p", 0.1), head("calm", "q", 0.2), {"model": "b"}, quorum=1)
    got = one(members, {"e": plan}, [0.0])
    (asked,) = members["m"].asked
    assert asked.cancelled
    assert asked.ended == pytest.approx(0.2)
    assert got.at == pytest.approx(0.5)


def test_other_inputs_make_another_call() -> None:
    """Calls are equal only when they read the same request tensors."""
    members = fakes(a=late(0.1))
    plan = {
        "e": ensemble(
            {"model": "a", "name": "left", "inputs": {"x": "u"}},
            {"model": "a", "name": "right", "inputs": {"x": "v"}},
        )
    }
    x = {"u": np.array([[1.0]], np.float32), "v": np.array([[5.0]], np.float32)}
    got = one(members, plan, x)
    assert sorted(asked.rows for asked in members["a"].asked) == [[1.0], [5.0]]
    assert got.y == [3.0]


def test_a_nested_seat_shares_the_call_of_an_outer_one() -> None:
    """Inlining reaches through ensembles: the same model with the same inputs is asked once."""
    members = fakes(a=late(0.1, 1.0), b=late(0.1, 3.0))
    plan = {
        "inner": ensemble(*seats("a", "b")),
        "e": ensemble({"ensemble": "inner"}, {"model": "a"}),
    }
    assert one(members, plan, [0.0]).y == [1.5]
    assert len(members["a"].asked) == 1


# --- nested ensembles ----------------------------------------------------------------------------------


def test_a_nested_ensemble_has_its_own_deadline_and_quorum() -> None:
    """It answers at its own deadline with what it has; the ensemble around it says that it is degraded."""
    members = fakes(a=late(0.1, 1.0), slow=late(NEVER), b=late(0.3, 3.0))
    plan = {
        "inner": ensemble(*seats("a", "slow"), quorum=1, deadline_s=0.2),
        "e": ensemble({"ensemble": "inner"}, {"model": "b"}, deadline_s=1.0),
    }
    got = one(members, plan, [0.0])
    assert (got.at, got.y) == (pytest.approx(0.3), [2.0])
    assert outcomes(got) == {
        "inner": ("OK", ""),
        "inner/a": ("OK", ""),
        "inner/slow": ("FAILED", "MEMBER_TIMEOUT"),
        "b": ("OK", ""),
    }
    assert got.reply.report.degraded
    assert (got.reply.report.asked, got.reply.report.used) == (2, 2)
    assert members["slow"].asked[0].ended == pytest.approx(0.2)


def test_a_seat_timeout_bounds_a_nested_ensemble_too() -> None:
    """The seat's timeout is shorter than the nested ensemble's own budget, so it decides."""
    members = fakes(a=late(0.05, 1.0), slow=late(NEVER), b=late(0.01, 3.0))
    plan = {
        "inner": ensemble(*seats("a", "slow"), quorum=1, deadline_s=0.5),
        "e": ensemble({"ensemble": "inner", "timeout_s": 0.1}, {"model": "b"}, deadline_s=1.0),
    }
    got = one(members, plan, [0.0])
    assert (got.at, got.y) == (pytest.approx(0.1), [2.0])


def test_the_deadline_of_the_whole_ends_what_is_nested() -> None:
    """A nested ensemble that would wait longer gives what it has when the rider must be answered."""
    members = fakes(a=late(0.1, 1.0), slow=late(NEVER))
    plan = {
        "inner": ensemble(*seats("a", "slow"), quorum=1, deadline_s=60.0),
        "e": ensemble({"ensemble": "inner"}, deadline_s=1.0),
    }
    got = one(members, plan, [0.0])
    assert (got.at, got.y) == (pytest.approx(0.95), [1.0])


def test_a_nested_ensemble_that_misses_its_quorum_is_a_failed_seat() -> None:
    """Its verdict is the seat's cause, and the seats inside are reported too."""
    members = fakes(a=late(0.1, 1.0), down=lost(Cause.BACKEND_UNREACHABLE), b=late(0.1, 3.0))
    plan = {
        "inner": ensemble(*seats("a", "down")),
        "e": ensemble({"ensemble": "inner"}, {"model": "b"}, quorum=1),
    }
    got = one(members, plan, [0.0])
    assert got.y == [3.0]
    assert outcomes(got)["inner"] == ("FAILED", "QUORUM_NOT_MET")
    assert outcomes(got)["inner/down"] == ("FAILED", "BACKEND_UNREACHABLE")


def test_a_nested_strategy_that_fails_is_a_failed_seat(caplog: pytest.LogCaptureFixture) -> None:
    """A bug in one merge does not take the ensemble around it down; its text stays in the log."""
    members = fakes(a=late(0.1, 1.0), b=late(0.1, 3.0))
    plan = compiled(
        members,
        {"inner": ensemble(*seats("a")), "e": ensemble({"ensemble": "inner"}, {"model": "b"}, quorum=1)},
    )
    inner, b = plan.merge.seats
    broken = replace(inner, source=replace(inner.source, strategy=Raises("combine")))
    plan = replace(plan, merge=replace(plan.merge, seats=(broken, b)))
    (got,) = run(drive(members, plan, [0.0]))
    assert got.y == [3.0]
    assert outcomes(got)["inner"] == ("FAILED", "COMBINE_FAILED")
    assert "secret" not in str(got.reply)
    assert "secret" in caplog.text


# --- losers, and riders who leave ----------------------------------------------------------------------


def slow_to_end() -> tuple[dict[str, FakeMember], dict[str, Any]]:
    members = fakes(a=late(0.1, 1.0), b=Turn(after_s=NEVER, cancel_s=0.5, deaf=True))
    return members, {"e": ensemble(*seats("a", "b"), kind="first")}


def test_losers_are_cancelled_and_awaited() -> None:
    """The reply leaves at once; the batch ends only when the loser's call has ended."""
    members, plan = slow_to_end()

    async def main() -> tuple[list[Delivered], float]:
        delivered = await drive(members, compiled(members, plan), [0.0])
        assert members["b"].running == 0
        return delivered, asyncio.get_running_loop().time()

    (got,), ended = run(main())
    assert got.at == pytest.approx(0.1)
    assert ended == pytest.approx(0.6)


def test_a_loser_that_is_not_awaited_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: without the wait for losers, a call outlives its batch and the tests see it."""

    async def only_cancel(self: Any) -> None:
        for asked in self._asked.values():
            asked.task.cancel()

    monkeypatch.setattr(engine_module._Execution, "end", only_cancel)
    members, plan = slow_to_end()
    with pytest.raises(AssertionError, match="left running"):
        run(drive(members, compiled(members, plan), [0.0]))


def test_a_cancelled_engine_ends_its_calls_first() -> None:
    """Whoever cancels a batch gets it back with nothing running."""
    members, plan = slow_to_end()

    async def main() -> float:
        task = asyncio.create_task(drive(members, compiled(members, plan), [0.0]))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [fake.running for fake in members.values()] == [0, 0]
        assert all(fake.asked[0].cancelled for fake in members.values())
        return asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx(0.55)


def test_a_rider_who_leaves_gets_nothing_and_ends_the_batch_if_alone() -> None:
    """The caller is gone: the model is told at once, and there is no reply."""
    members = fakes(a=Turn(after_s=NEVER, deaf=True))
    (rider,) = riders(5.0)
    plan = compiled(members, {"e": ensemble(*seats("a"))})
    assert run(drive(members, plan, [0.0], rider, leaving=[(0.3, rider)])) == []
    assert members["a"].asked[0].ended == pytest.approx(0.3)


def test_others_ride_on_when_one_leaves() -> None:
    """Their call goes on, and they get their own rows."""
    members = fakes(a=late(0.5, 1.0))
    leaver, stayer = riders(5.0, 5.0)
    plan = compiled(members, {"e": ensemble(*seats("a"))})
    (got,) = run(drive(members, plan, [10.0, 20.0], leaver, stayer, leaving=[(0.3, leaver)]))
    assert got.reply.riders == (stayer,)
    assert (got.at, got.y) == (pytest.approx(0.5), [21.0])
    assert not members["a"].asked[0].cancelled


def test_when_the_last_rider_leaves_the_call_ends() -> None:
    """Two riders, both gone: nobody needs the answer."""
    members = fakes(a=Turn(after_s=NEVER, deaf=True))
    first, second = riders(5.0, 5.0)
    plan = compiled(members, {"e": ensemble(*seats("a"))})
    leaving = [(0.3, first), (0.4, second)]
    assert run(drive(members, plan, [0.0, 1.0], first, second, leaving=leaving)) == []
    assert members["a"].asked[0].ended == pytest.approx(0.4)


def test_a_rider_who_left_before_the_start_costs_nothing() -> None:
    """Nobody is asked for a caller who has gone."""
    members = fakes(a=late(0.1))
    (rider,) = riders(5.0)
    plan = compiled(members, {"e": ensemble(*seats("a"))})

    async def main() -> list[Delivered]:
        batch = values.Batch(route=plan, n=1, inputs={}, riders=[rider])
        batch.leave(rider)
        delivered: list[Delivered] = []
        await engine_module.Engine(members).run(batch, lambda r: delivered.append(Delivered(0.0, r)))
        return delivered

    assert run(main()) == []
    assert members["a"].asked == []


# --- riders --------------------------------------------------------------------------------------------


def test_a_rider_with_a_short_deadline_gets_what_is_there_while_the_other_waits_on() -> None:
    """Each rider is answered by its own time with its own rows."""
    members = fakes(a=late(0.1, 1.0), b=late(0.7, 3.0))
    short, long = riders(0.5, 5.0)
    plan = compiled(members, {"e": ensemble(*seats("a", "b"), quorum=1)})
    early, late_one = run(drive(members, plan, [10.0, 20.0], short, long))
    assert (early.reply.riders, early.at, early.y) == ((short,), pytest.approx(0.475), [11.0])
    assert outcomes(early)["b"] == ("FAILED", "MEMBER_TIMEOUT")
    assert (late_one.reply.riders, late_one.at, late_one.y) == ((long,), pytest.approx(0.7), [22.0])
    assert not late_one.reply.report.degraded


def test_a_rider_whose_deadline_misses_the_quorum_gets_an_error_and_the_other_an_answer() -> None:
    """Too few for one, enough for the other: both are told the truth about their own rows."""
    members = fakes(a=late(0.1, 1.0), b=late(0.7, 3.0))
    short, long = riders(0.5, 5.0)
    plan = compiled(members, {"e": ensemble(*seats("a", "b"))})
    early, late_one = run(drive(members, plan, [10.0, 20.0], short, long))
    assert (early.reason, early.at) == ("DEADLINE_IN_MEMBER", pytest.approx(0.475))
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


def test_one_bad_row_fails_its_whole_rider() -> None:
    """A request is answered whole or not at all."""
    members = fakes(a=Turn(says=adds(1.0, broken={20.0: np.inf})))
    got = one(members, {"e": ensemble(*seats("a"))}, [10.0, 20.0, 30.0])
    assert got.reason == "NONFINITE_OUTPUT"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nonfinite_rows_drop_their_member_row_by_row(value: float) -> None:
    """By default a broken row of a member does not count; its other rows do, and the report says so."""
    members = fakes(a=Turn(says=adds(1.0, broken={20.0: value})), b=late(0.1, 3.0))
    got = one(members, {"e": ensemble(*seats("a", "b"), quorum=1)}, [10.0, 20.0])
    assert got.y == [12.0, 23.0]
    assert outcomes(got) == {"a": ("UNUSABLE", "NONFINITE_OUTPUT"), "b": ("OK", "")}
    assert got.reply.report.seats[0].message.endswith("(in 1 of 2 rows)")
    assert (got.reply.report.asked, got.reply.report.used) == (2, 1)


def test_nonfinite_values_pass_where_the_config_says_so() -> None:
    """With ``pass`` they are data like any other."""
    members = fakes(a=Turn(says=adds(1.0, broken={20.0: np.inf})), b=late(0.1, 3.0))
    got = one(members, {"e": ensemble(*seats("a", "b"), nonfinite="pass")}, [10.0, 20.0])
    assert got.y == [12.0, np.inf]
    assert not got.reply.report.degraded


def test_nonfinite_fail_fails_the_row_whatever_the_quorum() -> None:
    """With ``fail`` one broken row is a veto for its rider."""
    members = fakes(a=Turn(says=adds(1.0, broken={20.0: np.nan})), b=late(0.1, 3.0))
    good, bad = riders(5.0, 5.0)
    plan = compiled(members, {"e": ensemble(*seats("a", "b"), quorum=1, nonfinite="fail")})
    got = {d.reply.riders[0]: d for d in run(drive(members, plan, [10.0, 20.0], good, bad))}
    assert got[bad].reason == "NONFINITE_OUTPUT"
    assert got[good].y == [12.0]


def test_bf16_is_screened_for_nonfinite_values_too() -> None:
    """A float that numpy does not know by kind is a float."""
    import ml_dtypes

    y = np.array([[1.0], [np.nan]], ml_dtypes.bfloat16)
    outputs = (TensorSpec("y", "BF16", (-1, 1)),)
    members = {"a": FakeMember(spec("a", outputs=outputs), Turn(says=answers({"y": y})))}
    good, bad = riders(5.0, 5.0)
    plan = compiled(members, {"e": ensemble(*seats("a"))})
    got = {d.reply.riders[0]: d for d in run(drive(members, plan, [0.0, 0.0], good, bad))}
    assert got[bad].reason == "NONFINITE_OUTPUT"
    assert got[good].reason == ""


WRONG = {
    "name": {"z": np.zeros((2, 1), np.float32)},
    "datatype": {"y": np.zeros((2, 1), np.float64)},
    "shape": {"y": np.zeros((2, 2), np.float32)},
    "rank": {"y": np.zeros((2,), np.float32)},
    "rows": {"y": np.zeros((3, 1), np.float32)},
    "nothing": {},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_call_with_a_wrong_output_is_unusable_as_a_whole(wrong: str) -> None:
    """Wrong name, datatype or shape: no row of it counts, though the values might look fine."""
    members = {"a": FakeMember(spec("a"), Turn(says=answers(WRONG[wrong])))} | fakes(b=late(0.1, 3.0))
    got = one(members, {"e": ensemble(*seats("a", "b"), quorum=1)}, [10.0, 20.0])
    assert got.y == [13.0, 23.0]
    assert outcomes(got)["a"] == ("UNUSABLE", "MEMBER_BAD_OUTPUT")


def test_without_screening_a_wrong_answer_would_be_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: it is the screening that keeps a wrong shape out of the merge."""
    monkeypatch.setattr(TensorSpec, "accepts", lambda *_: True)
    members = {"a": FakeMember(spec("a"), Turn(says=answers(WRONG["shape"])))}
    got = one(members, {"e": ensemble(*seats("a"))}, [10.0, 20.0])
    assert got.reply.outputs["y"].shape == (2, 2)


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
    policy = {"kind": "weighted_mean", "quorum": {"weight": 0.7}}
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
    """The same one level down: the row that lacks a part is unusable, its neighbours are not."""
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
    assert got[bad].reason == "MEMBER_BAD_OUTPUT"


def test_wanted_outputs_come_alone_and_in_the_order_asked() -> None:
    """What was not asked for is not sent."""
    members = fakes(a=late(0.1, 1.0), b=late(0.1, 3.0))
    got = one(members, {"e": ensemble(*seats("a", "b"), kind="tasks")}, [0.0], wanted=["b.y", "a.y"])
    assert list(got.reply.outputs) == ["b.y", "a.y"]


# --- bugs of others are contained ----------------------------------------------------------------------


class Raises(Mean):
    """A mean with a bug in one of its methods."""

    kind = "raises"

    def __init__(self, where: str) -> None:
        super().__init__()
        self._where = where

    def _trip(self, here: str) -> None:
        if here == self._where:
            raise ZeroDivisionError("secret")

    def plan(self, state: State) -> tuple[Ask, ...]:
        self._trip("plan")
        return super().plan(state)

    def settled(self, state: State) -> Exits:
        self._trip("settled")
        return super().settled(state)

    def combine(self, state: State, rows: Mask) -> dict[str, Array]:
        self._trip("combine")
        merged = super().combine(state, rows)
        return {name: array[:-1] for name, array in merged.items()} if self._where == "rows" else merged

    def shares(self, state: State, rows: Mask) -> Any:
        self._trip("shares")
        return super().shares(state, rows)

    def agreement(self, state: State, rows: Mask, merged: Mapping[str, Array]) -> Any:
        self._trip("agreement")
        return super().agreement(state, rows, merged)


@pytest.mark.parametrize("where", ["plan", "settled", "combine", "rows", "shares", "agreement"])
def test_a_bug_in_a_strategy_is_an_error_for_every_rider(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Wherever a plug-in trips, each rider gets one final reply without the bug's text, and nothing runs on."""
    members = fakes(a=late(0.1, 1.0), b=late(0.2, 3.0))
    plan = compiled(members, {"e": ensemble(*seats("a", "b"))}, strategy=Raises(where))
    first, second = riders(5.0, 5.0)
    delivered = run(drive(members, plan, [10.0, 20.0], first, second))
    told = [rider for d in delivered for rider in d.reply.riders]
    assert sorted(told, key=lambda r: r.id) == [first, second]
    for d in delivered:
        assert d.reply.final
        assert d.reason in ("COMBINE_FAILED", "INTERNAL")
        assert "secret" not in str(d.reply)
    assert "ZeroDivisionError" in caplog.text or where == "rows"


@pytest.mark.parametrize(
    "error", [ValueError("secret"), asyncio.CancelledError("secret"), KeyError("secret")]
)
def test_a_member_that_raises_is_a_failed_member(error: BaseException) -> None:
    """A bug in a member costs that member; the others answer, and its text is not sent."""
    members = fakes(a=late(0.1, 1.0), b=Turn(says=raising(error)))
    got = one(members, {"e": ensemble(*seats("a", "b"), quorum=1)}, [0.0])
    assert got.y == [1.0]
    assert outcomes(got)["b"] == ("FAILED", "MEMBER_INTERNAL")
    assert "secret" not in str(got.reply)


# --- shapes --------------------------------------------------------------------------------------------


def test_no_rows_are_answered_without_asking_anyone() -> None:
    """An empty batch has an empty answer of the right shape and datatype."""
    members = fakes(a=late(NEVER), b=late(NEVER))
    got = one(members, {"e": ensemble(*seats("a", "b"))}, {"x": np.zeros((0, 1), np.float32)})
    assert got.reply.outputs["y"].shape == (0, 1)
    assert got.reply.outputs["y"].datatype == "FP32"
    assert members["a"].asked == []
    assert outcomes(got) == {"a": ("NOT_ASKED", ""), "b": ("NOT_ASKED", "")}
    assert not got.reply.report.degraded


def test_a_rider_without_rows_rides_with_others() -> None:
    """It is answered too, and takes nothing from its neighbours."""
    members = fakes(a=late(0.1, 1.0))
    none, some = Rider("none", slice(0, 0), 0.0, 5.0), Rider("some", slice(0, 2), 0.0, 5.0)
    plan = compiled(members, {"e": ensemble(*seats("a"))})
    got = {r: d for d in run(drive(members, plan, [1.0, 2.0], none, some)) for r in d.reply.riders}
    assert got[none].of(none) == []
    assert got[some].of(some) == [2.0, 3.0]


def test_models_that_do_not_batch_see_no_row_axis() -> None:
    """The row axis is added on the way in and taken off on the way out."""
    inputs, outputs = (TensorSpec("x", "FP32", (3,)),), (TensorSpec("y", "FP32", (3,)),)
    members = {
        name: FakeMember(spec(name, inputs=inputs, outputs=outputs, max_rows=0), Turn(says=adds(amount)))
        for name, amount in (("a", 1.0), ("b", 3.0))
    }
    plan = compiled(members, {"e": ensemble(*seats("a", "b"))})
    assert plan.outputs == outputs
    (got,) = run(drive(members, plan, {"x": np.array([0.0, 1.0, 2.0], np.float32)}, keep_members=True))
    assert members["a"].asked[0].question.inputs["x"].shape == (3,)
    assert (got.reply.outputs["y"].shape, got.y) == ((3,), [2.0, 3.0, 4.0])
    assert got.reply.report.seats[0].outputs["y"].shape == (3,)


def test_a_model_under_its_own_name_answers_as_itself() -> None:
    """One seat, its answer untouched, NaN included; its own failure is the caller's reason."""
    model = FakeMember(spec("a"), Turn(says=adds(1.0, broken={2.0: np.nan})))
    plan = compile_model(config({}, ["a"]), "a", model.spec)
    (got,) = run(drive({"a": model}, plan, [1.0, 2.0]))
    assert got.y[0] == 2.0
    assert np.isnan(got.y[1])
    down = FakeMember(spec("a"), lost(Cause.MEMBER_NOT_READY))
    (got,) = run(drive({"a": down}, plan, [1.0]))
    assert got.reason == "MODEL_NOT_READY"


def labelled(name: str, labels: tuple[str, ...], p: list[list[float]], width: int = 3) -> FakeMember:
    outputs = (TensorSpec("p", "FP32", (-1, width), labels),)
    return FakeMember(spec(name, outputs=outputs), Turn(says=answers({"p": np.array(p, np.float32)})))


def test_answers_are_put_in_one_class_order_before_they_count() -> None:
    """Members that list their classes in another order still agree on names."""
    members = {
        "a": labelled("a", ("x", "y", "z"), [[0.5, 0.25, 0.25]]),
        "b": labelled("b", ("z", "x", "y"), [[0.25, 0.5, 0.25]]),
    }
    plan = compiled(members, {"e": ensemble(*seats("a", "b"), kind="soft_vote")})
    (got,) = run(drive(members, plan, [0.0], keep_members=True))
    assert got.reply.outputs["p"].array().tolist() == [[0.5, 0.25, 0.25]]
    assert got.reply.outputs["label"].array().tolist() == [b"x"]
    assert got.reply.report.agreement.tolist() == [1.0]  # type: ignore[union-attr]


@pytest.mark.parametrize("width", [2, 4])
def test_an_answer_with_other_than_its_labels_classes_is_unusable(width: int) -> None:
    """Where the class axis is open, the number of labels says how long it must be."""
    members = {
        "a": labelled("a", ("x", "y", "z"), [[0.5, 0.25, 0.25]], width=-1),
        "b": labelled("b", ("z", "x", "y"), [[0.5] * width], width=-1),
    }
    got = one(members, {"e": ensemble(*seats("a", "b"), kind="soft_vote", quorum=1)}, [0.0])
    assert outcomes(got) == {"a": ("OK", ""), "b": ("UNUSABLE", "MEMBER_BAD_OUTPUT")}
    assert got.reply.outputs["p"].array().tolist() == [[0.5, 0.25, 0.25]]


# --- waves ---------------------------------------------------------------------------------------------


class Cascade(Mean):
    """Asks the first seat; then each next one for the rows whose last answer is negative or missing."""

    kind = "cascade"

    def plan(self, state: State) -> tuple[Ask, ...]:
        asks = [Ask(0, ~state.asked[0])]
        for seat in range(1, len(state.seats)):
            before = state.outputs[seat - 1].get("y")
            unsure = state.failed[seat - 1].copy()
            if before is not None:
                unsure |= state.answered[seat - 1] & (before[:, 0] < 0)
            asks.append(Ask(seat, unsure & ~state.asked[seat]))
        return tuple(ask for ask in asks if ask.rows.any())

    def combine(self, state: State, rows: Mask) -> dict[str, Array]:
        y = np.full((state.n, 1), np.nan, np.float32)
        for answered, outputs in zip(state.answered, state.outputs, strict=True):
            if outputs:
                y = np.where(answered[:, None], outputs["y"], y)
        return {"y": y[rows]}


def test_a_second_wave_asks_only_for_the_rows_that_need_it() -> None:
    """Rows are gathered for the second member, and its answers go back to where they came from."""
    members = fakes(a=late(0.1), b=late(0.2, 100.0), c=late(0.2, 1000.0))
    plan = compiled(members, {"e": ensemble(*seats("a", "b", "c"), quorum=1)}, strategy=Cascade())
    got = one_of(members, plan, [1.0, -2.0, 3.0, -4.0, -500.0])
    assert members["a"].asked[0].rows == [1.0, -2.0, 3.0, -4.0, -500.0]
    assert [asked.rows for asked in members["b"].asked] == [[-2.0, -4.0, -500.0]]
    assert [asked.rows for asked in members["c"].asked] == [[-500.0]]
    assert got.y == [1.0, 98.0, 3.0, 96.0, 500.0]
    assert got.at == pytest.approx(0.5)


def one_of(members: dict[str, FakeMember], plan: Any, *args: Any, **kwargs: Any) -> Delivered:
    (delivered,) = run(drive(members, plan, *args, **kwargs))
    return delivered


def test_riders_that_need_no_second_wave_leave_after_the_first() -> None:
    """The sure rider is answered at once; its report says whom nobody asked."""
    members = fakes(a=late(0.1), b=late(0.2, 100.0))
    plan = compiled(members, {"e": ensemble(*seats("a", "b"), quorum=1)}, strategy=Cascade())
    sure, unsure = riders(5.0, 5.0)
    first, second = run(drive(members, plan, [1.0, -2.0], sure, unsure))
    assert (first.reply.riders, first.at, first.y) == ((sure,), pytest.approx(0.1), [1.0])
    assert outcomes(first) == {"a": ("OK", ""), "b": ("NOT_ASKED", "")}
    assert (second.reply.riders, second.at, second.y) == ((unsure,), pytest.approx(0.3), [98.0])
    assert outcomes(second) == {"a": ("OK", ""), "b": ("OK", "")}


def test_a_seat_that_answered_all_it_was_asked_is_ok() -> None:
    """Asked for one of a rider's two rows, and answered: that is no cancellation, and no degradation."""
    members = fakes(a=late(0.1), b=late(0.2, 100.0))
    plan = compiled(members, {"e": ensemble(*seats("a", "b"), quorum=1)}, strategy=Cascade())
    got = one_of(members, plan, [1.0, -2.0])
    assert outcomes(got) == {"a": ("OK", ""), "b": ("OK", "")}
    assert (got.reply.report.asked, got.reply.report.used) == (2, 1)
    assert not got.reply.report.degraded


def test_the_message_counts_the_rows_that_were_lost_not_those_never_asked() -> None:
    """A member that failed the one row it was asked for failed in one row."""
    members = fakes(a=late(0.1), b=lost(Cause.WORKER_CRASHED))
    plan = compiled(members, {"e": ensemble(*seats("a", "b"), quorum=1)}, strategy=Cascade())
    got = one_of(members, plan, [1.0, -2.0, 3.0])
    assert got.reply.report.seats[1].message.endswith("(in 1 of 3 rows)")


def test_a_report_speaks_of_the_riders_own_rows_only() -> None:
    """A seat that was asked for a neighbour's rows has, for this rider, no attempts and no times."""
    members = fakes(a=late(0.1), b=late(0.2, 100.0), c=late(NEVER))
    plan = compiled(members, {"e": ensemble(*seats("a", "b", "c"), quorum=1)}, strategy=WaitsForC())
    sure, unsure = riders(1.0, 1.0)
    delivered = run(drive(members, plan, [1.0, -2.0], sure, unsure))
    got = {r: d.reply.report.seats[1] for d in delivered for r in d.reply.riders}
    assert (got[unsure].attempts, got[unsure].version) == (1, "1")
    assert got[unsure].elapsed_s == pytest.approx(0.2)
    assert (got[sure].outcome, got[sure].attempts, got[sure].version) == (Outcome.NOT_ASKED, 0, "")
    assert got[sure].elapsed_s is None


class WaitsForC(Cascade):
    """A cascade of two, and a third seat that is asked for all rows at once."""

    kind = "waits_for_c"

    def plan(self, state: State) -> tuple[Ask, ...]:
        asks = [ask for ask in super().plan(state) if ask.seat < 2]
        return (*asks, Ask(2, ~state.asked[2]))


class Relay(Mean):
    """Asks seats 0 and 1 for all rows, then seat 2 for row i as soon as seat i has answered it."""

    kind = "relay"

    def plan(self, state: State) -> tuple[Ask, ...]:
        ready = np.array([state.answered[i % 2, i] for i in range(state.n)])
        wanted = (~state.asked[0], ~state.asked[1], ready & ~state.asked[2])
        return tuple(Ask(i, rows) for i, rows in enumerate(wanted) if rows.any())


def test_a_timeout_runs_from_the_moment_its_rows_were_asked() -> None:
    """Rows asked for later do not lengthen the waiting for those asked for before."""
    members = fakes(a=late(0.1), b=late(0.3), c=Turn(after_s=NEVER, deaf=True))
    c = {"model": "c", "timeout_s": 0.35}
    plan = compiled(members, {"e": ensemble(*seats("a", "b"), c, quorum=1)}, strategy=Relay())
    first, second = riders(5.0, 5.0)
    delivered = run(drive(members, plan, [1.0, 2.0], first, second))
    assert [(d.reply.riders[0].id, d.at) for d in delivered] == [
        ("r0", pytest.approx(0.45)),
        ("r1", pytest.approx(0.65)),
    ]


def test_the_deadline_of_a_nested_ensemble_runs_from_the_moment_its_rows_were_asked() -> None:
    """The same for a seat that is an ensemble: a second wave does not give the first one more time."""
    members = fakes(a=late(0.1), b=late(0.3), c=Turn(after_s=NEVER, deaf=True))
    plan = compiled(
        members,
        {
            "inner": ensemble(*seats("c"), deadline_s=0.35),
            "e": ensemble(*seats("a", "b"), {"ensemble": "inner"}, quorum=1),
        },
        strategy=Relay(),
    )
    first, second = riders(5.0, 5.0)
    delivered = run(drive(members, plan, [1.0, 2.0], first, second))
    assert [(d.reply.riders[0].id, d.at) for d in delivered] == [
        ("r0", pytest.approx(0.45)),
        ("r1", pytest.approx(0.65)),
    ]


def nested_with(plan: Any, strategy: Strategy) -> Any:
    """Replace the strategy of the first seat's ensemble."""
    first, *rest = plan.merge.seats
    changed = replace(first, source=replace(first.source, strategy=strategy))
    return replace(plan, merge=replace(plan.merge, seats=(changed, *rest)))


def test_a_nested_strategy_plans_its_next_wave_when_an_ensemble_below_it_answers() -> None:
    """An answer from below may call for a second wave before the merge above it closes."""
    members = fakes(a=late(0.1), b=late(0.2, 100.0))
    plan = compiled(
        members,
        {
            "bottom": ensemble(*seats("a")),
            "middle": ensemble({"ensemble": "bottom"}, {"model": "b"}, quorum=1),
            "e": ensemble({"ensemble": "middle"}),
        },
    )
    got = one_of(members, nested_with(plan, Cascade()), [1.0, -2.0])
    assert [asked.rows for asked in members["b"].asked] == [[-2.0]]
    assert got.y == [1.0, 98.0]


def test_a_barred_seat_of_an_ensemble_that_nobody_asks_is_not_missing() -> None:
    """What was not asked cannot degrade the answer, even if it could not have answered."""
    members = fakes(a=late(0.1), b=late(0.1)) | {"unknown": FakeMember(None)}
    specs = {name: member.spec for name, member in members.items()}
    ensembles = {
        "inner": ensemble(*seats("b", "unknown"), quorum=1),
        "e": ensemble({"model": "a"}, {"ensemble": "inner"}, quorum=1),
    }
    plan, _ = compile_ensemble(config(ensembles, members), "e", specs)
    plan = replace(plan, merge=replace(plan.merge, strategy=Cascade()))
    sure = one_of(members, plan, [1.0])
    assert outcomes(sure)["inner/unknown"] == ("NOT_ASKED", "")
    assert not sure.reply.report.degraded
    unsure = one_of(members, plan, [-1.0])
    assert outcomes(unsure)["inner/unknown"] == ("FAILED", "MEMBER_NOT_READY")
    assert unsure.reply.report.degraded


def test_a_call_that_is_being_cancelled_is_not_joined() -> None:
    """A later wave that needs an equal call makes a new one; the dying one is awaited all the same."""
    members = {
        "m": FakeMember(spec("m"), Turn(after_s=NEVER, cancel_s=0.5, deaf=True), late(0.1, 7.0)),
    } | fakes(other=late(0.2, -9.0))
    plan = ensemble(
        {"model": "m", "name": "hasty", "timeout_s": 0.1},
        {"model": "other"},
        {"model": "m", "name": "again", "timeout_s": 5.0},
        quorum=1,
    )

    class Twice(Cascade):
        kind = "twice"

        def plan(self, state: State) -> tuple[Ask, ...]:
            wanted = (~state.asked[0], ~state.asked[1], state.answered[1] & ~state.asked[2])
            return tuple(Ask(i, rows) for i, rows in enumerate(wanted) if rows.any())

    compiled_plan = compiled(members, {"e": plan}, strategy=Twice())
    # the shared call lives as long as its most patient seat, so that the hasty one alone can end it
    got = one_of(members, compiled_plan, [1.0])
    assert outcomes(got)["again"] == ("OK", "")
    assert (got.at, got.y) == (pytest.approx(0.3), [8.0])


def test_waves_whose_open_dimensions_differ_cannot_be_one_answer() -> None:
    """Rows of one output must fit beside each other; a second wave of another width is bad output."""
    wide = (TensorSpec("y", "FP32", (-1, -1)),)
    members = fakes(a=late(0.1), b=late(0.3)) | {
        "c": FakeMember(
            spec("c", outputs=wide),
            Turn(says=answers({"y": np.ones((1, 2), np.float32)})),
            Turn(says=answers({"y": np.ones((1, 1), np.float32)})),
        )
    }
    plan = compiled(members, {"e": ensemble(*seats("a", "b", "c"), kind="tasks", quorum=1)})
    plan = replace(plan, merge=replace(plan.merge, strategy=RelayOfTasks()))
    first, second = riders(5.0, 5.0)
    got = {d.reply.riders[0]: d for d in run(drive(members, plan, [1.0, 2.0], first, second))}
    assert outcomes(got[first])["c"] == ("OK", "")
    assert outcomes(got[second])["c"] == ("UNUSABLE", "MEMBER_BAD_OUTPUT")


class RelayOfTasks(Relay):
    """The same waves; the answer is that of the first seat."""

    kind = "relay_of_tasks"

    def combine(self, state: State, rows: Mask) -> dict[str, Array]:
        return {"y": state.outputs[0]["y"][rows]}


def test_first_takes_the_first_seat_of_those_that_are_in() -> None:
    """Two answers at one moment: config order decides, so that the result does not depend on chance."""
    members = fakes(a=late(0.1, 1.0), b=late(0.1, 2.0))
    plan = compiled(members, {"e": ensemble(*seats("b", "a"), kind="first")})
    assert isinstance(plan.merge.strategy, First)
    assert one_of(members, plan, [0.0]).y == [2.0]
