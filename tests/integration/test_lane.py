"""The lane between a member and real worker processes, held against gRPC to the same processes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gateway.members.endpoints import Endpoints
from gateway.members.lane import Lane
from gateway.members.oip import OipMember
from gateway.values import Answer, Failure, Question
from protos import lane
from protos.errors import Cause
from protos.tensor import Tensor
from tests import models
from tests.lanes import Scripted
from tests.serving import eventually, listening

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator, Iterator

MAIN = "import sys; from workers.main import main; sys.exit(main(sys.argv[1:]))"
#: A worker whose lane is a version ahead.
AHEAD = (
    "from protos.lane import connection, frames; frames.VERSION += 1;"
    f"connection.HELLO = {lane.HELLO[:6]!r} + frames.VERSION.to_bytes(2, 'little');{MAIN}"
)


@dataclass(frozen=True)
class Worker:
    process: subprocess.Popen[str]
    address: str
    lane: Path
    log: Path

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


@contextmanager
def working(folder: Path, model: bytes, program: str = MAIN) -> Iterator[Worker]:
    models.write_model(folder, "m", model)
    path, log = folder / "w.lane", folder / "log"
    arguments = ["--repository", str(folder), "--model", "m", "--threads", "1", "--lane", str(path)]
    command = [sys.executable, "-c", program, *arguments, "--address", f"unix:{folder / 'w.sock'}"]
    with listening(command, log) as (process, address):
        yield Worker(process, address, path, log)


@asynccontextmanager
async def asking(worker: Worker, path: Path | None) -> AsyncIterator[OipMember]:
    changed = asyncio.Event()
    member = OipMember(
        name="m",
        model="m",
        endpoints=Endpoints([worker.address]),
        local=True,
        lanes={worker.address: path} if path else None,
        on_change=changed.set,
    )
    member.start()
    try:
        async with asyncio.timeout(20):
            while not member.ready:
                await changed.wait()
                changed.clear()
        yield member
    finally:
        await member.close()


@asynccontextmanager
async def both(worker: Worker) -> AsyncIterator[tuple[OipMember, OipMember]]:
    """A member that has the lane, and one that has not."""
    async with AsyncExitStack() as stack:
        yield (
            await stack.enter_async_context(asking(worker, worker.lane)),
            await stack.enter_async_context(asking(worker, None)),
        )


def by_lane(member: OipMember) -> int:
    """Return how many questions went over the lane since it is up; -1 = it is not up."""
    way: Any = member.servers[0]._lane
    return way._id if way is not None and way.up else -1


def question(inputs: dict[str, np.ndarray], *outputs: str, within_s: float = 20.0) -> Question:
    deadline = asyncio.get_running_loop().time() + within_s
    tensors = {name: Tensor.from_array(array) for name, array in inputs.items()}
    return Question(inputs=tensors, outputs=outputs, deadline=deadline, id="r-1")


async def until(condition: Any, within_s: float = 10) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - another process sets the pace
            await asyncio.sleep(0.02)


DATATYPES = ["FP32", "INT64", "BOOL", "BYTES", "FP16"]
SHAPES = {"one row": (1, 2), "many rows": (256, 2), "no rows": (0, 2)}


def tensors(shape: tuple[int, int]) -> dict[str, np.ndarray]:
    numbers = np.random.default_rng(7).normal(size=shape) * 100
    texts = np.array([b"%d" % n * 3 if n > 0 else b"" for n in numbers.ravel()], object).reshape(shape)
    return {
        "x_FP32": numbers.astype("f4"),
        "x_INT64": numbers.astype("i8"),
        "x_BOOL": numbers > 0,
        "x_BYTES": texts,
        "x_FP16": numbers.astype("f2"),
    }


@pytest.fixture(scope="module")
def echoing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with working(tmp_path_factory.mktemp("echo"), models.identity(DATATYPES, ("n", "k"))) as worker:
        yield worker


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
async def test_answers_are_those_of_grpc_bit_for_bit(echoing: Worker, shape: tuple[int, int]) -> None:
    """Every kind of tensor, with rows and without."""
    asked = tensors(shape)
    outputs = [f"y_{name}" for name in DATATYPES]
    async with both(echoing) as (over_lane, over_grpc):
        quick = await over_lane.ask(question(asked, *outputs))
        plain = await over_grpc.ask(question(asked, *outputs))
        assert (by_lane(over_lane), by_lane(over_grpc)) == (1, -1)
    assert isinstance(quick, Answer)
    assert isinstance(plain, Answer)
    assert list(quick.outputs) == list(plain.outputs) == outputs
    for name, tensor in quick.outputs.items():
        other = plain.outputs[name]
        assert (tensor.datatype, tensor.shape) == (other.datatype, other.shape)
        assert bytes(tensor.raw) == bytes(other.raw)
        assert np.array_equal(tensor.array(), asked[f"x{name[1:]}"])
    assert quick.version == plain.version
    assert quick.queue_s is not None
    assert quick.compute_s is not None


async def test_large_tensors_cross_in_both_directions_at_once(echoing: Worker) -> None:
    """A megabyte each way, several at a time: neither end waits for the other to read."""
    asked = tensors((256, 2)) | {"x_FP32": np.random.default_rng(1).normal(size=(256, 1024)).astype("f4")}
    asked = {name: np.resize(array, (256, 1024)) for name, array in asked.items()}
    wanted = question(asked, "y_FP32", "y_INT64")
    async with asking(echoing, echoing.lane) as member:
        answers = await asyncio.gather(*(member.ask(wanted) for _ in range(8)))
        assert by_lane(member) == 8
    for answer in answers:
        assert isinstance(answer, Answer)
        for name, tensor in answer.outputs.items():
            assert bytes(tensor.raw) == bytes(wanted.inputs[f"x{name[1:]}"].raw)


MISTAKES = {
    "missing": ({"x_FP32": np.ones((1, 2), np.float32)}, ()),
    "datatype": (tensors((1, 2)) | {"x_FP32": np.ones((1, 2))}, ()),
    "rows": (tensors((1, 2)) | {"x_FP32": np.ones((3, 2), np.float32)}, ()),
    "output": (tensors((1, 2)), ("nothing",)),
}


@pytest.mark.parametrize(("inputs", "outputs"), MISTAKES.values(), ids=MISTAKES)
async def test_failures_are_those_of_grpc_word_for_word(
    echoing: Worker, caplog: pytest.LogCaptureFixture, inputs: Any, outputs: tuple[str, ...]
) -> None:
    """The same cause for the caller, the same line in the log, the same consequences."""
    async with both(echoing) as members:
        found = [await member.ask(question(inputs, *outputs)) for member in members]
        assert by_lane(members[0]) == 1
        assert members[0].servers[0].stale == members[1].servers[0].stale
    assert found[0] == found[1] == Failure(Cause.MEMBER_REJECTED_INPUT)
    lines = [record.message for record in caplog.records if "failed" in record.message]
    assert len(lines) == 2
    assert lines[0] == lines[1]


async def test_garbage_to_a_worker_ends_one_connection_and_leaves_nothing_behind(echoing: Worker) -> None:
    """Others are served meanwhile, and no descriptor stays open."""
    before = echoing.descriptors()
    async with asking(echoing, echoing.lane) as member:
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", lane.HELLO + bytes(64), lane.HELLO[:-1] + b"\xff", b""):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(echoing.lane))
                sock.sendall(garbage)
                sock.shutdown(socket.SHUT_WR)
                sock.settimeout(10)
                said = bytearray()
                while piece := await asyncio.to_thread(sock.recv, 64):
                    said += piece
            assert said == lane.HELLO
        assert isinstance(await member.ask(question(tensors((1, 2)), "y_FP32")), Answer)
        assert by_lane(member) == 1
    await until(lambda: echoing.descriptors() <= before)


async def test_garbage_from_a_worker_is_a_failure_and_then_grpc_takes_over(
    echoing: Worker, tmp_path: Path
) -> None:
    """Until a probe has the lane up again."""
    impostor = Scripted(tmp_path / "lane", lambda worker, _: worker.say(bytes(64)))
    async with asking(echoing, tmp_path / "lane") as member:
        wanted = question(tensors((1, 2)), "y_FP32")
        assert by_lane(member) == 0
        assert await member.ask(wanted) == Failure(Cause.WORKER_PROTOCOL_ERROR)
        assert member.ready
        assert isinstance(await member.ask(wanted), Answer)
        await until(lambda: by_lane(member) == 0)
    impostor.close()


async def test_two_versions_of_the_lane_speak_grpc(tmp_path: Path) -> None:
    """As while one of the two is being replaced: nothing fails, and each says so once."""
    with working(tmp_path, models.linear(np.eye(2)), AHEAD) as worker:
        async with asking(worker, worker.lane) as member:
            x = {"x": np.ones((1, 2), np.float32)}
            assert isinstance(await member.ask(question(x, "y")), Answer)
            await member.refresh()
            await member.refresh()
            assert by_lane(member) == -1
        assert worker.log.read_text().count("the lane was broken") <= 1


async def test_a_cancelled_ask_frees_the_worker(tmp_path: Path) -> None:
    """The next question is answered while the first would still compute; so it is after a deadline."""
    with working(tmp_path, models.slow()) as worker:
        async with asking(worker, worker.lane) as member:
            forever, quick = {"steps": np.array([10**9])}, {"steps": np.array([1])}
            task = asyncio.create_task(member.ask(question(forever, "y", within_s=50)))
            await until(lambda: by_lane(member) == 1)
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await member.ask(question(forever, "y", within_s=0.1)) == Failure(Cause.MEMBER_TIMEOUT)
            assert isinstance(await member.ask(question(quick, "y", within_s=10)), Answer)
            assert by_lane(member) == 3


async def test_a_worker_that_is_not_told_computes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the above: it is CANCEL that frees it."""
    monkeypatch.setattr(Lane, "_abandon", lambda self, id_: self._calls.update({id_: None}))
    with working(tmp_path, models.slow()) as worker:
        async with asking(worker, worker.lane) as member:
            forever = question({"steps": np.array([10**9])}, "y", within_s=50)
            task = asyncio.create_task(member.ask(forever))
            await until(lambda: by_lane(member) == 1)
            await asyncio.sleep(0.1)
            task.cancel()
            await asyncio.wait([task])
            quick = question({"steps": np.array([1])}, "y", within_s=1)
            assert await member.ask(quick) == Failure(Cause.MEMBER_TIMEOUT)


