"""The gateway's end of a lane: every call ends once, by what the worker says or fails to say."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from gateway.members.causes import CallFailed
from gateway.members.lane import Lane
from protos import lane, oip
from protos.errors import AccordError, Code, Reason, to_status
from tests.lanes import Scripted, descriptors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from gateway.members.forms import Answered

HEAD = oip.messages.ModelInferResponse(model_name="m", model_version="3").SerializeToString()


@asynccontextmanager
async def joined(
    folder: Path, script: Callable[[Scripted, lane.Frame], None] = lambda *_: None
) -> AsyncIterator[tuple[Lane, Scripted]]:
    worker, here = Scripted(folder / "lane", script), Lane(folder / "lane", "m")
    await here.join(anew=True)
    try:
        yield here, worker
    finally:
        here.close()
        worker.close()


def asking(here: Lane, within_s: float = 10.0, raws: tuple[bytes, ...] = (b"raw",)) -> asyncio.Task[Answered]:
    return asyncio.create_task(here.infer(b"head", raws, within_s))


async def failure(call: asyncio.Task[Answered]) -> CallFailed:
    with pytest.raises(CallFailed) as caught:
        await call
    return caught.value


def echo(worker: Scripted, frame: lane.Frame) -> None:
    worker.say(*lane.reply(frame.id, HEAD, frame.segments))


async def test_replies_find_their_calls_in_any_order(tmp_path: Path) -> None:
    """Many calls are under way on one connection; each gets its own tensors."""
    async with joined(tmp_path) as (here, worker):
        calls = [asking(here, raws=(b"%d" % i, b"")) for i in range(20)]
        await worker.until(lambda: len(worker.frames) == 20)
        for frame in reversed(worker.frames):
            echo(worker, frame)
        for i, call in enumerate(calls):
            answered = await call
            assert answered.response.model_version == "3"
            assert answered.raws is not None
            assert [bytes(raw) for raw in answered.raws] == [b"%d" % i, b""]


async def test_a_request_carries_head_tensors_and_the_time_left(tmp_path: Path) -> None:
    """In microseconds; never 0, which would mean no limit."""
    async with joined(tmp_path, echo) as (here, worker):
        await asking(here, 1.5)
        assert (await failure(asking(here, 1e-9))).code == Code.DEADLINE_EXCEEDED
        await worker.until(lambda: len(worker.frames) == 3)
        first, second, third = worker.frames
    assert (first.kind, first.head, first.argument) == (lane.Kind.REQUEST, b"head", 1_500_000)
    assert second.argument == 1
    assert (third.kind, third.id) == (lane.Kind.CANCEL, second.id)


async def test_a_cancelled_call_has_told_the_worker_when_it_ends(tmp_path: Path) -> None:
    """And the frame that the worker still ends it with is nobody's fault."""
    async with joined(tmp_path) as (here, worker):
        call = asking(here)
        await worker.until(lambda: worker.frames)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await worker.until(lambda: len(worker.frames) == 2)
        assert [frame.kind for frame in worker.frames] == [lane.Kind.REQUEST, lane.Kind.CANCEL]
        echo(worker, worker.frames[0])
        worker.script = echo
        assert (await asking(here)).response.model_version == "3"
        assert here.up


async def test_a_call_that_is_late_is_told_to_the_worker_too(tmp_path: Path) -> None:
    """The caller gets its failure at the deadline, whatever the worker does."""
    async with joined(tmp_path) as (here, worker):
        failed = await failure(asking(here, 0.01))
        await worker.until(lambda: len(worker.frames) == 2)
    assert failed.code == Code.DEADLINE_EXCEEDED
    assert worker.frames[1].kind == lane.Kind.CANCEL


async def test_an_error_keeps_its_status_words_and_reason(tmp_path: Path) -> None:
    """They are diagnosed as gRPC's are."""

    def refuse(worker: Scripted, frame: lane.Frame) -> None:
        error = AccordError(Reason.QUEUE_FULL, "too many wait")
        worker.say(*lane.error(frame.id, error.reason.code, to_status(error).SerializeToString()))

    async with joined(tmp_path, refuse) as (here, _):
        failed = await failure(asking(here))
    assert (failed.code, failed.text, failed.reason) == (
        Code.RESOURCE_EXHAUSTED,
        "too many wait",
        "QUEUE_FULL",
    )


