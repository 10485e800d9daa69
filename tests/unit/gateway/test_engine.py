"""The engine in virtual time: when waiting ends, who is asked, and that nothing is left running."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gateway import values
from gateway.engine.dispatch import Dispatch
from gateway.engine.engine import Engine
from gateway.strategies.means import Mean
from protos.errors import Cause
from protos.tensor import TensorSpec
from tests.clock import run
from tests.fakes import (
    NEVER,
    Delivered,
    FakeMember,
    Turn,
    answers,
    compiled,
    drive,
    ensemble,
    fakes,
    late,
    lost,
    nested_with,
    one,
    outcomes,
    raising,
    riders,
    seats,
    spec,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.strategies.base import Array, Ask, Exits, Mask, State
    from gateway.values import Rider


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
    assert got.at == pytest.approx(0.2)
    assert got.y == [2.0]
    assert outcomes(got) == {"a": ("CANCELLED", ""), "b": ("OK", ""), "c": ("CANCELLED", "")}
    assert not got.reply.report.degraded
    assert members["a"].asked[0].cancelled
    assert members["c"].asked[0].cancelled


def test_first_passes_over_members_that_fail() -> None:
    """The first usable answer counts; a quick failure is no answer."""
    members = fakes(a=lost(Cause.WORKER_CRASHED, 0.1), b=late(0.2, 2.0))
    got = one(members, {"e": ensemble(*seats("a", "b"), kind="first")}, [0.0])
    assert got.at == pytest.approx(0.2)
    assert got.y == [2.0]
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
    assert got.at == pytest.approx(0.2)
    assert got.reason == "INTERNAL"


def test_a_rider_whose_time_is_over_before_the_start_is_told_so_and_costs_nothing() -> None:
    """It waited too long for its turn: nobody is asked for its rows, and the others are not held up."""
    members = fakes(a=late(0.1, 1.0))
    plan = compiled(members, {"e": ensemble(*seats("a"))})

    async def main() -> tuple[list[Delivered], Rider, Rider]:
        await asyncio.sleep(1.0)
        over, fine = riders(1.02, 5.0)
        return await drive(members, plan, [10.0, 20.0], over, fine), over, fine

    (first, second), over, fine = run(main())
    assert (first.reply.riders, first.at, first.reason) == ((over,), 1.0, "DEADLINE_IN_QUEUE")
    assert (second.reply.riders, second.y) == ((fine,), [21.0])
    assert [asked.rows for asked in members["a"].asked] == [[20.0]]


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
    assert got.at == pytest.approx(0.3)
    assert got.y == [2.0]
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
    assert got.at == pytest.approx(0.1)
    assert got.y == [2.0]


def test_the_deadline_of_the_whole_ends_what_is_nested() -> None:
    """A nested ensemble that would wait longer gives what it has when the rider must be answered."""
    members = fakes(a=late(0.1, 1.0), slow=late(NEVER))
    plan = {
        "inner": ensemble(*seats("a", "slow"), quorum=1, deadline_s=60.0),
        "e": ensemble({"ensemble": "inner"}, deadline_s=1.0),
    }
    got = one(members, plan, [0.0])
    assert got.at == pytest.approx(0.95)
    assert got.y == [1.0]


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
    plan = nested_with(plan, Raises("combine"))
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
        for task in self._tasks:
            task.cancel()

    monkeypatch.setattr(Dispatch, "end", only_cancel)
    members, plan = slow_to_end()
    with pytest.raises(AssertionError, match="left running"):
        run(drive(members, compiled(members, plan), [0.0]))


def test_a_call_that_is_ending_is_not_cancelled_again() -> None:
    """Its end takes its time, whatever else happens meanwhile; a second blow would break into it."""
    members = {"m": FakeMember(spec("m"), Turn(after_s=NEVER, cancel_s=1.0, deaf=True))} | fakes(
        b=late(0.5, 1.0), c=late(0.7, 1.0)
    )
    plan = ensemble({"model": "m", "timeout_s": 0.2}, *seats("b", "c"), quorum=1)
    assert one(members, {"e": plan}, [0.0]).at == pytest.approx(0.7)
    assert members["m"].asked[0].ended == pytest.approx(1.2)


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
    assert got.at == pytest.approx(0.5)
    assert got.y == [21.0]
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
        await Engine(members).run(batch, lambda r: delivered.append(Delivered(0.0, r)))
        return delivered

    assert run(main()) == []
    assert members["a"].asked == []


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
    """Wherever a plug-in trips, each rider gets one final reply without the bug's text."""
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
