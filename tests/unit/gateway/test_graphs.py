"""Members that read members: what is asked when, what fails with what, and which wrong graphs are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gateway.engine.compile import MAX_SEATS, Problem, compile_ensemble
from gateway.engine.derive import lacking, wanting
from gateway.engine.override import Overrides, apply
from gateway.strategies.base import Ask
from gateway.values import Answer, Failure
from protos.errors import AccordError, Cause, Outcome
from protos.tensor import Tensor, TensorSpec
from tests.clock import run
from tests.fakes import (
    NEVER,
    Cascade,
    FakeMember,
    Turn,
    adds,
    compiled,
    config,
    drive,
    ensemble,
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
    from collections.abc import Mapping

    from gateway.strategies.base import State
    from gateway.values import Question
    from protos.model import ModelSpec


def reads(model: str, upstream: str, output: str = "y", **more: Any) -> dict[str, Any]:
    """Return a seat whose input x is another seat's output."""
    return {"model": model, "inputs": {"x": {"member": upstream, "output": output}}, **more}


def problems_of(
    models: Mapping[str, ModelSpec | None], *members: dict[str, Any], **policy: Any
) -> list[Problem]:
    return compile_ensemble(config({"e": ensemble(*members, **policy)}, models), "e", models)[1]


def test_a_member_is_asked_when_what_it_reads_is_there() -> None:
    """Three in a row: each gets the answer of the one before, at the moment it comes."""
    members = fakes(a=late(1.0, 1.0), b=late(2.0, 10.0), c=late(0.5, 100.0))
    got = one(members, {"e": ensemble(reads("c", "b"), {"model": "a"}, reads("b", "a"))}, [1.0, 2.0])
    assert got.y == [112.0, 113.0]
    assert [member.asked[0].at for member in members.values()] == [0.0, 1.0, 3.0]
    assert got.at == 3.5


def test_who_only_feeds_does_not_count_but_is_reported() -> None:
    """Asked and used count merged members; the feeder is in the report with weight 0 and its own times."""
    members = fakes(enc=late(1.0, 1.0), head=late(1.0, 2.0), plain=late(0.0, 3.0))
    got = one(members, {"e": ensemble({"model": "enc"}, reads("head", "enc"), *seats("plain"))}, [0.0])
    report = got.reply.report
    assert (report.asked, report.used, report.degraded) == (2, 2, False)
    assert got.y == [3.0]
    by_name = {seat.seat: seat for seat in report.seats}
    assert list(by_name) == ["head", "plain", "enc"]
    assert (by_name["enc"].weight_used, by_name["enc"].elapsed_s) == (0.0, 1.0)
    assert (by_name["head"].weight_used, by_name["head"].elapsed_s) == (0.5, 1.0)


def test_the_critical_path_leads_through_what_was_read() -> None:
    """Its time is that of all steps, so that it may be compared with the whole."""
    members = fakes(fast=late(0.5), slow=late(1.0), head=late(0.25))
    head = {
        "model": "head",
        "inputs": {"x": {"stack": [{"member": m, "output": "y"} for m in ("fast", "slow")]}},
    }
    members["head"].spec = spec("head", inputs=[TensorSpec("x", "FP32", (-1, 2))])
    members["head"]._turns = (
        Turn(says=lambda _: Answer({"y": Tensor.from_array(np.zeros((1, 1), "f4"))}), after_s=0.25),
    )
    path = one(members, {"e": ensemble(*seats("fast", "slow"), head)}, [0.0]).reply.report.critical_path
    assert path is not None
    assert (path.seat, path.elapsed_s) == ("slow > head", 1.25)


def test_one_that_is_read_twice_is_asked_once() -> None:
    """Two heads share the encoder's one call."""
    members = fakes(enc=late(1.0, 1.0), a=late(0.0, 10.0), b=late(0.0, 20.0))
    got = one(members, {"e": ensemble(*seats("enc"), reads("a", "enc"), reads("b", "enc"))}, [0.0])
    assert got.y == [16.0]
    assert len(members["enc"].asked) == 1


def test_one_that_counts_and_is_read_is_asked_once() -> None:
    """Its answer is a vote and an input at once."""
    members = fakes(a=late(1.0, 1.0), b=late(1.0, 10.0))
    got = one(members, {"e": ensemble({"model": "a", "counts": True}, reads("b", "a"))}, [0.0])
    assert got.y == [6.0]
    assert (len(members["a"].asked), got.reply.report.asked, len(got.reply.report.seats)) == (1, 2, 2)


def test_one_that_counts_and_is_read_is_asked_once_whoever_asks_first() -> None:
    """A strategy that asks in waves gets the answer that upstream has; one that is under way it waits for."""
    for after_s in (0.0, 9.0):
        members = fakes(a=late(1.0 + after_s), head=late(1.0))
        graph = ensemble(reads("head", "a", timeout_s=5.0), {"model": "a", "counts": True}, quorum=1)
        plan = compiled(members, {"e": graph}, strategy=Cascade())
        got = one_of(members, plan, [-1.0, 1.0])
        assert got.y == [-1.0, 1.0]
        assert [asked.rows for asked in members["a"].asked] == [[-1.0, 1.0]]
        assert {outcome for outcome, _ in outcomes(got).values()} <= {"OK", "FAILED"}
        assert outcomes(got)["a"] == ("OK", "")