async def test_a_connection_that_ends_fails_all_its_calls_as_unavailable(tmp_path: Path) -> None:
    """The next join opens another, on which all goes on."""
    async with joined(tmp_path) as (here, worker):
        calls = [asking(here) for _ in range(3)]
        await worker.until(lambda: len(worker.frames) == 3)
        worker.connections[0].close()
        assert {(await failure(call)).code for call in calls} == {Code.UNAVAILABLE}
        assert not here.up
        worker.script = echo
        await here.join(anew=False)
        assert here.up
        await asking(here)


GARBAGE: dict[str, Callable[[lane.Frame], list[Any]]] = {
    "no frame": lambda _: [bytes(64)],
    "an id of no call": lambda frame: lane.reply(frame.id + 1, HEAD, ()),
    "an id answered before": lambda frame: [*lane.reply(1, HEAD, ()), *lane.reply(1, HEAD, ())],
    "a frame only gateways send": lambda frame: lane.request(frame.id, 0, b"", ()),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_fails_what_is_under_way_and_nothing_else(
    tmp_path: Path, garbage: Callable[[lane.Frame], list[Any]]
) -> None:
    """Not as a broken connection: the worker is at fault, and the call is not known to be undone."""
    async with joined(tmp_path) as (here, worker):
        first, second = asking(here), asking(here)
        await worker.until(lambda: len(worker.frames) == 2)
        worker.say(*garbage(worker.frames[1]))
        with pytest.raises(ValueError, match=r"."):
            await second
        await asyncio.gather(first, return_exceptions=True)
        assert not here.up
        worker.script = echo
        await here.join(anew=False)
        await asking(here)


@pytest.mark.parametrize(
    "garbage", [lambda f: lane.reply(f.id, b"\xff", ()), lambda f: lane.error(f.id, 13, b"\xff")]
)
async def test_a_message_that_makes_no_sense_fails_its_own_call(tmp_path: Path, garbage: Any) -> None:
    """The frames around it are sound, so the connection lives."""
    async with joined(tmp_path, lambda worker, frame: worker.say(*garbage(frame))) as (here, _):
        with pytest.raises(ValueError, match=r"reply|status"):
            await asking(here)
        assert here.up


async def test_another_version_is_refused_once_until_the_worker_may_be_another(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line in the log; every call goes over gRPC meanwhile."""
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr("protos.lane.connection.HELLO", lane.HELLO[:-2] + b"\x09\x00")
    async with joined(tmp_path, echo) as (here, worker):
        assert not here.up
        await here.join(anew=False)
        assert len(worker.connections) == 1
        monkeypatch.undo()
        await here.join(anew=True)
        assert here.up
    assert [r.message for r in caplog.records if "no lane" in r.message] == [
        "model m: no lane at lane: the other side speaks version 9 of the lane, this one 1"
    ]


async def test_a_worker_without_a_lane_costs_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Every probe tries again in silence."""
    here = Lane(tmp_path / "none", "m")
    for _ in range(3):
        await here.join(anew=False)
        assert not here.up
    assert [r.message for r in caplog.records] == ["model m: no lane at none: No such file or directory"]


async def test_a_worker_that_does_not_greet_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probe that waits for it ends, and the socket with it."""
    monkeypatch.setattr("gateway.members.lane._GREETING_S", 0.01)
    before = descriptors()
    worker, here = Scripted(tmp_path / "lane", echo), Lane(tmp_path / "lane", "m")
    asyncio.get_running_loop().remove_reader(worker._listener)
    await here.join(anew=True)
    assert not here.up
    worker.close()
    assert descriptors() == before


async def test_what_a_frame_cannot_hold_is_not_asked_by_it(tmp_path: Path) -> None:
    """Nor what would wait behind very much."""
    async with joined(tmp_path) as (here, _):
        assert here.carries(b"", [bytes(8)] * lane.MAX_SEGMENTS)
        assert not here.carries(b"", [bytes(8)] * (lane.MAX_SEGMENTS + 1))
        assert not here.carries(b"", [bytes(oip.MAX_ANSWER_BYTES + 1)])
        assert not here.carries(bytes(oip.MAX_ANSWER_BYTES + 1), [])
        large = (bytes(32 << 20),)
        calls = [asking(here, raws=large)]
        await asyncio.sleep(0)
        assert not here.carries(b"", large)
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)


async def test_descriptors_do_not_leak(tmp_path: Path) -> None:
    """However a connection ends."""
    before = descriptors()
    async with joined(tmp_path, echo) as (here, worker):
        for _ in range(5):
            await here.join(anew=True)
            await asking(here)
            worker.say(bytes(64))
            await worker.until(lambda: not here.up)
    assert descriptors() == before
