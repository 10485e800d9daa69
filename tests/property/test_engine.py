"""Whatever the members do and whenever: each rider gets one answer, its own, in time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.engine.verdict import PRECEDENCE
from gateway.values import Rider
from protos.errors import Cause
from tests.clock import run
from tests.fakes import (
    Cascade,
    Delivered,
    FakeMember,
    Turn,
    adds,
    answers,
    compiled,
    drive,
    ensemble,
    fails,
    raising,
    spec,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hypothesis.strategies import DrawFn

    from gateway.engine.plan import Plan

# No two of these times are equal, so that nothing depends on who is first at the same moment.
ANSWERS_S = (0.01, 0.1, 0.3, 0.5, 0.7, 5.0)
TIMEOUTS_S = (None, None, 0.2, 0.4, 0.6)
DEADLINES_S = (0.15, 0.35, 0.55, 0.9, 2.0)
LEAVES_S = (None, None, 0.05, 0.12, 0.45, 0.65)
# Not MEMBER_REJECTED_INPUT: with others aboard such a call is made twice, and takes twice as long.
CAUSES = (Cause.WORKER_CRASHED, Cause.MEMBER_UNSUPPORTED, Cause.MEMBER_INTERNAL, Cause.DEVICE_OOM)


@dataclass(frozen=True)
class Act:
    """What one member does with every question, as the oracle understands it.

    Args:
        after_s: When it answers.
        cause: Why it fails; None = it answers ``x + 2 ** seat``.
        breaks: The inputs for which it answers NaN.
        turn: The same for the fake.
    """

    after_s: float
    cause: Cause | None
    breaks: frozenset[float]
    turn: Turn


@st.composite
def acts(draw: DrawFn, seat: int) -> Act:
    after_s = draw(st.sampled_from(ANSWERS_S)) + seat / 1000
    breaks = draw(st.frozensets(st.integers(-4, 4).map(float), max_size=3))
    cause, says = None, adds(2.0**seat, broken=dict.fromkeys(breaks, float("nan")))
    match draw(st.sampled_from(["answers"] * 4 + ["fails", "raises", "lies"])):
        case "fails":
            cause = draw(st.sampled_from(CAUSES))
            says = fails(cause)
        case "raises":
            cause, says = Cause.MEMBER_INTERNAL, raising(RuntimeError("a bug"))
        case "lies":
            cause, says = Cause.MEMBER_BAD_OUTPUT, answers({"y": np.zeros((1, 7), np.int8)})
    cancel_s, deaf = draw(st.sampled_from([0.0, 0.25])), draw(st.booleans())
    return Act(after_s, cause, breaks, Turn(says=says, after_s=after_s, cancel_s=cancel_s, deaf=deaf))


@dataclass(frozen=True)
class Scene:
    """One batch with everything that happens to it."""

    acts: tuple[Act, ...]
    policy: dict[str, Any]
    seats: tuple[dict[str, Any], ...]
    riders: tuple[Rider, ...]
    leaves: tuple[float | None, ...]
    x: tuple[float, ...]

    def members(self) -> dict[str, FakeMember]:
        return {f"m{i}": FakeMember(spec(f"m{i}"), act.turn) for i, act in enumerate(self.acts)}

    def leaving(self) -> list[tuple[float, Rider]]:
        pairs = zip(self.leaves, self.riders, strict=True)
        return [(when, rider) for when, rider in pairs if when is not None]


@st.composite
def scenes(draw: DrawFn, kinds: Sequence[str] = ("mean",)) -> Scene:
    k = draw(st.integers(1, 4))
    seats = tuple(
        {
            "model": f"m{i}",
            "timeout_s": draw(st.sampled_from(TIMEOUTS_S)),
            "required": draw(st.integers(0, 5)) == 0,
        }
        for i in range(k)
    )
    quorum = draw(st.one_of(st.none(), st.integers(1, k), st.just({"weight": 0.5})))
    policy = {
        "kind": draw(st.sampled_from(kinds)),
        "quorum": quorum,
        "nonfinite": draw(st.sampled_from(["drop", "drop", "fail"])),
    }
    riders: list[Rider] = []
    at = 0
    for i in range(draw(st.integers(1, 4))):
        rows = draw(st.integers(0, 3))
        riders.append(Rider(f"r{i}", slice(at, at + rows), 0.0, draw(st.sampled_from(DEADLINES_S))))
        at += rows
    return Scene(
        acts=tuple(draw(acts(i)) for i in range(k)),
        policy=policy,
        seats=seats,
        riders=tuple(riders),
        leaves=tuple(draw(st.sampled_from(LEAVES_S)) for _ in riders),
        x=tuple(float(draw(st.integers(-4, 4))) for _ in range(at)),
    )


def plan_of(scene: Scene, members: dict[str, FakeMember], ensembles: dict[str, Any]) -> Plan:
    waves = Cascade() if scene.policy["kind"] == "cascade" else None
    return compiled(members, ensembles, strategy=waves)


def configured(scene: Scene) -> dict[str, Any]:
    """Return the policy as the configuration takes it; a cascade is put in its place later."""
    kind = scene.policy["kind"]
    return scene.policy | {"kind": "mean" if kind == "cascade" else kind}


def flat(scene: Scene, members: dict[str, FakeMember]) -> Plan:
    return plan_of(scene, members, {"e": ensemble(*scene.seats, **configured(scene))})


def nested(scene: Scene, members: dict[str, FakeMember]) -> Plan:
    """Put all seats but the last into an ensemble of their own, and the first beside it as well.

    Not so in a cascade: a later wave joins an earlier wave's call only if that was for the same rows, which
    depends on who else rides.
    """
    *inner, last = scene.seats
    if not inner:
        return flat(scene, members)
    policy = configured(scene) | {"quorum": 1}
    beside = [last] if scene.policy["kind"] == "cascade" else [inner[0], last]
    ensembles = {
        "inner": ensemble(*inner, **policy | {"kind": "mean", "deadline_s": 0.62}),
        "e": ensemble({"ensemble": "inner", "timeout_s": last["timeout_s"]}, *beside, **policy),
    }
    return plan_of(scene, members, ensembles)


def play(scene: Scene, plan: Plan, members: dict[str, FakeMember]) -> dict[Rider, Delivered]:
    """Run a scene; return each rider's reply after checking what holds for every batch."""
    x = {"x": np.array(scene.x, np.float32).reshape(-1, 1)}
    delivered = run(drive(members, plan, x, *scene.riders, leaving=scene.leaving()))
    replies: dict[Rider, Delivered] = {}
    for got in delivered:
        assert got.reply.final
        for rider in got.reply.riders:
            assert rider not in replies, "two final replies"
            replies[rider] = got
    assert all(member.running == 0 for member in members.values()), "a call outlived its batch"
    for rider, left in zip(scene.riders, scene.leaves, strict=True):
        if rider in replies:
            assert replies[rider].at <= rider.closes_at + 1e-6, "too late"
            assert left is None or replies[rider].at <= left, "a reply to one who has gone"
        else:
            assert left is not None, "no reply"
    return replies