class Later(Cascade):
    """Asks the first two seats, and the last when the second is in."""

    def plan(self, state: State) -> tuple[Ask, ...]:
        asks = (Ask(0, ~state.asked[0]), Ask(1, ~state.asked[1]), Ask(2, state.answered[1] & ~state.asked[2]))
        return tuple(ask for ask in asks if ask.rows.any())


def test_what_was_given_up_is_asked_again_when_somebody_reads_it_again() -> None:
    """A reader of a later wave does not wait for a call that was cancelled with its last reader."""
    members = fakes(first=late(0.5, 1.0), enc=late(1.5, 2.0), early=late(0.0), mid=late(2.0), head=late(0.0))
    early = reads("early", "enc", timeout_s=1.0)
    graph = ensemble(
        early, *seats("mid"), reads("head", "enc"), reads("enc", "first"), *seats("first"), quorum=1
    )
    got = one_of(members, compiled(members, {"e": graph}, strategy=Later()), [0.0])
    assert (got.at, got.y) == (3.5, [3.0])
    assert [(asked.at, asked.cancelled) for asked in members["enc"].asked] == [(0.5, True), (2.0, False)]
    assert len(members["first"].asked) == 1


def test_a_lost_member_takes_only_its_readers_with_it() -> None:
    """Readers fail for its cause, say whose it is, and were never asked; the others answer."""
    members = fakes(enc=lost(Cause.WORKER_CRASHED), a=late(0.0), b=late(0.0), plain=late(0.0, 5.0))
    graph = ensemble(*seats("enc", "plain"), reads("a", "enc"), reads("b", "a"), quorum=1)
    got = one(members, {"e": graph}, [0.0])
    assert got.y == [5.0]
    assert outcomes(got) == {
        "plain": ("OK", ""),
        "b": ("FAILED", "WORKER_CRASHED"),
        "enc": ("FAILED", "WORKER_CRASHED"),
        "a": ("FAILED", "WORKER_CRASHED"),
    }
    texts = {seat.seat: seat.message for seat in got.reply.report.seats}
    assert texts["b"] == f"it reads 'a': {Cause.WORKER_CRASHED.text}"
    assert {seat.seat: seat.attempts for seat in got.reply.report.seats} == {
        "plain": 1,
        "b": 0,
        "enc": 1,
        "a": 0,
    }
    assert not members["a"].asked
    assert not members["b"].asked


def test_the_error_for_a_lost_upstream_is_that_of_its_cause() -> None:
    """A crash may be retried though the reader itself did nothing wrong."""
    members = fakes(enc=lost(Cause.WORKER_CRASHED), head=late(0.0))
    assert (
        one(members, {"e": ensemble(*seats("enc"), reads("head", "enc"))}, [0.0]).reason == "QUORUM_NOT_MET"
    )
    members = fakes(enc=lost(Cause.MEMBER_INTERNAL), head=late(0.0))
    assert one(members, {"e": ensemble(*seats("enc"), reads("head", "enc"))}, [0.0]).reason == "INTERNAL"


def test_an_upstream_that_is_late_fails_its_readers_in_time() -> None:
    """Its own timeout ends the wait of all that read it."""
    members = fakes(enc=late(NEVER), head=late(0.0), plain=late(0.0, 5.0))
    graph = ensemble({"model": "enc", "timeout_s": 1.0}, reads("head", "enc"), *seats("plain"), quorum=1)
    got = one(members, {"e": graph}, [0.0])
    assert (got.at, got.y) == (1.0, [5.0])
    assert outcomes(got)["head"] == ("FAILED", "MEMBER_TIMEOUT")


def test_a_seats_timeout_includes_what_it_waits_for() -> None:
    """The reader is not waited for longer than its own time, whoever takes it."""
    members = fakes(enc=late(3.0), head=late(0.0), plain=late(0.0, 5.0))
    graph = ensemble(*seats("enc"), reads("head", "enc", timeout_s=1.0), *seats("plain"), quorum=1)
    got = one(members, {"e": graph}, [0.0])
    assert (got.at, got.y) == (1.0, [5.0])
    assert members["enc"].asked[0].cancelled
    assert not members["head"].asked


def test_what_is_read_by_nobody_any_more_is_cancelled() -> None:
    """When the last reader's time is over, all of its upstream ends, though others are still waited for."""
    members = fakes(first=late(3.0), enc=late(3.0), head=late(0.0), plain=late(2.0, 5.0))
    head = reads("head", "enc", timeout_s=1.0)
    graph = ensemble(*seats("first", "plain"), reads("enc", "first"), head, quorum=1)
    got = one(members, {"e": graph}, [0.0])
    assert (got.at, got.y) == (2.0, [5.0])
    assert members["first"].asked[0].ended == 1.0
    assert not members["enc"].asked
    assert {name: outcome for name, (outcome, _) in outcomes(got).items()} == {
        "plain": "OK",
        "head": "FAILED",
        "first": "CANCELLED",
        "enc": "CANCELLED",
    }