async def test_a_worker_that_is_killed_has_crashed(tmp_path: Path) -> None:
    """Its calls fail at once, and it is asked no more."""
    with working(tmp_path, models.slow()) as worker:
        async with asking(worker, worker.lane) as member:
            wanted = question({"steps": np.array([10**9])}, "y", within_s=50)
            calls = [asyncio.create_task(member.ask(wanted)) for _ in range(3)]
            await until(lambda: by_lane(member) == 3)
            os.kill(worker.process.pid, signal.SIGKILL)
            async with asyncio.timeout(5):
                assert await asyncio.gather(*calls) == [Failure(Cause.WORKER_CRASHED)] * 3
            assert not member.ready
            assert await member.ask(wanted) == Failure(Cause.MEMBER_NOT_READY, attempts=0)


async def test_a_worker_that_is_told_to_stop_finishes_what_it_has(tmp_path: Path) -> None:
    """What comes after is told to go elsewhere."""
    with working(tmp_path, models.slow()) as worker:
        async with asking(worker, worker.lane) as member:
            steps = {"steps": np.array([200_000])}
            call = asyncio.create_task(member.ask(question(steps, "y")))
            await until(lambda: by_lane(member) == 1)
            await asyncio.sleep(0.1)
            worker.process.terminate()
            await until(lambda: "draining" in worker.log.read_text())
            late = await member.ask(question(steps, "y"))
            assert isinstance(late, Failure)
            assert late.cause is Cause.MEMBER_NOT_READY
            assert isinstance(await call, Answer)
        assert worker.process.wait(10) == 0
        eventually(lambda: not worker.lane.exists(), within_s=5, what="the socket is gone")
