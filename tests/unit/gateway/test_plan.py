"""Plans: what is proved at load, what is barred, and which calls are made."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gateway.engine.compile import Problem, compile_ensemble
from gateway.engine.plan import Call, Merge, Plan
from gateway.engine.single import compile_model
from protos.errors import Cause
from protos.tensor import TensorSpec
from tests.clock import run
from tests.fakes import FakeMember, Turn, answers, config, drive, spec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from protos.model import ModelSpec

X = TensorSpec("x", "FP32", (-1, 4))
P = TensorSpec("p", "FP32", (-1, 3))
ABC, CBA, ABD = ("a", "b", "c"), ("c", "b", "a"), ("a", "b", "d")


def member(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, **more}


def compiling(
    models: Mapping[str, ModelSpec | None], kind: str, *members: Mapping[str, Any], **policy: Any
) -> tuple[Plan, list[Problem]]:
    """Compile one ensemble ``e`` over some models."""
    strategy = {"kind": kind, **policy.pop("options", {})}
    ensembles = {"e": {"strategy": strategy, "members": list(members), **policy}}
    return compile_ensemble(config(ensembles, models), "e", models)


def pair(
    first: ModelSpec | None, second: ModelSpec | None, kind: str = "mean", **policy: Any
) -> tuple[Plan, list[Problem]]:
    return compiling({"a": first, "b": second}, kind, member("a"), member("b"), **policy)


def told(problems: list[Problem], *words: str) -> None:
    """Assert that there is one problem, at the second seat, which says these words."""
    (problem,) = problems
    assert (problem.ensemble, problem.seat) == ("e", 1)
    for word in words:
        assert word in problem.message


def test_a_plan_takes_what_its_models_take_and_gives_what_its_strategy_yields() -> None:
    """Inputs are joined by name, an open dimension by the one that knows; the row limit is the smallest."""
    a = spec("a", inputs=[X, TensorSpec("z", "INT64", (-1,))], outputs=[P], max_rows=32)
    b = spec("b", inputs=[replace(X, shape=(-1, -1))], outputs=[replace(P, shape=(-1, -1))], max_rows=8)
    plan, problems = pair(a, b)
    assert problems == []
    assert plan.inputs == (X, TensorSpec("z", "INT64", (-1,)))
    assert plan.outputs == (P,)
    assert (plan.max_rows, plan.batches, plan.known, plan.kind) == (8, True, True, "mean")
    assert [call.model for call in plan.calls] == ["a", "b"]


def test_the_configured_row_limit_stands_above_the_models() -> None:
    """``max_rows`` of the config decides, for models that batch at all."""
    models = {"a": spec("a", max_rows=32)}
    settings = config({"e": {"strategy": {"kind": "mean"}, "members": [{"model": "a"}]}}, models)
    narrow = settings.model_copy(
        update={"models": {"a": settings.models["a"].model_copy(update={"max_rows": 5})}}
    )
    assert compile_ensemble(narrow, "e", models)[0].max_rows == 5
    assert compile_model(narrow, "a", models["a"]).max_rows == 5


def test_an_input_is_optional_only_if_nobody_needs_it() -> None:
    """One member that needs the tensor makes it needed."""
    maybe = replace(X, optional=True)
    assert not pair(spec("a", inputs=[maybe]), spec("b", inputs=[X]))[0].inputs[0].optional
    assert pair(spec("a", inputs=[maybe]), spec("b", inputs=[maybe]))[0].inputs[0].optional


def test_names_are_joined_by_the_members_maps() -> None:
    """``inputs`` and ``outputs`` say which tensor of the member is which of the ensemble."""
    models = {"a": spec("a", outputs=[P]), "b": spec("b", outputs=[replace(P, name="q")])}
    plan, problems = compiling(
        models, "mean", member("a", inputs={"x": "left"}), member("b", outputs={"p": "q"})
    )
    assert problems == []
    assert [i.name for i in plan.inputs] == ["left", "x"]
    a, b = plan.merge.seats
    assert isinstance(a.source, Call)
    assert a.source.inputs == (("x", "left"),)
    assert (b.readings[0].source, b.readings[0].spec.name) == ("q", "p")


def test_only_the_outputs_that_somebody_reads_are_asked_for() -> None:
    """A member's other outputs stay where they are."""
    both = [P, TensorSpec("embedding", "FP32", (-1, 512))]
    plan, _ = pair(spec("a", outputs=both), spec("b", outputs=both), options={"output": "p"})
    assert [call.outputs for call in plan.calls] == [("p",), ("p",)]


# --- what cannot be merged is barred -------------------------------------------------------------------