def test_a_rejected_input_is_told_to_the_rider_who_sent_it() -> None:
    """Upstream is asked again rider by rider; the innocent one's reader goes on with its rows."""

    def picky(question: Question) -> Answer | Failure:
        x = question.inputs["x"].array()
        return Failure(Cause.MEMBER_REJECTED_INPUT) if (x < 0).any() else adds(1.0)(question)

    members = fakes(enc=Turn(says=picky), head=late(1.0, 10.0))
    plan = compiled(members, {"e": ensemble(*seats("enc"), reads("head", "enc"))})
    got = run(drive(members, plan, [-1.0, 2.0], *riders(9.0, 9.0)))
    told = {delivered.reply.riders[0].id: delivered for delivered in got}
    assert told["r0"].reason == "INPUT_REJECTED"
    assert told["r1"].y == [13.0]


def test_rows_go_on_by_themselves() -> None:
    """Where upstream is asked rider by rider, its reader is asked for each as soon as its rows are there."""
    members = fakes(enc=Turn(), head=late(0.0, 10.0))
    members["enc"] = FakeMember(spec("enc", independent=False), late(1.0, 1.0), late(5.0, 2.0))
    plan = compiled(members, {"e": ensemble(*seats("enc"), reads("head", "enc"))})
    got = run(drive(members, plan, [0.0, 0.0], *riders(9.0, 9.0)))
    assert [(each.at, each.y) for each in got] == [(1.0, [11.0]), (5.0, [12.0])]


def test_who_leaves_ends_what_runs_upstream() -> None:
    """Nothing is asked for nobody."""
    members = fakes(enc=late(5.0), head=late(0.0))
    plan = compiled(members, {"e": ensemble(*seats("enc"), reads("head", "enc"))})
    (rider,) = riders(9.0)
    assert run(drive(members, plan, [0.0], rider, leaving=[(1.0, rider)])) == []
    assert members["enc"].asked[0].ended == 1.0
    assert not members["head"].asked


def test_outputs_stand_side_by_side_in_a_stack() -> None:
    """A meta-model reads a matrix of what its members say, one column for an output without an axis."""

    def total(question: Question) -> Answer:
        features = question.inputs["x"].array()
        assert features.shape == (2, 3)
        return Answer({"y": Tensor.from_array(features.sum(axis=1, keepdims=True))})

    members = fakes(a=late(0.0, 1.0), meta=Turn(says=total))
    pair = Answer(
        {"p": Tensor.from_array(np.array([[1, 2], [3, 4]], "f4")), "s": Tensor.from_array(np.ones(2, "f4"))}
    )
    members["b"] = FakeMember(
        spec("b", outputs=[TensorSpec("p", "FP32", (-1, 2)), TensorSpec("s", "FP32", (-1,))]),
        Turn(says=lambda _: pair),
    )
    members["meta"].spec = spec("meta", inputs=[TensorSpec("x", "FP32", (-1, 3))])
    stack = [{"member": "b", "output": "p"}, {"member": "b", "output": "s"}]
    meta = {"model": "meta", "inputs": {"x": {"stack": stack}}}
    assert one(members, {"e": ensemble(*seats("b"), meta)}, [0.0, 0.0]).y == [4.0, 8.0]
    stack = [{"member": "a", "output": "y"}, {"member": "b", "output": "p"}]
    meta = {"model": "meta", "inputs": {"x": {"stack": stack}}}
    assert one(members, {"e": ensemble(*seats("a", "b"), meta)}, [0.0, 1.0]).y == [4.0, 9.0]


def test_an_ensemble_feeds_and_is_fed() -> None:
    """Its merged output is an input like any other, and its request's tensors may be a member's outputs."""
    members = fakes(a=late(1.0, 1.0), b=late(2.0, 3.0), head=late(0.0, 10.0))
    inner = ensemble(*seats("a", "b"))
    feeds = ensemble({"ensemble": "inner"}, reads("head", "inner"))
    got = one(members, {"e": feeds, "inner": inner}, [0.0])
    assert (got.at, got.y) == (2.0, [12.0])
    assert [seat.seat for seat in got.reply.report.seats] == ["head", "inner", "inner/a", "inner/b"]
    fed = ensemble(*seats("head"), {"ensemble": "inner", "inputs": {"x": {"member": "head", "output": "y"}}})
    assert one(members, {"e": fed, "inner": inner}, [0.0]).y == [12.0]
    renamed = ensemble({"ensemble": "inner", "inputs": {"x": "z"}})
    plan = compiled(members, {"e": renamed, "inner": inner})
    assert [spec.name for spec in plan.inputs] == ["z"]
    assert one_of(members, plan, {"z": np.zeros((1, 1), "f4")}).y == [2.0]


def test_an_upstream_ensemble_that_misses_its_quorum_fails_its_readers() -> None:
    """With the cause that its own verdict gives."""
    members = fakes(a=lost(Cause.MEMBER_INTERNAL), b=late(0.0), head=late(0.0), plain=late(0.0, 5.0))
    graph = ensemble({"ensemble": "inner"}, reads("head", "inner"), *seats("plain"), quorum=1)
    got = one(members, {"e": graph, "inner": ensemble(*seats("a", "b"))}, [0.0])
    assert got.y == [5.0]
    assert outcomes(got)["head"] == ("FAILED", "MEMBER_INTERNAL")