# --- against an oracle ---------------------------------------------------------------------------------


@dataclass
class Told:
    """What one rider should be told: when, and its rows or the status."""

    at: float
    y: list[float]
    status: str


def oracle(scene: Scene, rider: Rider) -> Told:
    """Work out a rider's answer from a plain mean over plain seats, one row and one seat at a time."""
    if rider.rows.start == rider.rows.stop:
        return Told(0.0, [], "")
    in_at = [
        min(act.after_s, s["timeout_s"] or np.inf) for act, s in zip(scene.acts, scene.seats, strict=True)
    ]
    at = min(max(in_at), rider.closes_at)
    y, statuses = [], []
    for x in scene.x[rider.rows]:
        values, causes = [], {}
        for i, act in enumerate(scene.acts):
            if act.after_s > in_at[i] or act.after_s > at:
                causes[i] = Cause.MEMBER_TIMEOUT
            elif act.cause is not None:
                causes[i] = act.cause
            elif x in act.breaks:
                causes[i] = Cause.NONFINITE_OUTPUT
            else:
                values.append(x + 2.0**i)
        status = row_status(scene, len(values), causes)
        if status:
            statuses.append(status)
        else:
            y.append(sum(values) / len(values))
    order = [code.name for code in PRECEDENCE]
    return Told(at, [] if statuses else y, min(statuses, key=order.index) if statuses else "")


