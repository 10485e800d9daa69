"""Whatever reads whatever: each member is asked once, when what it reads is there, and fails with that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.values import reserve_s
from protos.errors import Cause
from tests.clock import run
from tests.fakes import FakeMember, Turn, adds, compiled, drive, ensemble, fails, outcomes, riders, spec

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn

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
            assert question.at == began
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