def test_a_part_that_one_rider_lost_is_there_for_the_others() -> None:
    """What a nested ensemble left out of one rider's answer, readers still get for another rider's rows."""

    def picky(question: Question) -> Answer | Failure:
        x = question.inputs["x"].array()
        return Failure(Cause.MEMBER_INTERNAL) if (x < 0).any() else adds(1.0)(question)

    members = fakes(b=late(0.0), head=late(0.0, 10.0), plain=late(0.0, 7.0))
    members["a"] = FakeMember(spec("a", independent=False), Turn(says=picky))
    inner = ensemble(*seats("a", "b"), kind="tasks", quorum=1)
    read = [reads("head", "inner", "a.y"), reads("plain", "inner", "b.y")]
    plan = compiled(members, {"e": ensemble({"ensemble": "inner"}, *read, quorum=1), "inner": inner})
    got = run(drive(members, plan, [-1.0, 2.0], *riders(9.0, 9.0)))
    assert {each.reply.riders[0].id: each.y for each in got} == {"r0": [6.0], "r1": [11.0]}


def test_a_lost_part_of_an_ensemble_fails_its_readers_for_its_own_cause() -> None:
    """The fault is that of the member that owes the part, so nobody is told to try again in vain."""
    members = fakes(a=lost(Cause.MEMBER_INTERNAL), b=late(0.0), head=late(0.0), other=late(0.0, 5.0))
    read = [reads("head", "inner", "a.y"), reads("other", "inner", "b.y")]
    graph = ensemble({"ensemble": "inner"}, *read)
    got = one(members, {"e": graph, "inner": ensemble(*seats("a", "b"), kind="tasks", quorum=1)}, [0.0])
    assert outcomes(got)["head"] == ("FAILED", "MEMBER_INTERNAL")
    assert got.reason == "INTERNAL"


def test_outputs_that_cannot_stand_side_by_side_cost_their_reader_alone() -> None:
    """Lengths that only the answers show do not agree: the reader rejects that, and the others answer."""
    members = fakes(plain=late(0.0, 5.0), meta=late(0.0))
    for name, length in (("a", 3), ("b", 4)):
        said = Answer({"y": Tensor.from_array(np.zeros((1, length, 2), "f4"))})
        members[name] = FakeMember(
            spec(name, outputs=[TensorSpec("y", "FP32", (-1, -1, 2))]), Turn(says=lambda _, said=said: said)
        )
    members["meta"].spec = spec("meta", inputs=[TensorSpec("x", "FP32", (-1, -1, 4))])
    stack = [{"member": "a", "output": "y"}, {"member": "b", "output": "y"}]
    meta = {"model": "meta", "inputs": {"x": {"stack": stack}}}
    got = one(members, {"e": ensemble(*seats("a", "b", "plain"), meta, quorum=1)}, [0.0])
    assert got.y == [5.0]
    assert outcomes(got)["meta"] == ("FAILED", "MEMBER_REJECTED_INPUT")
    assert not members["meta"].asked


@pytest.mark.parametrize("value", [np.float32(3), np.bool_(True), b"ab"])
@pytest.mark.parametrize("shape", [(), (1,)])
def test_a_model_that_does_not_batch_passes_on_any_tensor(value: Any, shape: tuple[int, ...]) -> None:
    """One without axes as well, strings included."""
    array = np.array(value, object if isinstance(value, bytes) else None).reshape(shape)
    said = Tensor.from_array(array)
    taken = TensorSpec("x", said.datatype, shape)
    own = TensorSpec("y", said.datatype, shape)
    alone = spec("enc", inputs=[TensorSpec("x", "FP32", (1,))], outputs=[own], max_rows=0)
    members = {
        "enc": FakeMember(alone, Turn(says=lambda _: Answer({"y": said}))),
        "head": FakeMember(
            spec("head", inputs=[taken], outputs=[own], max_rows=0),
            Turn(says=lambda question: Answer({"y": question.inputs["x"]})),
        ),
    }
    plan = compiled(members, {"e": ensemble(*seats("enc"), reads("head", "enc"), kind="tasks")})
    got = one_of(members, plan, {"x": np.zeros(1, "f4")})
    assert got.reply.outputs["head.y"].array().tolist() == array.tolist()
    assert got.reply.outputs["head.y"].shape == shape


def test_each_rider_is_told_what_became_of_its_own_rows() -> None:
    """Of a reader that was not asked for one rider and failed for another, neither is told both."""

    def picky(question: Question) -> Answer | Failure:
        x = question.inputs["x"].array()
        return Failure(Cause.WORKER_CRASHED) if (x < 0).any() else adds(1.0)(question)

    members = fakes(head=lost(Cause.MEMBER_INTERNAL), plain=late(0.0, 7.0))
    members["enc"] = FakeMember(spec("enc", independent=False), Turn(says=picky))
    plan = compiled(members, {"e": ensemble(*seats("enc", "plain"), reads("head", "enc"), quorum=1)})
    got = run(drive(members, plan, [-1.0, 2.0], *riders(9.0, 9.0)))
    heads = {
        each.reply.riders[0].id: next(s for s in each.reply.report.seats if s.seat == "head") for each in got
    }
    told = {rider: (head.message, head.attempts) for rider, head in heads.items()}
    assert told == {
        "r0": (f"it reads 'enc': {Cause.WORKER_CRASHED.text}", 0),
        "r1": (Cause.MEMBER_INTERNAL.text, 1),
    }