def test_another_datatype_bars_the_seat() -> None:
    """The problem names both members and what each has."""
    plan, problems = pair(spec("a", outputs=[P]), spec("b", outputs=[replace(P, datatype="FP64")]))
    told(problems, "'a'", "'b'", "FP32", "FP64")
    assert plan.merge.seats[1].barred is Cause.MEMBER_BAD_OUTPUT
    assert [call.model for call in plan.calls] == ["a"]
    assert plan.outputs == (P,)


def test_another_width_bars_the_seat() -> None:
    """Without labels, widths are all there is to compare."""
    _, problems = pair(spec("a", outputs=[P]), spec("b", outputs=[replace(P, shape=(-1, 4))]))
    told(problems, "[-1, 3]", "[-1, 4]")


def test_an_output_that_is_missing_bars_the_seat() -> None:
    """A member that lacks the merged output is told by name."""
    _, problems = pair(spec("a", outputs=[P]), spec("b"), options={"output": "p"})
    told(problems, "'b'", "'p'")


def test_an_unknown_output_in_a_map_bars_the_seat() -> None:
    """The map asks for a tensor that the model does not have."""
    models = {"a": spec("a"), "b": spec("b")}
    _, problems = compiling(models, "mean", member("a"), member("b", outputs={"y": "nope"}))
    told(problems, "'nope'", "'y'")


def test_an_unknown_input_in_a_map_bars_the_seat() -> None:
    """The map feeds a tensor that the model does not take."""
    models = {"a": spec("a"), "b": spec("b")}
    _, problems = compiling(models, "mean", member("a"), member("b", inputs={"nope": "x"}))
    told(problems, "'nope'")


@pytest.mark.parametrize(
    "other",
    [replace(X, datatype="FP64"), replace(X, shape=(-1, 5)), replace(X, shape=(-1, 4, 1))],
    ids=["datatype", "length", "rank"],
)
def test_inputs_that_cannot_be_one_tensor_bar_the_seat(other: TensorSpec) -> None:
    """Two members want different tensors under one name."""
    _, problems = pair(spec("a", inputs=[X]), spec("b", inputs=[other]))
    told(problems, "'x'", "'a'", "'b'")


def test_two_inputs_of_one_model_must_agree_on_the_tensor_they_share() -> None:
    """A map that feeds one request tensor to inputs of two datatypes cannot be right."""
    models = {
        "a": spec("a"),
        "b": spec("b", inputs=[replace(X, name="u"), TensorSpec("v", "INT64", (-1, 4))]),
    }
    seat = member("b", inputs={"u": "same", "v": "same"})
    _, problems = compiling(models, "mean", member("a"), seat)
    told(problems, "'same'", "INT64", "FP32")


def test_models_that_batch_do_not_mix_with_models_that_do_not() -> None:
    """Rows would mean two things at once."""
    still = spec("b", inputs=[replace(X, shape=(4,))], outputs=[TensorSpec("y", "FP32", (1,))], max_rows=0)
    _, problems = pair(spec("a", inputs=[X]), still)
    told(problems, "'b'", "does not batch")
    _, problems = pair(replace(still, name="a"), spec("b", inputs=[X]))
    told(problems, "'b'", "batches")


def test_an_output_that_must_be_named_bars_the_seats() -> None:
    """Two outputs could be the probabilities; nobody guesses, and each seat says what to write."""
    both = [replace(P, labels=ABC), TensorSpec("topic", "FP32", (-1, 3), ABD)]
    _, problems = pair(spec("a", outputs=both), spec("b", outputs=both), "soft_vote")
    assert [problem.seat for problem in problems] == [0, 1]
    assert all("`output:`" in problem.message for problem in problems)


def test_an_impossible_strategy_is_the_ensembles_problem() -> None:
    """Unknown kinds and options have no seat to blame."""
    for kind, options in (("meen", {}), ("mean", {"outputt": "y"})):
        _, (problem,) = compiling({"a": spec("a")}, kind, member("a"), options=options)
        assert problem.seat is None
        assert "did you mean" in problem.message


def test_a_model_that_is_not_known_yet_is_barred_without_being_a_problem() -> None:
    """It may come: the seat counts as failed until then, and a plan compiled later has it."""
    plan, problems = pair(spec("a"), None)
    assert problems == []
    seat = plan.merge.seats[1]
    assert (seat.barred, seat.source) == (Cause.MEMBER_NOT_READY, None)
    assert seat.problem
    assert plan.known
    later, _ = pair(spec("a"), spec("b"))
    assert later.merge.seats[1].barred is None


