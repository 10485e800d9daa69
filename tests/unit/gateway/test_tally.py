"""What counts as an answer, row by row: screening, class order, and waves of rows."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from gateway.engine.compile import compile_ensemble
from gateway.engine.single import compile_model
from gateway.strategies.base import Array, Ask, Mask, State
from gateway.strategies.first import First
from gateway.strategies.means import Mean
from gateway.values import Rider
from protos.errors import Cause, Outcome
from protos.tensor import TensorSpec
from tests.clock import run
from tests.fakes import (
    NEVER,
    Cascade,
    FakeMember,
    Turn,
    adds,
    answers,
    compiled,
    config,
    drive,
    ensemble,
    fakes,
    late,
    lost,
    nested_with,
    one,
    one_of,
    outcomes,
    riders,
    seats,
    spec,
)

# --- screening -----------------------------------------------------------------------------------------


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
    y = np.array([[1.0], [np.nan]], ml_dtypes.bfloat16)
    outputs = (TensorSpec("y", "BF16", (-1, 1)),)
    members = {"a": FakeMember(spec("a", outputs=outputs), Turn(says=answers({"y": y})))}
    good, bad = riders(5.0, 5.0)
    plan = compiled(members, {"e": ensemble(*seats("a"))})
    got = {d.reply.riders[0]: d for d in run(drive(members, plan, [0.0, 0.0], good, bad))}
    assert got[bad].reason == "NONFINITE_OUTPUT"
    assert got[good].reason == ""


WRONG: dict[str, dict[str, Array]] = {
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


def test_riders_that_need_no_second_wave_leave_after_the_first() -> None:
    """The sure rider is answered at once; its report says whom nobody asked."""
    members = fakes(a=late(0.1), b=late(0.2, 100.0))
    plan = compiled(members, {"e": ensemble(*seats("a", "b"), quorum=1)}, strategy=Cascade())
    sure, unsure = riders(5.0, 5.0)
    first, second = run(drive(members, plan, [1.0, -2.0], sure, unsure))
    assert first.reply.riders == (sure,)
    assert first.at == pytest.approx(0.1)
    assert first.y == [1.0]
    assert outcomes(first) == {"a": ("OK", ""), "b": ("NOT_ASKED", "")}
    assert second.reply.riders == (unsure,)
    assert second.at == pytest.approx(0.3)
    assert second.y == [98.0]
    assert outcomes(second) == {"a": ("OK", ""), "b": ("OK", "")}


def test_no_wave_begins_when_the_time_is_over() -> None:
    """The first member is late at the very end of waiting; to ask the next one then would be in vain."""
    members = fakes(a=late(NEVER), b=late(0.1))
    plan = compiled(members, {"e": ensemble(*seats("a", "b"), deadline_s=1.0)}, strategy=Cascade())
    got = one_of(members, plan, [1.0])
    assert (got.reason, got.at) == ("DEADLINE_IN_MEMBER", 0.95)
    assert members["b"].asked == []
    assert outcomes(got) == {"a": ("FAILED", "MEMBER_TIMEOUT"), "b": ("NOT_ASKED", "")}


def test_a_wave_that_begins_in_time_asks_only_for_riders_who_can_wait() -> None:
    """Where one rider's time is over, the next member is asked for the other's rows alone."""
    members = fakes(a=late(NEVER), b=late(0.1, 100.0))
    plan = ensemble({"model": "a", "timeout_s": 0.6}, {"model": "b"}, quorum=1)
    short, long = riders(0.5, 5.0)
    delivered = run(
        drive(members, compiled(members, {"e": plan}, strategy=Cascade()), [1.0, 2.0], short, long)
    )
    assert [d.reply.riders for d in delivered] == [(short,), (long,)]
    assert [asked.rows for asked in members["b"].asked] == [[2.0]]
    assert delivered[1].y == [102.0]


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
    assert [d.reply.riders for d in delivered] == [(first,), (second,)]
    assert [d.at for d in delivered] == pytest.approx([0.45, 0.65])


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
    assert [d.reply.riders for d in delivered] == [(first,), (second,)]
    assert [d.at for d in delivered] == pytest.approx([0.45, 0.65])


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
    assert got.at == pytest.approx(0.3)
    assert got.y == [8.0]


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