class RowByRow(Cascade):
    """Asks the first seat for all rows, and the second for one more row whenever it has answered the last."""

    def plan(self, state: State) -> tuple[Ask, ...]:
        rows = np.zeros(state.n, np.bool_)
        if state.asked[1].sum() == state.answered[1].sum() < state.n:
            rows[state.answered[1].sum()] = True
        asks = (Ask(0, ~state.asked[0]), Ask(1, rows))
        return tuple(ask for ask in asks if ask.rows.any())


def test_each_wave_is_an_attempt_whether_or_not_others_are_read() -> None:
    """A reader that is asked three times was asked three times."""
    members = fakes(enc=late(0.0), plain=late(0.0), head=late(0.0))
    for head in ([*seats("head")], [reads("head", "enc"), *seats("enc")]):
        plan = compiled(members, {"e": ensemble(*seats("plain"), *head)}, strategy=RowByRow())
        seat = one_of(members, plan, [0.0, 0.0, 0.0]).reply.report.seats[1]
        assert (seat.seat, seat.attempts) == ("head", 3)


def test_one_that_counts_and_is_asked_only_for_a_reader_is_reported_as_a_feeder() -> None:
    """Where a request leaves it out, or wants nothing of it, its own times are told all the same."""
    members = fakes(a=late(1.0, 1.0), b=late(0.0, 2.0))
    graph = ensemble({"model": "a", "counts": True}, reads("b", "a"), kind="tasks")
    plan = compiled(members, {"e": graph})
    for cut in (wanting(plan, frozenset({"b.y"})), apply(plan, Overrides(members=("b",)))):
        report = one_of(members, cut, [0.0]).reply.report
        assert (report.asked, report.used) == (1, 1)
        told = {seat.seat: (seat.outcome, seat.weight_used, seat.elapsed_s) for seat in report.seats}
        assert told == {"a": (Outcome.OK, 0.0, 1.0), "b": (Outcome.OK, 1.0, 0.0)}


def test_members_of_nested_ensembles_are_told_apart() -> None:
    """A feeder in an ensemble that is asked twice, of different inputs, is named by the way to it."""
    members = fakes(enc=late(0.0, 1.0), head=late(0.0))
    inner = ensemble(*seats("enc"), reads("head", "enc"))
    outer = ensemble(
        {"ensemble": "inner", "name": "left"}, {"ensemble": "inner", "name": "right", "inputs": {"x": "z"}}
    )
    plan = compiled(members, {"e": outer, "inner": inner})
    got = one_of(members, plan, {"x": np.zeros((1, 1), "f4"), "z": np.ones((1, 1), "f4")})
    assert got.y == [1.5]
    assert list(outcomes(got)) == ["left", "left/head", "right", "right/head", "left/enc", "right/enc"]


def test_two_seats_that_ask_the_same_wait_as_long_as_either() -> None:
    """The shorter time of one does not fail who reads the other."""
    members = fakes(enc=late(2.0), one=late(0.0), two=late(0.0, 5.0))
    hasty = {"model": "enc", "name": "hasty", "timeout_s": 1.0}
    patient = {"model": "enc", "name": "patient"}
    graph = ensemble(hasty, patient, reads("one", "hasty"), reads("two", "patient"))
    got = one(members, {"e": graph}, [0.0])
    assert (got.at, got.y) == (2.0, [2.5])
    assert len(members["enc"].asked) == 1


def test_an_ensemble_may_read_an_ensemble() -> None:
    """Each is asked when its reader needs it, and is not taken for one whose members have all been heard."""
    members = fakes(a=late(1.0, 1.0), b=late(1.0, 10.0), c=late(1.0, 100.0), head=late(0.0))
    graph = {
        "e": ensemble(
            {"ensemble": "one"},
            {"ensemble": "two", "inputs": {"x": {"member": "one", "output": "y"}}},
            {"ensemble": "three", "inputs": {"x": {"member": "two", "output": "y"}}},
            reads("head", "three"),
        ),
        "one": ensemble(*seats("a")),
        "two": ensemble(*seats("b")),
        "three": ensemble(*seats("c")),
    }
    got = one(members, graph, [0.0])
    assert (got.reason, got.at, got.y) == ("", 3.0, [111.0])


def test_nothing_is_asked_for_outputs_that_nobody_wants() -> None:
    """Neither the seat that owes them nor what it would have read."""
    members = fakes(enc=late(0.0, 1.0), a=late(0.0, 10.0), b=late(0.0, 20.0))
    own = {"outputs": {"z": "y"}}
    graph = ensemble(*seats("enc", "b"), reads("a", "enc", **own), kind="tasks")
    graph["strategy"]["prefix"] = False
    plan = compiled(members, {"e": graph})
    assert [spec.name for spec in plan.outputs] == ["y", "z"]
    assert one_of(members, wanting(plan, frozenset("y")), [0.0], wanted=["y"]).y == [20.0]
    assert not members["enc"].asked
    assert not members["a"].asked