def test_a_plan_of_which_nothing_is_known_says_so() -> None:
    """Requests cannot be checked against it, so it is not ready rather than wrong."""
    plan, _ = pair(None, None)
    assert not plan.known
    assert not compile_model(config({}, ["a"]), "a", None).known


def test_a_barred_seat_fails_and_the_ensemble_lives_on() -> None:
    """With a quorum the others answer, and the report says why one is missing."""
    models = {
        "a": FakeMember(spec("a"), Turn(says=answers({"y": np.array([[2.0]], np.float32)}))),
        "b": FakeMember(spec("b", outputs=[TensorSpec("y", "FP64", (-1, 1))])),
    }
    plan, _ = compiling({n: m.spec for n, m in models.items()}, "mean", member("a"), member("b"), quorum=1)
    (got,) = run(drive(models, plan, [0.0]))
    assert got.y == [2.0]
    barred = got.reply.report.seats[1]
    assert (barred.outcome.name, barred.cause, barred.attempts) == ("UNUSABLE", Cause.MEMBER_BAD_OUTPUT, 0)
    assert models["b"].asked == []
    assert got.reply.report.degraded


# --- labels --------------------------------------------------------------------------------------------


def orders(plan: Plan, output: str = "p") -> list[list[int] | None]:
    readings = [r for seat in plan.merge.seats for r in seat.readings if r.spec.name == output]
    return [None if r.order is None else r.order.tolist() for r in readings]


def test_labels_of_the_first_member_are_the_order_for_all() -> None:
    """The second member's classes are put where the first one has them."""
    plan, problems = pair(
        spec("a", outputs=[replace(P, labels=ABC)]), spec("b", outputs=[replace(P, labels=("b", "c", "a"))])
    )
    assert problems == []
    assert orders(plan) == [None, [2, 0, 1]]
    assert plan.outputs == (replace(P, labels=ABC),)
    assert plan.merge.labels == {"p": ABC}


def test_labels_of_the_ensemble_stand_above_the_members() -> None:
    """Where the ensemble declares an order, every member is put into it."""
    labelled = [replace(P, labels=ABC)]
    plan, problems = pair(spec("a", outputs=labelled), spec("b", outputs=[P]), labels=CBA)
    assert problems == []
    assert orders(plan) == [[2, 1, 0], None]
    assert plan.outputs[0].labels == CBA


def test_other_classes_bar_the_seat() -> None:
    """Class sets must be equal; the problem names the difference."""
    _, problems = pair(
        spec("a", outputs=[replace(P, labels=ABC)]), spec("b", outputs=[replace(P, labels=ABD)])
    )
    told(problems, "'c'", "'d'")


def test_without_labels_only_widths_are_compared() -> None:
    """An unlabelled member joins a labelled one as it is."""
    plan, problems = pair(spec("a", outputs=[replace(P, labels=ABC)]), spec("b", outputs=[P]))
    assert problems == []
    assert orders(plan) == [None, None]


def test_labels_settle_an_open_class_axis() -> None:
    """Three labels mean three classes, so an answer of another width will be noticed."""
    wide = replace(P, shape=(-1, -1))
    plan, _ = pair(spec("a", outputs=[replace(wide, labels=ABC)]), spec("b", outputs=[wide]))
    assert [seat.readings[0].spec.shape for seat in plan.merge.seats] == [(-1, 3), (-1, 3)]
    assert plan.outputs[0].shape == (-1, 3)


def test_tasks_keep_their_own_classes() -> None:
    """Outputs that only stand side by side need not agree on anything, and are left as they come."""
    plan, problems = pair(
        spec("a", outputs=[replace(P, labels=ABC)]),
        spec("b", outputs=[replace(P, labels=("z", "y", "x"))]),
        "tasks",
    )
    assert problems == []
    assert [spec.labels for spec in plan.outputs] == [ABC, ("z", "y", "x")]
    plan, problems = pair(
        spec("a", outputs=[replace(P, labels=ABC)]), spec("b", outputs=[replace(P, labels=CBA)]), "tasks"
    )
    assert orders(plan) == [None, None]
    assert [spec.labels for spec in plan.outputs] == [ABC, CBA]


def test_classes_of_outputs_that_are_not_merged_need_not_agree() -> None:
    """The merge reads one output; what another one's classes are is nobody's business."""

    def both(labels: tuple[str, ...]) -> list[TensorSpec]:
        return [replace(P, labels=ABC), TensorSpec("topic", "FP32", (-1, 3), labels)]

    plan, problems = pair(spec("a", outputs=both(ABC)), spec("b", outputs=both(ABD)), options={"output": "p"})
    assert problems == []
    assert plan.merge.seats[1].barred is None


