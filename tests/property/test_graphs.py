"""Whatever reads whatever: each member is asked once, when what it reads is there, and fails with that."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.engine.derive import lacking, wanting
from gateway.engine.override import Overrides, apply
from gateway.values import Failure, Rider, reserve_s
from protos.errors import Cause, Outcome
from tests.clock import run
from tests.fakes import (
    Cascade,
    Delivered,
    FakeMember,
    Turn,
    adds,
    compiled,
    drive,
    ensemble,
    fails,
    one_of,
    outcomes,
    riders,
    spec,
)

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn

    from gateway.engine.plan import Plan
    from gateway.values import Answer, Question

CAUSES = (Cause.WORKER_CRASHED, Cause.MEMBER_INTERNAL, Cause.DEVICE_OOM)
DEADLINES_S = (0.3, 1.0, 30.0)


@dataclass(frozen=True)
class Node:
    """One member.

    Args:
        reads: The node that it reads; None = the request.
        after_s: How long it takes.
        cause: Why it fails; None = it answers what it reads plus ``2 ** index``.
        counts: Whether it counts whoever reads it.
    """

    reads: int | None
    after_s: float
    cause: Cause | None
    counts: bool


@st.composite
def graphs(draw: DrawFn) -> list[Node]:
    size = draw(st.integers(2, 7))
    return [
        Node(
            reads=draw(st.sampled_from([None, *range(i)])),
            # sums of these differ, so that nothing depends on who is first at the same moment
            after_s=draw(st.sampled_from([0.0, 0.1, 0.25, 0.6])) + 2.0**i / 10_000,
            cause=draw(st.sampled_from([None, None, None, *CAUSES])),
            counts=draw(st.booleans()),
        )
        for i in range(size)
    ]


def member(i: int, node: Node) -> dict[str, Any]:
    seat: dict[str, Any] = {"model": f"m{i}"}
    if node.reads is not None:
        seat["inputs"] = {"x": {"member": f"m{node.reads}", "output": "y"}}
    return seat | ({"counts": True} if node.counts else {})


@given(graphs(), st.sampled_from(DEADLINES_S), st.randoms(use_true_random=False))
def test_a_graph_answers_what_its_members_would_one_after_another(
    graph: list[Node], deadline_s: float, shuffled: Any
) -> None:
    """Values, causes, times and the number of questions are those of a walk along the edges."""
    members = {}
    for i, node in enumerate(graph):
        says = fails(node.cause) if node.cause else adds(2.0**i)
        members[f"m{i}"] = FakeMember(spec(f"m{i}"), Turn(says=says, after_s=node.after_s))
    configured = [member(i, node) for i, node in enumerate(graph)]
    shuffled.shuffle(configured)
    plan = compiled(members, {"e": ensemble(*configured, kind="tasks", quorum=1)})
    got = run(drive(members, plan, [0.0, 0.5], *riders(deadline_s, deadline_s)))

    closes = deadline_s - reserve_s(deadline_s)
    ends: list[float] = []
    values: list[float] = []
    causes: list[Cause | None] = []
    for i, node in enumerate(graph):
        above = node.reads
        began = 0.0 if above is None else ends[above]
        lost = None if above is None else causes[above]
        asked = members[f"m{i}"].asked
        if lost is None and began < closes:
            (question,) = asked
            assert question.at == pytest.approx(began)
            ends.append(began + node.after_s)
            causes.append(node.cause)
        else:
            assert not asked
            ends.append(began)
            causes.append(lost)
        values.append((0.0 if above is None else values[above]) + 2.0**i)

    read = {node.reads for node in graph}
    counting = [i for i, node in enumerate(graph) if node.counts or i not in read]
    usable = [i for i in counting if causes[i] is None and ends[i] < closes]
    replies = [delivered.reply for delivered in got]
    if not usable:
        assert all(reply.error for reply in replies)
        return
    assert all(set(reply.outputs) == {f"m{i}.y" for i in usable} for reply in replies)
    for i in usable:
        answer = [y for reply in replies for y in reply.outputs[f"m{i}.y"].array()[:, 0].tolist()]
        assert answer == [values[i], values[i] + 0.5]
    told = outcomes(got[0])
    assert set(told) == {f"m{i}" for i in range(len(graph))}
    for i, cause in enumerate(causes):
        if ends[i] < min(closes, got[0].at):
            assert told[f"m{i}"] == (("FAILED", cause.name) if cause else ("OK", ""))
    assert got[0].at <= closes


@dataclass(frozen=True)
class Seat:
    """One seat of a graph whose riders fare differently.

    Args:
        reads: The seat that it reads, and which of two parts if that is an ensemble; None = the request.
        nested: Whether it is an ensemble of two models side by side.
        mixes: Whether rows of several riders ride in its calls; else some of them fail.
        after_s: How long it takes.
        adds: What it adds to what it reads.
        timeout_s: How long it is waited for.
        counts: Whether it counts whoever reads it.
    """

    reads: tuple[int, str] | None
    nested: bool
    mixes: bool
    after_s: float
    adds: float
    timeout_s: float | None
    counts: bool

    def member(self, i: int, graph: list[Seat], *, read: bool) -> dict[str, Any]:
        """Return it as the configuration has it."""
        seat: dict[str, Any] = (
            {"ensemble": f"inner{i}", "name": f"m{i}"} if self.nested else {"model": f"m{i}"}
        )
        if self.reads is not None:
            above, part = self.reads
            output = f"{part}{above}.y" if graph[above].nested else "y"
            seat["inputs"] = {"x": {"member": f"m{above}", "output": output}}
        if self.timeout_s is not None:
            seat["timeout_s"] = self.timeout_s
        if self.counts and read:
            seat["counts"] = True
        if self.nested and (self.counts or not read):
            seat["outputs"] = {"y": f"m{i}.y"}
        return seat

    def models(self, i: int) -> dict[str, FakeMember]:
        """Return the models that answer for it."""

        def says(question: Question) -> Answer | Failure:
            # the units of what it reads tell whose it is, and each seat fails for other riders
            rider = round(float(question.inputs["x"].array()[0, 0])) % 4
            return Failure(CAUSES[i % 3]) if not self.mixes and rider == i % 4 else adds(self.adds)(question)

        own = FakeMember(spec(f"m{i}", independent=self.mixes), Turn(says=says, after_s=self.after_s))
        other = FakeMember(spec(f"n{i}"), Turn(says=adds(self.adds), after_s=self.after_s / 2))
        return {f"m{i}": own, f"n{i}": other} if self.nested else {f"m{i}": own}


@st.composite
def seats(draw: DrawFn) -> list[Seat]:
    size = draw(st.integers(2, 6))
    return [
        Seat(
            reads=draw(st.sampled_from([None, *((above, part) for above in range(i) for part in "mn")])),
            nested=draw(st.booleans()),
            mixes=draw(st.booleans()),
            after_s=draw(st.sampled_from([0.0, 0.1, 0.25, 0.6])) + 2.0**i / 10_000,
            adds=draw(st.sampled_from([-400.0, 0.0, 400.0])),
            timeout_s=draw(st.sampled_from([None, None, 0.2001])),
            counts=draw(st.booleans()),
        )
        for i in range(size)
    ]


def models_of(graph: list[Seat]) -> dict[str, FakeMember]:
    """Return the models that answer for all seats."""
    return {name: model for i, seat in enumerate(graph) for name, model in seat.models(i).items()}


def inner_of(graph: list[Seat]) -> dict[str, Any]:
    """Return the ensembles in its seats."""
    return {
        f"inner{i}": ensemble({"model": f"m{i}"}, {"model": f"n{i}"}, kind="tasks", quorum=1)
        for i, seat in enumerate(graph)
        if seat.nested
    }


def told(delivered: Delivered, rider: Rider) -> dict[str, Any]:
    """Return what a rider can tell of its reply but how often and how long others were asked."""
    reply = delivered.reply
    return {
        "at": round(delivered.at, 6),
        "reason": delivered.reason,
        "y": delivered.of(rider) if reply.outputs else [],
        "seats": [(s.seat, s.outcome, s.cause, s.message) for s in reply.report.seats],
    }


@settings(max_examples=100, deadline=None)
@given(
    seats(),
    st.lists(st.sampled_from(DEADLINES_S), min_size=2, max_size=4),
    st.dictionaries(st.integers(0, 3), st.sampled_from([0.05, 0.15, 0.55]), max_size=2),
    st.booleans(),
)
def test_a_rider_fares_in_company_as_it_fares_alone(
    graph: list[Seat], deadlines_s: list[float], leaves: dict[int, float], waves: bool
) -> None:
    """Whatever others lose, however soon they leave or must be answered: values, causes, time and words."""
    if waves:  # of an ensemble that counts and feeds, each merge asks by itself when its turn comes
        graph = [replace(seat, counts=seat.counts and not seat.nested) for seat in graph]
    read = {seat.reads[0] for seat in graph if seat.reads is not None}
    configured = [seat.member(i, graph, read=i in read) for i, seat in enumerate(graph)]
    ensembles = inner_of(graph) | {"e": ensemble(*configured, quorum=1)}

    def ask(x: list[float], aboard: list[Rider], leaving: dict[int, float]) -> dict[str, dict[str, Any]]:
        members = models_of(graph)
        plan = compiled(members, ensembles, strategy=Cascade() if waves else None)
        gone = [(at, aboard[i]) for i, at in leaving.items() if i < len(aboard)]
        got = run(drive(members, plan, x, *aboard, leaving=gone))
        assert all(model.running == 0 for model in members.values())
        return {rider.id: told(each, rider) for each in got for rider in each.reply.riders}

    aboard = riders(*deadlines_s)
    together = ask([float(i) for i in range(len(aboard))], aboard, leaves)
    for i, rider in enumerate(aboard):
        if i in leaves:
            continue
        alone = ask([float(i)], [rider.seated(slice(0, 1))], {})
        assert together[rider.id] == alone[rider.id]


@settings(max_examples=100, deadline=None)
@given(seats(), st.sets(st.integers(0, 5)), st.randoms(use_true_random=False))
def test_less_that_is_wanted_or_given_changes_nothing_of_the_rest(
    graph: list[Seat], of_image: set[int], chance: Any
) -> None:
    """Wanted outputs and chosen members come out the same; an absent input takes only who needs it."""
    graph = [replace(seat, timeout_s=None) for seat in graph]
    read = {seat.reads[0] for seat in graph if seat.reads is not None}
    configured = [seat.member(i, graph, read=i in read) for i, seat in enumerate(graph)]
    needs: set[int] = set()
    for i, seat in enumerate(graph):
        if seat.reads is None and i in of_image:
            configured[i]["inputs"] = {"x": "image"}
        if configured[i].get("inputs") == {"x": "image"} or (seat.reads and seat.reads[0] in needs):
            needs.add(i)
    ensembles = inner_of(graph) | {"e": ensemble(*configured, kind="tasks", quorum=1)}
    if needs:
        ensembles["e"]["optional_inputs"] = ["image"]
    members = models_of(graph)
    whole = compiled(members, ensembles)
    inputs = {spec.name: np.full((1, 1), 3.0, np.float32) for spec in whole.inputs}

    def outputs(plan: Plan, **given: Any) -> dict[str, float]:
        reply = one_of(members, plan, given or inputs).reply
        for seat in reply.report.seats:
            if given and owner(seat.seat) in needs:
                assert seat.outcome is Outcome.NOT_ASKED
        return {name: float(tensor.array()[0, 0]) for name, tensor in reply.outputs.items()}

    def owner(name: str) -> int:
        return int(name.split("/", maxsplit=1)[0].split(".", maxsplit=1)[0].removeprefix("m"))

    everything = outputs(whole)
    if everything:
        some = frozenset(chance.sample(sorted(everything), chance.randint(1, len(everything))))
        assert outputs(wanting(whole, some)) == {name: everything[name] for name in some}
        chosen = tuple(sorted({f"m{owner(name)}" for name in some}))
        apart = {name: y for name, y in everything.items() if f"m{owner(name)}" in chosen}
        assert outputs(apply(whole, Overrides(members=chosen))) == apart
    if needs and any(owner(spec.name) not in needs for spec in whole.outputs):
        cut = lacking(whole, frozenset({"image"}))
        given = {name: array for name, array in inputs.items() if name != "image"}
        rest = {name: y for name, y in everything.items() if owner(name) not in needs}
        assert outputs(cut, **given) == rest
        assert all(owner(spec.name) not in needs for spec in cut.outputs)