def optional_graph() -> tuple[dict[str, FakeMember], dict[str, Any]]:
    """Return a model of text and one of an image with a head, whose image may be absent."""
    members = fakes(text=late(0.0, 1.0), enc=late(0.0, 2.0), head=late(0.0, 10.0))
    image = {"model": "enc", "inputs": {"x": "image"}}
    graph = ensemble(*seats("text"), image, reads("head", "enc"), optional_inputs=["image"], quorum=2)
    return members, {"e": graph}


def test_an_absent_optional_input_prunes_who_needs_it() -> None:
    """They are not asked, the report says why, the quorum is what is left, and nothing is called degraded."""
    members, graph = optional_graph()
    plan = compiled(members, graph)
    assert {spec.name: spec.optional for spec in plan.inputs} == {"x": False, "image": True}
    zeros = np.zeros((1, 1), "f4")
    assert one_of(members, plan, {"x": zeros, "image": zeros}).y == [6.5]
    got = one_of(members, lacking(plan, frozenset({"image"})), {"x": zeros})
    assert (got.y, got.reply.report.degraded) == ([1.0], False)
    assert outcomes(got) == {"text": ("OK", ""), "head": ("NOT_ASKED", ""), "enc": ("NOT_ASKED", "")}
    told = {seat.seat: seat.message for seat in got.reply.report.seats}
    assert "input 'image'" in told["enc"]
    assert "member 'enc'" in told["head"]
    assert len(members["enc"].asked) == 1


def test_a_model_that_can_do_without_is_asked_without() -> None:
    """Of an absent tensor's readers, only those that need it are pruned."""
    members = fakes(a=late(0.0, 1.0), enc=late(0.0))
    both = [TensorSpec("x", "FP32", (-1, 1)), TensorSpec("h", "FP32", (-1, 1), optional=True)]
    members["a"].spec = spec("a", inputs=both)
    enc = {"model": "enc", "inputs": {"x": "image"}}
    a = {"model": "a", "inputs": {"h": {"member": "enc", "output": "y"}}}
    plan = compiled(members, {"e": ensemble(enc, a, optional_inputs=["image"])})
    got = one_of(members, lacking(plan, frozenset({"image"})), [0.0])
    assert got.y == [1.0]
    assert list(members["a"].asked[0].question.inputs) == ["x"]


def test_a_part_of_an_ensemble_that_cannot_be_made_is_missed_by_nobody() -> None:
    """Who reads it is not asked, who reads another part is; it cannot be wanted, nor merged."""
    members = fakes(a=late(0.0, 1.0), b=late(0.0, 2.0), head=late(0.0), other=late(0.0, 20.0))
    inner = ensemble({"model": "a", "inputs": {"x": "image"}}, *seats("b"), kind="tasks")
    image = frozenset({"image"})

    read = [reads("head", "inner", "a.y"), reads("other", "inner", "b.y")]
    graph = ensemble({"ensemble": "inner"}, *read, optional_inputs=["image"])
    got = one_of(members, lacking(compiled(members, {"e": graph, "inner": inner}), image), [0.0])
    assert got.y == [22.0]
    assert not got.reply.report.degraded
    assert outcomes(got)["head"] == ("NOT_ASKED", "")
    told = {seat.seat: seat.message for seat in got.reply.report.seats}
    assert "'a.y' of member 'inner'" in told["head"]

    side_by_side = ensemble({"ensemble": "inner"}, *seats("other"), kind="tasks", optional_inputs=["image"])
    plan = lacking(compiled(members, {"e": side_by_side, "inner": inner}), image)
    assert [spec.name for spec in plan.outputs] == ["inner.b.y", "other.y"]
    assert one_of(members, plan, [0.0]).reply.outputs.keys() == {"inner.b.y", "other.y"}

    for name in ("other", "pair"):
        two = [TensorSpec("y", "FP32", (-1, 1)), TensorSpec("z", "FP32", (-1, 1))]
        said = {key.name: Tensor.from_array(np.ones((1, 1), "f4")) for key in two}
        members[name] = FakeMember(spec(name, outputs=two), Turn(says=lambda _, said=said: Answer(said)))
    merged = ensemble(
        {"ensemble": "inner", "outputs": {"y": "a.y", "z": "b.y"}},
        *seats("other", "pair"),
        optional_inputs=["image"],
    )
    got = one_of(members, lacking(compiled(members, {"e": merged, "inner": inner}), image), [0.0])
    assert (got.y, got.reply.report.degraded) == ([1.0], False)
    assert outcomes(got)["inner"] == ("NOT_ASKED", "")


def test_a_request_that_leaves_nobody_is_told_what_it_lacks() -> None:
    """Rather than that a quorum was missed."""
    members = fakes(a=late(0.0))
    for quorum in ({}, {"quorum": 1}, {"quorum": {"weight": 0.5}}):
        inner = ensemble(*seats("a"), **quorum)
        outer = ensemble({"ensemble": "inner"}, optional_inputs=["x"], **quorum)
        plan = compiled(members, {"e": outer, "inner": inner})
        with pytest.raises(AccordError, match="input 'x' is missing"):
            lacking(plan, frozenset("x"))


