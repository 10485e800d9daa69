"""Interim replies: whatever the members do and whenever, they lead up to the one final reply, unchanged."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from protos.errors import Outcome
from tests.clock import run
from tests.fakes import drive
from tests.property.test_engine import SHAPES, Scene, content, play, scenes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.values import Rider
    from tests.fakes import Delivered

KINDS = ("mean", "median", "max", "tasks", "first", "cascade")


def streamed(scene: Scene, shape: str) -> dict[Rider, list[Delivered]]:
    """Play a scene in which every rider wants interim replies; return all that each one got, in order."""
    members = scene.members()
    x = {"x": np.array(scene.x, np.float32).reshape(-1, 1)}
    plan = SHAPES[shape](scene, members)
    got: dict[Rider, list[Delivered]] = {rider: [] for rider in scene.riders}
    for delivered in run(drive(members, plan, x, *scene.riders, leaving=scene.leaving())):
        for rider in delivered.reply.riders:
            got[rider].append(delivered)
    assert all(member.running == 0 for member in members.values())
    return got


def curious(scene: Scene) -> Scene:
    return replace(scene, riders=tuple(replace(rider, interim=True) for rider in scene.riders))


def used(replies: Sequence[Delivered]) -> list[int]:
    return [delivered.reply.report.used for delivered in replies]


@settings(max_examples=150, deadline=None)
@given(scenes(KINDS), st.sampled_from(sorted(SHAPES)))
def test_interim_replies_lead_up_to_the_final_one(scene: Scene, shape: str) -> None:
    """Exactly one final reply comes last and is what the rider gets without a stream; members only join."""
    members = scene.members()
    expected = play(scene, SHAPES[shape](scene, members), members)
    watched = curious(scene)
    quiet = dict(zip(watched.riders, scene.riders, strict=True))
    for rider, replies in streamed(watched, shape).items():
        if quiet[rider] not in expected:
            assert not any(delivered.reply.final for delivered in replies)
            continue
        *interim, final = replies
        assert final.reply.final
        assert not any(delivered.reply.final for delivered in interim)
        told = expected[quiet[rider]]
        assert final.at == told.at
        assert content(final, rider) == content(told, quiet[rider])
        assert used(interim) == sorted(used(interim))
        if final.reply.error is None:
            assert used(replies) == sorted(used(replies))
            assert final.reply.report.quorum_met


@settings(max_examples=150, deadline=None)
@given(scenes(KINDS), st.sampled_from(sorted(SHAPES)))
def test_each_interim_reply_is_news(scene: Scene, shape: str) -> None:
    """One comes for what arrives at one moment; it has an answer, no error, and says who is still out."""
    for rider, replies in streamed(curious(scene), shape).items():
        interim = [delivered for delivered in replies if not delivered.reply.final]
        moments = [delivered.at for delivered in interim]
        assert moments == sorted(set(moments))
        for delivered in interim:
            reply = delivered.reply
            assert reply.riders == (rider,)
            assert reply.error is None
            assert reply.outputs
            assert reply.report.used >= 1
            assert all(len(t.array()) == rider.rows.stop - rider.rows.start for t in reply.outputs.values())
        for delivered in replies:
            pending = [s for s in delivered.reply.report.seats if s.outcome is Outcome.PENDING]
            assert not (delivered.reply.final and pending)


@settings(max_examples=50, deadline=None)
@given(scenes(("mean", "tasks")), st.sampled_from(sorted(SHAPES)))
def test_who_wants_no_interim_replies_gets_none(scene: Scene, shape: str) -> None:
    """A rider beside a curious one gets its one reply."""
    first, *others = scene.riders
    mixed = replace(scene, riders=(replace(first, interim=True), *others))
    got: dict[Any, list[Delivered]] = streamed(mixed, shape)
    assert all(len(got[rider]) <= 1 for rider in others)