def test_names_keep_their_label_order_for_ties() -> None:
    """A vote on class names breaks ties by label order, so the order must reach the strategy."""
    label = TensorSpec("label", "BYTES", (-1,), CBA)
    plan, problems = pair(spec("a", outputs=[label]), spec("b", outputs=[replace(label, labels=ABC)]), "vote")
    assert problems == []
    assert orders(plan, "label") == [None, None]
    assert plan.merge.labels == {"label": CBA}
    votes = {
        name: FakeMember(spec(name, outputs=[label]), Turn(says=answers({"label": np.array([vote], object)})))
        for name, vote in (("a", b"a"), ("b", b"c"))
    }
    (got,) = run(drive(votes, plan, [0.0]))
    assert got.reply.outputs["label"].array().tolist() == [b"c"]


def test_the_ensembles_labels_order_names_that_no_member_orders() -> None:
    """Declared for a vote on bare names, they break its ties."""
    label = TensorSpec("label", "BYTES", (-1,))
    plan, _ = pair(spec("a", outputs=[label]), spec("b", outputs=[label]), "vote", labels=CBA)
    assert plan.merge.labels == {"label": CBA}


def test_class_indices_of_another_order_bar_the_seat() -> None:
    """Index 0 of one member is not index 0 of the other, and no axis can be reordered to mend that."""
    index = TensorSpec("index", "INT64", (-1,), ABC)
    _, problems = pair(spec("a", outputs=[index]), spec("b", outputs=[replace(index, labels=CBA)]), "vote")
    told(problems, "'index'")


def test_labels_on_a_number_without_classes_are_dropped() -> None:
    """One float per row has no class axis that labels could name."""
    score = TensorSpec("y", "FP32", (-1,), ABC)
    plan, problems = pair(spec("a", outputs=[score]), spec("b", outputs=[replace(score, labels=ABD)]))
    assert problems == []
    assert plan.outputs[0].labels == ()


# --- nested ensembles ----------------------------------------------------------------------------------


def nested(**policy: Any) -> dict[str, Any]:
    return {
        "inner": {"strategy": {"kind": "mean"}, "members": [{"model": "a"}, {"model": "b"}]},
        "e": {
            "strategy": {"kind": "mean"},
            "members": [{"ensemble": "inner", "name": "in"}, {"model": "a"}],
            **policy,
        },
    }


def test_a_nested_ensemble_is_inlined() -> None:
    """It becomes a merge inside the plan; its seats are named through it, and calls are shared with it."""
    models = {"a": spec("a"), "b": spec("b")}
    plan, problems = compile_ensemble(config(nested(), models), "e", models)
    assert problems == []
    assert isinstance(plan.merge.seats[0].source, Merge)
    assert [seat.name for seat in plan.seats()] == ["in", "a", "b", "a"]
    assert [call.model for call in plan.calls] == ["a", "b"]


def test_a_problem_inside_is_reported_where_it_is() -> None:
    """The seat at fault belongs to the inner ensemble, whoever uses it."""
    models = {"a": spec("a"), "b": spec("b", outputs=[TensorSpec("y", "FP64", (-1, 1))])}
    _, problems = compile_ensemble(config(nested(), models), "e", models)
    assert [(p.ensemble, p.seat) for p in problems] == [("inner", 1)]


def test_a_plan_can_answer_when_its_quorum_can_be_reached() -> None:
    """Nested quorums and required seats count; a barred seat cannot answer."""
    models = {"a": spec("a"), "b": spec("b")}
    plan, _ = compile_ensemble(config(nested(quorum=1), models), "e", models)
    assert plan.can_answer({"a", "b"}.__contains__)
    assert plan.can_answer({"a"}.__contains__)
    assert not plan.can_answer({"b"}.__contains__)
    strict = nested(quorum=1)
    strict["e"]["members"][0]["required"] = True
    plan, _ = compile_ensemble(config(strict, models), "e", models)
    assert not plan.can_answer({"a"}.__contains__)
    plan, _ = compile_ensemble(config(nested(quorum=1), models), "e", {"a": None, "b": spec("b")})
    assert not plan.can_answer({"a", "b"}.__contains__)


def test_where_the_first_answer_decides_one_is_enough_by_default() -> None:
    """The default quorum is all members, but for a strategy that takes the first."""
    assert pair(spec("a"), spec("b"))[0].merge.quorum is None
    first = pair(spec("a"), spec("b"), "first")[0].merge.quorum
    assert first is not None
    assert first.count == 1