def test_a_plan_is_ready_when_what_feeds_it_is() -> None:
    """A head whose encoder is down cannot be asked."""
    members = fakes(enc=late(0.0), head=late(0.0))
    plan = compiled(members, {"e": ensemble(*seats("enc"), reads("head", "enc"))})
    assert plan.can_answer(lambda _: True)
    assert not plan.can_answer(lambda name: name != "enc")


def ladder(steps: int) -> tuple[dict[str, FakeMember], dict[str, Any]]:
    """Return a graph of two members on each step, both of which read both of the step before."""
    members = fakes(a0=late(1.0), b0=late(1.0))
    configured = seats("a0", "b0")
    for step in range(1, steps):
        stack = [{"member": f"{side}{step - 1}", "output": "y"} for side in "ab"]
        for name in (f"a{step}", f"b{step}"):
            wide = spec(name, inputs=[TensorSpec("x", "FP32", (-1, 2))])
            members[name] = FakeMember(wide, late(0.0))
            configured.append({"model": name, "inputs": {"x": {"stack": stack}}})
    return members, {"e": ensemble(*configured)}


def test_a_graph_of_many_paths_is_walked_once() -> None:
    """With 64 members there are more ways through it than could ever be walked one by one."""
    members, graph = ladder(32)
    plan = compiled(members, graph)
    asked: list[str] = []
    assert plan.can_answer(lambda name: not asked.append(name))
    assert sorted(asked) == sorted(members)
    first, second = riders(9.0, 0.5)
    got = run(drive(members, plan, [0.0, 1.0], first, second, leaving=[(0.2, first)]))
    assert [each.at for each in got] == [second.closes_at]


def test_a_reader_of_an_unknown_model_waits_with_it() -> None:
    """That is no fault of the configuration."""
    models = {"enc": None, "head": spec("head"), "plain": spec("plain")}
    members = [*seats("enc", "plain"), reads("head", "enc")]
    plan, problems = compile_ensemble(config({"e": ensemble(*members)}, models), "e", models)
    assert problems == []
    assert {seat.name: seat.barred for seat in plan.merge.seats} == {
        "plain": None,
        "head": Cause.MEMBER_NOT_READY,
    }


def test_what_a_nested_ensemble_of_unknown_models_returns_is_not_known_to_be_wrong() -> None:
    """Where its models are all remote, nothing is known at the start; whoever reads it waits with it."""
    models = {"far": None, "head": spec("head"), "plain": spec("plain")}
    inner = {"strategy": {"kind": "tasks", "prefix": False}, "members": seats("far")}
    named = {"ensemble": "inner", "outputs": {"y": "far_y"}}
    for member in (named, {"ensemble": "inner"}):
        read = [] if member is named else [reads("head", "inner", "far_y")]
        ensembles = {"e": ensemble(member, *seats("plain"), *read), "inner": inner}
        plan, problems = compile_ensemble(config(ensembles, models), "e", models)
        assert problems == []
        waiting = [seat.barred for seat in plan.merge.seats if seat.name != "plain"]
        assert waiting == [Cause.MEMBER_NOT_READY]


WIDE = TensorSpec("x", "FP32", (-1, 3))


@pytest.mark.parametrize(
    ("models", "members", "seat", "own", "words"),
    [
        pytest.param(
            {"enc": spec("enc"), "head": spec("head")},
            [*seats("enc"), reads("head", "enc", "embeding")],
            1,
            "x",
            "reads 'embeding' of member 'enc', which returns 'y'",
            id="missing output",
        ),
        pytest.param(
            {"enc": spec("enc"), "head": spec("head", inputs=[WIDE])},
            [*seats("enc"), reads("head", "enc")],
            1,
            "x",
            "takes 'x' as FP32 [-1, 3], but 'y' of member 'enc' is FP32 [-1, 1]",
            id="shape",
        ),
        pytest.param(
            {"enc": spec("enc", outputs=[TensorSpec("y", "INT64", (-1, 1))]), "head": spec("head")},
            [*seats("enc"), reads("head", "enc")],
            1,
            "x",
            "takes 'x' as FP32 [-1, 1], but 'y' of member 'enc' is INT64 [-1, 1]",
            id="datatype",
        ),
        pytest.param(
            {"enc": spec("enc"), "head": spec("head")},
            [*seats("enc"), {"model": "head", "inputs": {"z": {"member": "enc", "output": "y"}}}],
            1,
            "z",
            "'head' has no input 'z'; it takes 'x'",
            id="input",
        ),
        pytest.param(
            {
                "enc": spec("enc"),
                "head": spec("head"),
                "odd": spec("odd", outputs=[TensorSpec("z", "FP32", (-1, 1))]),
            },
            [*seats("enc"), reads("head", "enc"), *seats("odd")],
            2,
            "",
            "no member reads 'odd' either",
            id="unused",
        ),
    ],
)
def test_a_wrong_edge_is_named(
    models: dict[str, ModelSpec], members: list[dict[str, Any]], seat: int, own: str, words: str
) -> None:
    """Which member, which of its inputs, and what is wrong with what it reads."""
    (problem,) = problems_of(models, *members)
    assert (problem.seat, problem.input) == (seat, own)
    assert words in problem.message


