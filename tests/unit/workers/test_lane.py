"""A worker's end of the lane: the same service as over gRPC, and callers who cannot harm each other."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
import stat
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from google.rpc import status_pb2

from protos import lane, oip
from protos.address import AddressError
from protos.details import read_status
from protos.errors import INTERNAL_TEXT, AccordError, Code, Reason
from protos.oip import messages
from protos.tensor import Tensor
from tests import models
from tests.lanes import descriptors
from workers.hosting import host
from workers.lane import Lane
from workers.service import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

X = Tensor.from_array(np.array([[1.0, 2.0], [3.0, 4.0]], np.float32))


class Gateway:
    """A gateway's end that keeps every frame."""

    def __init__(self, path: Path) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(str(path))
        self.frames: dict[int, lane.Frame] = {}
        self.ended = asyncio.Event()
        self.arrived = asyncio.Event()
        self.connection = lane.Connection(sock, on_frame=self._take, on_end=lambda _: self.ended.set())

    def _take(self, frame: lane.Frame) -> None:
        assert frame.id not in self.frames
        self.frames[frame.id] = frame
        self.arrived.set()

    def ask(self, id_: int, head: bytes | None = None, left_us: int = 0) -> None:
        raws: list[bytes | memoryview] = []
        request = messages.ModelInferRequest(model_name="m", id="r-1")
        oip.write_inputs(request, {"x": X}, raws)
        self.connection.send(
            lane.request(id_, left_us, request.SerializeToString() if head is None else head, raws)
        )

    async def of(self, id_: int) -> lane.Frame:
        async with asyncio.timeout(10):
            while id_ not in self.frames:
                await self.arrived.wait()
                self.arrived.clear()
        return self.frames[id_]


class Held(Service):
    """A service whose answers wait until the test lets them go, or which fails as the test says."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.go = asyncio.Event()
        self.began = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.fails: BaseException | None = None

    async def model_infer(self, *args: Any) -> Any:
        self.began.set()
        if self.fails is not None:
            raise self.fails
        try:
            answer = await super().model_infer(*args)
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return answer


@asynccontextmanager
async def serving(folder: Path, kind: type[Service] = Service) -> AsyncIterator[tuple[Any, Lane, Path]]:
    repository = models.write_model(folder, "m", models.linear(np.eye(2)), version=3)
    versions = host(repository, "m", threads="1", max_queued=8)
    await versions.refresh()
    service, path = kind(versions), folder / "lane"
    server = Lane(service, path)
    yield service, server, path
    if server._listener.fileno() != -1:
        await server.stop(0)


def told(frame: lane.Frame) -> tuple[int, str, str]:
    assert frame.kind == lane.Kind.ERROR
    status = status_pb2.Status.FromString(frame.head)
    return frame.argument, status.message, read_status(status).reason


async def test_an_answer_is_the_services_with_its_tensors_beside_it(tmp_path: Path) -> None:
    """The head has everything but the bytes."""
    async with serving(tmp_path) as (_, _, path):
        gateway = Gateway(path)
        gateway.ask(1, left_us=5_000_000)
        frame = await gateway.of(1)
    assert frame.kind == lane.Kind.REPLY
    response = messages.ModelInferResponse.FromString(frame.head)
    assert (response.model_name, response.model_version, response.id) == ("m", "3", "r-1")
    assert not response.raw_output_contents
    assert np.array_equal(oip.read_outputs(response, frame.segments)["y"].array(), X.array())


async def test_a_time_that_is_over_is_not_served(tmp_path: Path) -> None:
    """The time left of the frame is the call's deadline; 0 is none."""
    async with serving(tmp_path, Held) as (service, _, path):
        gateway = Gateway(path)
        gateway.ask(1, left_us=1)
        gateway.ask(2)
        await service.began.wait()
        service.go.set()
        assert told(await gateway.of(1))[2] == Reason.DEADLINE_AT_ADMISSION.name
        assert (await gateway.of(2)).kind == lane.Kind.REPLY


@pytest.mark.parametrize("begun", [True, False])
async def test_a_cancelled_request_ends_and_says_so(tmp_path: Path, begun: bool) -> None:
    """Also one that is cancelled before its first step; the gateway knows then that nothing more comes."""
    async with serving(tmp_path, Held) as (service, _, path):
        gateway = Gateway(path)
        gateway.ask(1)
        if begun:
            await service.began.wait()
        gateway.connection.send(lane.cancel(1))
        assert told(await gateway.of(1))[0] == Code.CANCELLED
        assert service.cancelled.is_set() is begun
        # what comes too late is no fault
        gateway.connection.send(lane.cancel(1))
        service.go.set()
        gateway.ask(2)
        assert (await gateway.of(2)).kind == lane.Kind.REPLY