def row_status(scene: Scene, usable: int, causes: dict[int, Cause]) -> str:
    order = [code.name for code in PRECEDENCE]

    def worst(some: list[Cause]) -> str:
        return min((cause.reason.code.name for cause in some), key=order.index)

    vetoes = [cause for i, cause in causes.items() if scene.seats[i]["required"]]
    if scene.policy["nonfinite"] == "fail":
        vetoes += [cause for cause in causes.values() if cause is Cause.NONFINITE_OUTPUT]
    if vetoes:
        return worst(vetoes)
    k, quorum = len(scene.acts), scene.policy["quorum"]
    need = k if quorum is None else quorum if isinstance(quorum, int) else -(-k // 2)
    if usable >= need:
        return ""
    retryable = [c for c in causes.values() if c in (Cause.WORKER_CRASHED, Cause.DEVICE_OOM)]
    in_vain = [c for c in causes.values() if c not in retryable]
    return "UNAVAILABLE" if usable + len(retryable) >= need else worst(in_vain)


@settings(max_examples=100, deadline=None)
@given(scenes())
def test_every_rider_gets_exactly_its_own_answer_in_time(scene: Scene) -> None:
    """Values, status and moment are those that the oracle works out for the rider alone."""
    members = scene.members()
    replies = play(scene, flat(scene, members), members)
    for rider, left in zip(scene.riders, scene.leaves, strict=True):
        told = oracle(scene, rider)
        if left is not None and left < told.at:
            assert rider not in replies
            continue
        got = replies[rider]
        assert got.at == pytest.approx(told.at, abs=1e-6)
        error = got.reply.error
        assert (error.reason.code.name if error else "") == told.status
        if not error:
            assert got.of(rider) == pytest.approx(told.y)


# --- against themselves --------------------------------------------------------------------------------

SHAPES = {"flat": flat, "nested": nested}


def alone(scene: Scene, rider: Rider) -> Scene:
    """Return the scene in which this rider rides alone and never leaves."""
    rows = rider.rows.stop - rider.rows.start
    return replace(
        scene, riders=(replace(rider, rows=slice(0, rows)),), leaves=(None,), x=scene.x[rider.rows]
    )


def content(got: Delivered, rider: Rider) -> Any:
    """Return all that a rider is told, its own rows only."""
    at = sum(r.rows.stop - r.rows.start for r in got.reply.riders[: got.reply.riders.index(rider)])
    rows = slice(at, at + rider.rows.stop - rider.rows.start)
    report, error = got.reply.report, got.reply.error
    agreement = None if report.agreement is None else report.agreement[rows].tolist()
    seats = [replace(seat, outputs={}, elapsed_s=None) for seat in report.seats]
    outputs = {name: t.array()[rows].tobytes() for name, t in got.reply.outputs.items()}
    told = (error.reason, error.message, error.metadata, list(error.members)) if error else None
    return outputs, told, seats, report.asked, report.used, agreement


@settings(max_examples=100, deadline=None)
@given(scenes(("mean", "median", "max", "tasks", "cascade")), st.sampled_from(sorted(SHAPES)))
def test_riding_with_others_changes_nothing(scene: Scene, shape: str) -> None:
    """What a rider is told, and when, is what it would be told alone: answer, error and report."""
    members = scene.members()
    replies = play(scene, SHAPES[shape](scene, members), members)
    for rider, got in replies.items():
        solo = alone(scene, rider)
        members = solo.members()
        ((other, expected),) = play(solo, SHAPES[shape](solo, members), members).items()
        assert got.at == pytest.approx(expected.at, abs=1e-6)
        assert content(got, rider) == content(expected, other)


@settings(max_examples=60, deadline=None)
@given(
    scenes(("mean", "median", "max", "tasks", "soft_vote")),
    st.sampled_from(sorted(SHAPES)),
    st.permutations([0.01, 0.02, 0.03, 0.04]),
    st.permutations([0.01, 0.02, 0.03, 0.04]),
)
def test_the_order_of_arrival_changes_no_byte(
    scene: Scene, shape: str, first: list[float], second: list[float]
) -> None:
    """When all are in, who came first is forgotten."""

    def told(delays: list[float]) -> list[Any]:
        acts = [replace(a, turn=replace(a.turn, after_s=d)) for a, d in zip(scene.acts, delays, strict=False)]
        timed = replace(scene, acts=tuple(acts), leaves=(None,) * len(scene.riders))
        members = timed.members()
        replies = play(timed, SHAPES[shape](timed, members), members)
        return [content(replies[rider], rider) for rider in timed.riders]

    assert told(first) == told(second)


def test_a_first_that_came_first_is_seen() -> None:
    """Negative control: where arrival may decide, the comparison above does tell two orders apart."""
    turns = [Turn(says=adds(1.0), after_s=0.01), Turn(says=adds(2.0), after_s=0.02)]

    def told(order: list[int]) -> list[float]:
        members = {f"m{i}": FakeMember(spec(f"m{i}"), turns[at]) for i, at in enumerate(order)}
        plan = compiled(members, {"e": ensemble({"model": "m0"}, {"model": "m1"}, kind="first")})
        (got,) = run(drive(members, plan, [0.0]))
        return [got.y[0], got.reply.report.seats[0].weight_used]

    assert told([0, 1]) != told([1, 0])