def test_a_reader_of_an_ensemble_that_is_not_known_yet_waits_with_it() -> None:
    """It is not asked until then, and no other member is blamed."""
    models = {"a": None, "head": spec("head"), "plain": spec("plain")}
    ensembles = {
        "e": ensemble({"ensemble": "inner"}, reads("head", "inner"), *seats("plain"), quorum=1),
        "inner": ensemble(*seats("a")),
        "whole": ensemble({"ensemble": "inner"}, *seats("plain"), quorum=1),
    }
    for name in ("e", "whole"):
        plan, problems = compile_ensemble(config(ensembles, models), name, models)
        assert problems == []
        first, plain = plan.merge.seats
        assert (first.barred, plain.barred) == (Cause.MEMBER_NOT_READY, None)
        members = fakes(plain=late(0.0, 5.0)) | {"a": FakeMember(None), "head": FakeMember(spec("head"))}
        got = one_of(members, plan, [0.0])
        assert (got.at, got.y) == (0.0, [5.0])


def test_an_input_that_an_ensemble_does_not_take_is_told() -> None:
    """A slip there would leave the tensor to come from the request, and what should bring it unread."""
    models = {"enc": spec("enc"), "a": spec("a")}
    fed = {"ensemble": "inner", "inputs": {"z": {"member": "enc", "output": "y"}}}
    ensembles = {"e": ensemble(*seats("enc"), fed), "inner": ensemble(*seats("a"))}
    (problem,) = compile_ensemble(config(ensembles, models), "e", models)[1]
    assert (problem.ensemble, problem.seat, problem.input) == ("e", 1, "z")
    assert problem.message == "'inner' has no input 'z'; its members take 'x'"


def test_a_wrong_edge_into_an_ensemble_is_told_where_it_is_written() -> None:
    """The ensemble itself is right, and others use it as it is."""
    models = {"enc": spec("enc"), "a": spec("a", inputs=[WIDE])}
    fed = {"ensemble": "outer", "inputs": {"z": {"member": "enc", "output": "y"}}}
    ensembles = {
        "e": ensemble(*seats("enc"), fed),
        "outer": ensemble({"ensemble": "inner", "inputs": {"x": "z"}}),
        "inner": ensemble(*seats("a")),
    }
    (problem,) = compile_ensemble(config(ensembles, models), "e", models)[1]
    assert (problem.ensemble, problem.seat, problem.input) == ("e", 1, "z")
    assert "takes 'x' as FP32 [-1, 3], but 'y' of member 'enc' is FP32 [-1, 1]" in problem.message


def test_a_graph_has_a_bounded_number_of_seats() -> None:
    """Forty levels, each of which feeds the one below to itself, are refused in a moment."""
    ensembles = {"e0": ensemble(*seats("a"))}
    for level in range(1, 40):
        below = f"e{level - 1}"
        fed = {"ensemble": below, "name": "again", "inputs": {"x": {"member": below, "output": "y"}}}
        ensembles[f"e{level}"] = ensemble({"ensemble": below}, fed)
    models = {"a": spec("a")}
    plan, problems = compile_ensemble(config(ensembles, models), "e39", models)
    assert plan.upstream is not None
    assert len(plan.upstream.seats) <= MAX_SEATS
    assert problems
    assert all("nest less" in problem.message for problem in problems)


def test_one_that_cannot_be_merged_but_is_read_is_not_called_unread() -> None:
    """It feeds its reader all the same."""
    odd = [TensorSpec("z", "FP32", (-1, 1))]
    models = {"a": spec("a"), "odd": spec("odd", outputs=odd), "head": spec("head")}
    members = [*seats("a"), {"model": "odd", "counts": True}, reads("head", "odd", "z")]
    (problem,) = problems_of(models, *members)
    assert problem.seat == 1
    assert "reads" not in problem.message


def test_an_optional_input_that_nobody_takes_is_told() -> None:
    """Else a slip of the pen would go unseen."""
    (problem,) = problems_of({"a": spec("a")}, *seats("a"), optional_inputs=["image"])
    assert "no member takes 'image'" in problem.message
    assert problem.key == "optional_inputs"


def test_outputs_without_a_prefix_must_differ() -> None:
    """Two members with one name for an output need outputs: to tell them apart."""
    graph = ensemble(*seats("a", "b"), kind="tasks")
    graph["strategy"]["prefix"] = False
    models = {"a": spec("a"), "b": spec("b")}
    (problem,) = compile_ensemble(config({"e": graph}, models), "e", models)[1]
    assert "'a' and 'b' both return 'y'" in problem.message


def test_outcomes_of_those_not_asked_are_no_loss() -> None:
    """What a caller chose to leave out does not make an answer degraded."""
    members, graph = optional_graph()
    got = one_of(members, lacking(compiled(members, graph), frozenset({"image"})), [0.0])
    assert all(seat.outcome is not Outcome.FAILED for seat in got.reply.report.seats)