async def test_errors_are_told_and_surprises_are_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A caller learns of a bug only that there is one; the log learns the rest."""
    async with serving(tmp_path, Held) as (service, _, path):
        gateway = Gateway(path)
        service.fails = AccordError(Reason.INPUT_MISSING, "no x")
        gateway.ask(1)
        assert told(await gateway.of(1)) == (Code.INVALID_ARGUMENT, "no x", "INPUT_MISSING")
        for id_, surprise in ((2, RuntimeError("secret")), (3, asyncio.CancelledError("secret"))):
            service.fails = surprise
            gateway.ask(id_)
            assert told(await gateway.of(id_)) == (Code.INTERNAL, INTERNAL_TEXT, "INTERNAL")
        assert "secret" in caplog.text
        gateway.ask(4, head=b"\xff")
        assert told(await gateway.of(4))[2] == "MALFORMED_REQUEST"


GARBAGE = {
    "no frame": bytes(64),
    "an id used before": b"".join(lane.request(1, 0, b"", ())),
    "a frame only workers send": b"".join(lane.reply(1, b"", ())),
    "a cancel of no request": b"".join(lane.cancel(9)),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_ends_its_own_connection_and_its_requests(tmp_path: Path, garbage: bytes) -> None:
    """Others go on, and so does the process."""
    async with serving(tmp_path, Held) as (service, _, path):
        guilty, other = Gateway(path), Gateway(path)
        guilty.ask(1)
        await service.began.wait()
        guilty.connection.send([garbage])
        await asyncio.wait_for(guilty.ended.wait(), 10)
        await asyncio.wait_for(service.cancelled.wait(), 10)
        service.go.set()
        other.ask(1)
        assert (await other.of(1)).kind == lane.Kind.REPLY


async def test_a_drain_finishes_what_has_begun_and_refuses_the_rest(tmp_path: Path) -> None:
    """As over gRPC; then the connection ends and the socket is gone."""
    async with serving(tmp_path, Held) as (service, server, path):
        gateway = Gateway(path)
        gateway.ask(1)
        await service.began.wait()
        service.drain()
        stopping = asyncio.create_task(server.stop(10))
        gateway.ask(2)
        assert told(await gateway.of(2))[2] == "SHUTTING_DOWN"
        service.go.set()
        assert (await gateway.of(1)).kind == lane.Kind.REPLY
        await stopping
        await asyncio.wait_for(gateway.ended.wait(), 10)
        assert not path.exists()


class Wordy(Service):
    """A service whose answer no socket takes at once."""

    async def model_infer(self, request: Any, context: Any, answered: Any = None) -> Any:
        response = await super().model_infer(request, context, answered)
        answered[:] = [bytes(8 << 20)]
        return response


@pytest.mark.parametrize("drain_s", [10.0, 0.0])
async def test_a_drain_ends_when_its_last_answer_is_taken(tmp_path: Path, drain_s: float) -> None:
    """Not when it is written; the control has no time to wait for that."""
    async with serving(tmp_path, Wordy) as (_, server, path):
        gateway = Gateway(path)
        gateway.ask(1)
        async with asyncio.timeout(10):
            while not any(c._connection.unsent for c in server._callers):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0)
        gateway.connection._loop.remove_reader(gateway.connection._sock)
        stopping = asyncio.create_task(server.stop(drain_s))
        await asyncio.sleep(0.01)
        assert stopping.done() is not bool(drain_s)
        gateway.connection._loop.add_reader(gateway.connection._sock, gateway.connection._readable)
        await stopping
        await asyncio.wait_for(gateway.ended.wait(), 10)
    assert (1 in gateway.frames) is bool(drain_s)


async def test_only_the_owner_may_join(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By the file's mode, and by the caller's user; the control is every other test here."""
    caplog.set_level(logging.WARNING)
    async with serving(tmp_path) as (_, _, path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        gateway = Gateway(path)
        await asyncio.wait_for(gateway.ended.wait(), 10)
    assert "another user" in caplog.text


async def test_a_socket_left_behind_is_replaced_and_nothing_else_is(tmp_path: Path) -> None:
    """A worker that was killed leaves one; a file of another kind is somebody's."""
    path = tmp_path / "lane"
    async with serving(tmp_path) as (service, _, _):
        left = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        left.bind(str(tmp_path / "left"))
        left.close()
        await Lane(service, tmp_path / "left").stop(0)
        for wrong in (tmp_path / "file", tmp_path / "none" / "lane"):
            if wrong.parent == tmp_path:
                wrong.write_text("mine")
            with pytest.raises(AddressError, match="cannot listen"):
                Lane(service, wrong)
        assert (tmp_path / "file").read_text() == "mine"
    assert not path.exists()


async def test_a_caller_who_cannot_be_let_in_is_let_in_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without descriptors nobody is tried again and again: one line until the next try, no busy loop."""
    monkeypatch.setattr("workers.lane._ACCEPT_AGAIN_S", 0.2)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serving(tmp_path) as (_, _, path):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            free = os.dup(sock.fileno())
            os.close(free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
            try:
                sock.connect(str(path))
                await asyncio.sleep(0.1)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert caplog.messages == ["the lane could not be joined"]
            sock.setblocking(False)
            async with asyncio.timeout(10):
                assert await asyncio.get_running_loop().sock_recv(sock, 64) == lane.HELLO


async def test_callers_who_come_and_go_leave_no_descriptor(tmp_path: Path) -> None:
    """Also those who go while they are served."""
    async with serving(tmp_path, Held) as (service, server, path):
        before = descriptors()
        for _ in range(10):
            gateway = Gateway(path)
            gateway.ask(1)
            await service.began.wait()
            service.began.clear()
            gateway.connection.close()
        async with asyncio.timeout(10):
            while server._callers:  # noqa: ASYNC110 - the kernel says when they are gone
                await asyncio.sleep(0.001)
        assert descriptors() == before
