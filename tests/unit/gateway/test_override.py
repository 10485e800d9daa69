"""Overrides: what a request may change, and what that does to the plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.config.schema import Quorum
from gateway.engine.override import Overrides, apply, check_permitted
from protos.errors import AccordError, Cause, Reason
from protos.tensor import TensorSpec
from tests.clock import run
from tests.fakes import (
    FakeMember,
    Turn,
    adds,
    compiled,
    drive,
    ensemble,
    fakes,
    lost,
    one_of,
    outcomes,
    seats,
    spec,
)

if TYPE_CHECKING:
    from gateway.engine.plan import Plan

ALL = ("members", "quorum", "weights", "strategy")
EACH = {
    "members": Overrides(members=("a",)),
    "quorum": Overrides(quorum=Quorum(count=1)),
    "weights": Overrides(weights={"a": 2.0}),
    "strategy": Overrides(strategy="median"),
}


def three() -> dict[str, FakeMember]:
    return fakes(a=Turn(says=adds(1.0)), b=Turn(says=adds(3.0)), c=Turn(says=adds(8.0)))


def plan_of(members: dict[str, FakeMember], kind: str = "weighted_mean", **policy: Any) -> Plan:
    return compiled(members, {"e": ensemble(*seats(*members), kind=kind, **policy)})


def refused(plan: Plan, overrides: Overrides) -> AccordError:
    with pytest.raises(AccordError) as caught:
        apply(plan, overrides)
    assert caught.value.reason is Reason.PARAMETER_INVALID
    assert caught.value.metadata == {"model": "e"}
    return caught.value


@pytest.mark.parametrize("name", EACH)
def test_only_what_the_config_permits_may_be_overridden(name: str) -> None:
    """Each override needs its own permission; the error names it as the field."""
    plan = plan_of(three())
    check_permitted(plan, EACH[name], [name])
    with pytest.raises(AccordError) as caught:
        check_permitted(plan, EACH[name], [other for other in ALL if other != name])
    assert (caught.value.reason, caught.value.field) == (Reason.PARAMETER_INVALID, name)


def test_nothing_overridden_needs_no_permission() -> None:
    """A plain request passes everywhere."""
    assert Overrides().used() == []
    check_permitted(plan_of(three()), Overrides(), [])


def test_tasks_may_always_be_chosen_and_nothing_else() -> None:
    """Fewer tasks change no answer's meaning; fewer members of a mean do."""
    plan = plan_of(three(), "tasks")
    check_permitted(plan, EACH["members"], [])
    for name in ("quorum", "weights", "strategy"):
        with pytest.raises(AccordError):
            check_permitted(plan, EACH[name], [])


def test_members_not_chosen_are_not_asked_and_not_counted() -> None:
    """The default quorum is then all of the chosen; the report says who was left out."""
    members = three()
    got = one_of(members, apply(plan_of(members), Overrides(members=("c", "a"))), [0.0])
    assert got.y == [4.5]
    assert members["b"].asked == []
    assert outcomes(got)["b"] == ("NOT_ASKED", "")
    assert (got.reply.report.asked, got.reply.report.used) == (2, 2)
    assert not got.reply.report.degraded


def test_a_required_member_that_is_not_chosen_is_no_veto() -> None:
    """Whoever leaves it out does not wait for it."""
    members = three()
    plan = {"e": ensemble(*seats("a", "b"), {"model": "c", "required": True}, quorum=1)}
    got = one_of(members, apply(compiled(members, plan), Overrides(members=("a",))), [0.0])
    assert got.y == [1.0]


def test_a_barred_member_that_is_not_chosen_does_not_degrade() -> None:
    """It was not asked, so nothing is missing; the same goes for one that is barred inside an ensemble."""
    members = three() | {"d": FakeMember(spec("d", outputs=[TensorSpec("z", "FP32", (-1,))]))}
    from gateway.engine.compile import compile_ensemble
    from tests.fakes import config

    ensembles = {
        "inner": ensemble(*seats("a", "d"), quorum=1),
        "e": ensemble({"ensemble": "inner"}, *seats("b", "d"), quorum=1),
    }
    specs = {name: member.spec for name, member in members.items()}
    plan, problems = compile_ensemble(config(ensembles, members), "e", specs)
    assert len(problems) == 2
    (got,) = run(drive(members, apply(plan, Overrides(members=("b",))), [0.0]))
    assert got.y == [3.0]
    assert {outcome for outcome, _ in outcomes(got).values()} == {"OK", "NOT_ASKED"}
    assert not got.reply.report.degraded


def test_weights_replace_those_of_the_seats_they_name() -> None:
    """Seats that are not named keep their own."""
    members = three()
    got = one_of(members, apply(plan_of(members), Overrides(weights={"c": 0.0, "a": 3.0})), [0.0])
    assert got.y == [1.5]
    assert [seat.weight_used for seat in got.reply.report.seats] == [0.75, 0.25, 0.0]


def test_a_quorum_replaces_the_configured_one() -> None:
    """One of three is enough for this caller."""
    members = three() | {"b": FakeMember(spec("b"), lost(Cause.WORKER_CRASHED))}
    plan = plan_of(members)
    assert one_of(members, plan, [0.0]).reason == "QUORUM_NOT_MET"
    assert one_of(members, apply(plan, Overrides(quorum=Quorum(count=2))), [0.0]).y == [4.5]
    assert plan.merge.quorum is None, "the compiled plan is left as it was"


def test_unknown_names_are_refused_with_the_field() -> None:
    """The message lists the members there are."""
    plan = plan_of(three())
    for field, overrides in (
        ("members", Overrides(members=("a", "nope"))),
        ("weights", Overrides(weights={"nope": 1.0})),
    ):
        error = refused(plan, overrides)
        assert error.field == field
        assert "'nope'" in error.message
        assert "a, b, c" in error.message


def test_a_quorum_beyond_the_members_asked_is_refused() -> None:
    """Both by its own number and by a choice that is too small for the configured one."""
    plan = plan_of(three(), quorum=2)
    assert refused(plan, Overrides(quorum=Quorum(count=4))).field == "quorum"
    assert refused(plan, Overrides(members=("a",))).field == "quorum"
    apply(plan, Overrides(members=("a",), quorum=Quorum(count=1)))
    apply(plan, Overrides(members=("a",), quorum=Quorum(weight=1.0)))


def test_weights_that_are_all_zero_are_refused() -> None:
    """Nobody would count."""
    plan = plan_of(three())
    assert refused(plan, Overrides(weights={"a": 0.0, "b": 0.0, "c": 0.0})).field == "weights"
    assert refused(plan, Overrides(members=("a",), weights={"a": 0.0})).field == "weights"


def test_tasks_that_are_not_chosen_have_no_outputs() -> None:
    """The plan no longer promises what nobody will deliver, so asking for it is the request's fault."""
    plan = apply(plan_of(three(), "tasks"), Overrides(members=("c", "a")))
    assert [output.name for output in plan.outputs] == ["a.y", "c.y"]
    unchanged = apply(plan_of(three()), Overrides(members=("a",)))
    assert [output.name for output in unchanged.outputs] == ["y"]
