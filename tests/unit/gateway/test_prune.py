"""Pruning: what nobody wants is not asked for, and what is wanted comes out the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gateway.engine import derive
from gateway.engine.compile import MAX_SEATS, compile_ensemble
from gateway.engine.override import Overrides, apply
from gateway.engine.plan import seats_of
from gateway.engine.single import compile_model
from protos.errors import Cause
from protos.tensor import TensorSpec
from tests.clock import run
from tests.fakes import (
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
    one_of,
    outcomes,
    seats,
    spec,
)

if TYPE_CHECKING:
    from gateway.engine.plan import Plan

TWO = (TensorSpec("y", "FP32", (-1, 1)), TensorSpec("z", "FP32", (-1, 1)))


def two_headed(*names: str) -> dict[str, FakeMember]:
    said = {"y": np.array([[1.0]], np.float32), "z": np.array([[2.0]], np.float32)}
    return {name: FakeMember(spec(name, outputs=TWO), Turn(says=answers(said))) for name in names}


def asked_of(members: dict[str, FakeMember]) -> dict[str, list[tuple[str, ...]]]:
    """Return the outputs that each member was asked for, call by call."""
    return {name: [asked.question.outputs for asked in member.asked] for name, member in members.items()}


def wanting(members: dict[str, FakeMember], plan: Plan, *wanted: str) -> Any:
    return one_of(members, derive.wanting(plan, frozenset(wanted)), [0.0], wanted=wanted)


# --- tasks ---------------------------------------------------------------------------------------------


def test_tasks_that_are_not_wanted_are_not_asked() -> None:
    """Their members get no call, the report says NOT_ASKED, and the answer is not degraded."""
    members = fakes(a=late(0.1, 1.0), b=late(9.0), c=late(0.2, 3.0))
    plan = compiled(members, {"e": ensemble(*seats("a", "b", "c"), kind="tasks")})
    got = wanting(members, plan, "c.y", "a.y")
    assert list(got.reply.outputs) == ["c.y", "a.y"]
    assert got.at == pytest.approx(0.2)
    assert members["b"].asked == []
    assert outcomes(got)["b"] == ("NOT_ASKED", "")
    assert (got.reply.report.asked, got.reply.report.used) == (2, 2)
    assert not got.reply.report.degraded


def test_without_pruning_the_task_that_nobody_wants_is_waited_for() -> None:
    """Negative control: the whole plan answers the same, but asks and waits for everyone."""
    members = fakes(a=late(0.1, 1.0), b=late(9.0))
    plan = compiled(members, {"e": ensemble(*seats("a", "b"), kind="tasks")})
    got = one_of(members, plan, [0.0], wanted=["a.y"])
    assert got.at == pytest.approx(9.0)
    assert len(members["b"].asked) == 1


def test_only_the_wanted_outputs_of_a_task_are_requested() -> None:
    """The model is asked for one head where one head is wanted."""
    members = two_headed("a", "b")
    plan = compiled(members, {"e": ensemble(*seats("a", "b"), kind="tasks")})
    wanting(members, plan, "a.z")
    assert asked_of(members) == {"a": [("z",)], "b": []}


@pytest.mark.parametrize(("quorum", "need"), [(1, 1), (2, 2), (3, 2)])
def test_a_quorum_is_at_most_what_is_left(quorum: int, need: int) -> None:
    """A quorum of three of three tasks is one of two of two, when two are wanted; a smaller one stays."""
    members = fakes(a=late(0.1), b=late(0.1), c=lost(Cause.WORKER_CRASHED))
    plan = compiled(members, {"e": ensemble(*seats("a", "b", "c"), kind="tasks", quorum=quorum)})
    cut = derive.wanting(plan, frozenset({"a.y", "b.y"})).merge.quorum
    assert cut is not None
    assert cut.count == need
    assert wanting(members, plan, "a.y", "b.y").reason == ""


def test_by_default_all_wanted_tasks_are_needed() -> None:
    """Without a quorum, all means all that are left: a lost one of them is still an error."""
    members = fakes(a=late(0.1), b=lost(Cause.WORKER_CRASHED), c=lost(Cause.MEMBER_INTERNAL))
    plan = compiled(members, {"e": ensemble(*seats("a", "b", "c"), kind="tasks")})
    assert wanting(members, plan, "a.y").reason == ""
    assert wanting(members, plan, "a.y", "b.y").reason == "QUORUM_NOT_MET"


def test_a_share_of_the_weight_is_one_of_the_weight_that_is_left() -> None:
    """Half of the weight, once the heavy task is not wanted, is half of the rest."""
    members = fakes(a=late(0.1), b=lost(Cause.WORKER_CRASHED), heavy=late(0.1))
    plan = ensemble(*seats("a", "b"), {"model": "heavy", "weight": 8.0}, kind="tasks", quorum={"weight": 0.5})
    cut = derive.wanting(compiled(members, {"e": plan}), frozenset({"a.y", "b.y"}))
    assert cut.can_answer({"a"}.__contains__)


def test_a_required_task_that_is_not_wanted_is_no_veto() -> None:
    """It matters to whoever wants it."""
    members = fakes(a=late(0.1, 1.0), b=lost(Cause.WORKER_CRASHED))
    plan = compiled(members, {"e": ensemble({"model": "a"}, {"model": "b", "required": True}, kind="tasks")})
    assert wanting(members, plan, "a.y").reason == ""
    assert wanting(members, plan, "a.y", "b.y").reason == "MEMBER_UNAVAILABLE"


def test_a_barred_task_that_is_not_wanted_is_not_missed() -> None:
    """What is not known yet has no outputs to want; where everything is wanted it still counts as lost."""
    members = fakes(a=late(0.1, 1.0)) | {"b": FakeMember(None)}
    specs = {name: member.spec for name, member in members.items()}
    plan, _ = compile_ensemble(
        config({"e": ensemble(*seats("a", "b"), kind="tasks", quorum=1)}, members), "e", specs
    )
    assert not one_of(members, derive.wanting(plan, frozenset({"a.y"})), [0.0]).reply.report.seats[0].missing
    assert one_of(members, plan, [0.0]).reply.report.degraded


def test_to_want_everything_is_to_want_nothing_in_particular() -> None:
    """Naming all outputs gives the very plan that naming none does."""
    members = two_headed("a", "b")
    plan = compiled(members, {"e": ensemble(*seats("a", "b"), kind="tasks")})
    assert derive.wanting(plan, frozenset({"a.y", "a.z", "b.y", "b.z"})) is plan


def test_tasks_chosen_and_outputs_wanted_go_together() -> None:
    """Of the chosen tasks, only the wanted ones are asked; of a call that is not chosen nothing is read."""
    members = two_headed("a", "b", "c")
    chosen = apply(
        compiled(members, {"e": ensemble(*seats("a", "b", "c"), kind="tasks")}), Overrides(members=("a", "b"))
    )
    assert [call.model for call in chosen.calls] == ["a", "b"]
    wanting(members, chosen, "b.y")
    assert asked_of(members) == {"a": [], "b": [("y",)], "c": []}


# --- merges --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mean", "max", "median", "first"])
def test_of_outputs_that_are_merged_one_by_one_only_the_wanted_are_requested(kind: str) -> None:
    """Everyone is asked, and for nothing that is not wanted."""
    members = two_headed("a", "b")
    plan = compiled(members, {"e": ensemble(*seats("a", "b"), kind=kind)})
    got = wanting(members, plan, "z")
    assert got.reply.outputs["z"].array().tolist() == [[2.0]]
    assert asked_of(members) == {"a": [("z",)], "b": [("z",)]}


def test_a_label_needs_the_probabilities_behind_it() -> None:
    """Where outputs are made of each other, what they are made of is requested."""
    p = TensorSpec("p", "FP32", (-1, 2))
    said = answers({"p": np.array([[0.25, 0.75]], np.float32)})
    members = {name: FakeMember(spec(name, outputs=[p]), Turn(says=said)) for name in "ab"}
    got = wanting(members, compiled(members, {"e": ensemble(*seats("a", "b"), kind="soft_vote")}), "label")
    assert {name: t.array().tolist() for name, t in got.reply.outputs.items()} == {"label": [1]}
    assert got.reply.report.agreement is not None
    assert asked_of(members) == {"a": [("p",)], "b": [("p",)]}


def test_a_plain_model_is_asked_for_what_is_wanted() -> None:
    """Under its own name as well."""
    members = two_headed("a")
    plan = compile_model(config({}, members), "a", members["a"].spec)
    wanting(members, plan, "z")
    assert asked_of(members) == {"a": [("z",)]}


def test_what_nobody_wants_is_not_screened() -> None:
    """A NaN in another output costs the member nothing."""
    said = answers({"y": np.array([[np.nan]], np.float32), "z": np.array([[2.0]], np.float32)})
    members = {"a": FakeMember(spec("a", outputs=TWO), Turn(says=said))}
    plan = compiled(members, {"e": ensemble(*seats("a"))})
    assert one_of(members, plan, [0.0], wanted=["z"]).reason == "NONFINITE_OUTPUT"
    assert wanting(members, plan, "z").reason == ""


# --- nested and shared ---------------------------------------------------------------------------------


def test_pruning_goes_downwards() -> None:
    """Of a task that is an ensemble of tasks, only the wanted one is asked."""
    members = two_headed("a", "b", "c")
    plan = compiled(
        members,
        {
            "inner": ensemble(*seats("a", "b"), kind="tasks"),
            "e": ensemble({"ensemble": "inner"}, {"model": "c"}, kind="tasks"),
        },
    )
    got = wanting(members, plan, "inner.b.z")
    assert got.reply.outputs["inner.b.z"].array().tolist() == [[2.0]]
    assert asked_of(members) == {"a": [], "b": [("z",)], "c": []}
    assert outcomes(got) == {
        "inner": ("OK", ""),
        "inner/a": ("NOT_ASKED", ""),
        "inner/b": ("OK", ""),
        "c": ("NOT_ASKED", ""),
    }


def test_what_an_ensemble_never_reads_of_a_nested_one_is_never_asked_for() -> None:
    """The map says what is read; the rest of the nested ensemble is left alone in every request."""
    members = two_headed("a", "b", "c")
    plan = compiled(
        members,
        {
            "inner": ensemble(*seats("a", "b"), kind="tasks"),
            "e": ensemble({"ensemble": "inner", "outputs": {"y": "a.y", "z": "a.z"}}, {"model": "c"}),
        },
    )
    assert one_of(members, plan, [0.0]).y == [1.0]
    assert asked_of(members) == {"a": [("y", "z")], "b": [], "c": [("y", "z")]}
    assert [call.model for call in plan.calls] == ["a", "c"]


def test_a_shared_call_is_for_those_who_are_left() -> None:
    """Two tasks of one model are one call; with one of them it is that one's outputs and timeout."""
    members = two_headed("a")
    left = {"model": "a", "name": "left", "outputs": {"y": "y"}, "timeout_s": 0.5}
    right = {"model": "a", "name": "right", "outputs": {"z": "z"}, "timeout_s": 2.0}
    plan = compiled(members, {"e": ensemble(left, right, kind="tasks")})
    assert [(call.outputs, call.timeout_s) for call in plan.calls] == [(("y", "z"), 2.0)]
    cut = derive.wanting(plan, frozenset({"left.y"}))
    assert [(call.outputs, call.timeout_s) for call in cut.calls] == [(("y",), 0.5)]
    assert cut.inputs == plan.inputs


def test_a_pruned_plan_leaves_the_whole_one_as_it_was() -> None:
    """Plans are values: who wants less takes nothing from the others."""
    members = two_headed("a", "b")
    plan = compiled(members, {"e": ensemble(*seats("a", "b"), kind="tasks")})
    derive.wanting(plan, frozenset({"a.y"}))
    (delivered,) = run(drive(members, plan, [0.0]))
    assert sorted(delivered.reply.outputs) == ["a.y", "a.z", "b.y", "b.z"]


# --- diamonds ------------------------------------------------------------------------------------------


def diamonds(levels: int) -> dict[str, Any]:
    """Return ensembles each of which asks the one below it twice."""
    ensembles: dict[str, Any] = {"e0": ensemble({"model": "a"})}
    for level in range(1, levels):
        below = f"e{level - 1}"
        ensembles[f"e{level}"] = ensemble({"ensemble": below}, {"ensemble": below, "name": "again"})
    return ensembles


def test_ensembles_that_share_ensembles_are_compiled_once_each() -> None:
    """The answer is as if they were written out, and equal calls are still one."""
    members = {"a": FakeMember(spec("a"), Turn(says=adds(1.0)))}
    got = one_of(members, compiled(members, diamonds(4), "e3"), [1.0])
    assert got.y == [2.0]
    assert len(members["a"].asked) == 1
    paths = [seat.seat for seat in got.reply.report.seats]
    assert len(paths) == len(set(paths)) == 2 + 4 + 8 + 8
    assert "again/e1/again/a" in paths


def test_a_plan_has_a_bounded_number_of_seats() -> None:
    """Forty levels of doubling are refused in a moment, at the seats that are too many."""
    models = {"a": spec("a")}
    plan, problems = compile_ensemble(config(diamonds(40), models), "e39", models)
    assert sum(1 for _ in seats_of(plan.merge)) <= MAX_SEATS
    assert problems
    assert all("nest less" in problem.message for problem in problems)
