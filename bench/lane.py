"""Measures the lane: against gRPC, and how large tensors should travel: ``python -m bench.lane``.

Two questions. How long does one ask of a tiny model take over the lane and over gRPC, and how much CPU does
the asking process spend on it? And is shared memory (a sealed ``memfd`` per frame) any better than writing
the tensors into the socket? Both ends are processes of this machine; times are medians of round trips.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import mmap
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table

from gateway.members.endpoints import Endpoints
from gateway.members.oip import OipMember
from gateway.values import Answer, Question
from protos import lane
from protos.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

__all__ = ["main"]

ROWS = (1, 64, 256)
SIZES = (4 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20)
_ALL_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, report and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.lane", description="Measure the lane.")
    parser.add_argument("--calls", type=int, default=1000, help="round trips per figure (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    options = parser.parse_args(arguments)
    # first, because gRPC does not like to be forked
    tensors = [
        {"bytes": size} | {name: _trip_us(way, size, options.calls) for name, way in WAYS.items()}
        for size in SIZES
    ]
    with tempfile.TemporaryDirectory() as folder, _worker(Path(folder)) as address:
        asks = asyncio.run(_asks(address, Path(folder, "w.lane"), options.calls))
    report = {"asks": asks, "tensors": tensors}
    if options.json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        _show(report)
    return 0


def _show(report: dict[str, list[dict[str, Any]]]) -> None:
    for name, rows in report.items():
        table = Table(*rows[0], title=f"{name} (microseconds)")
        for row in rows:
            table.add_row(*(str(value) for value in row.values()))
        Console(highlight=False).print(table)


async def _asks(address: str, path: Path, calls: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    members = {}
    for name, lanes in (("lane", {address: path}), ("grpc", None)):
        changed = asyncio.Event()
        members[name] = OipMember(
            name="tiny",
            model="tiny",
            endpoints=Endpoints([address]),
            local=True,
            lanes=lanes,
            on_change=changed.set,
        )
        members[name].start()
        while not members[name].ready:
            await changed.wait()
            changed.clear()
    for rows in ROWS:
        x = Tensor.from_array(np.ones((rows, 64), np.float32))
        # in turn, so that whatever else the machine does befalls both alike
        legs: dict[str, list[tuple[float, float]]] = {name: [] for name in members}
        for _ in range(5):
            for name, member in members.items():
                legs[name].append(await _leg(member, x, max(1, calls // 5)))
        for name, leg in legs.items():
            wall, cpu = (round(statistics.median(column)) for column in zip(*leg, strict=True))
            found.append({"way": name, "rows": rows, "latency_us": wall, "client_cpu_us": cpu})
    for member in members.values():
        await member.close()
    return found


async def _leg(member: OipMember, x: Tensor, calls: int) -> tuple[float, float]:
    async def ask() -> None:
        question = Question(inputs={"x": x}, outputs=("y",), deadline=time.monotonic() + 5)
        assert isinstance(await member.ask(question), Answer)  # noqa: S101 - else there is nothing to time

    for _ in range(20):
        await ask()
    times = []
    cpu = time.process_time()
    for _ in range(calls):
        began = time.perf_counter()
        await ask()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6, (time.process_time() - cpu) / calls * 1e6


@contextmanager
def _worker(folder: Path) -> Iterator[str]:
    version = folder / "tiny" / "1"
    version.mkdir(parents=True)
    (version / "model.onnx").write_bytes(_model())
    command = [sys.executable, "-m", "workers.main", "--repository", str(folder), "--model", "tiny"]
    where = ["--address", f"unix:{folder / 'w.sock'}", "--lane", str(folder / "w.lane"), "--threads", "1"]
    with subprocess.Popen(  # noqa: S603 - our own module
        [*command, *where], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None  # noqa: S101 - it is a pipe, see above
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def _model() -> bytes:
    weights = numpy_helper.from_array(np.eye(64, 10, dtype=np.float32), "w")
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", d]) for n, d in (("x", 64), ("y", 10))]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "tiny", ends[:1], ends[1:], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def _trip_us(way: Callable[[socket.socket, int, int], Awaitable[float]], size: int, calls: int) -> int:
    """Time a tensor to another process, which reads it and says so."""
    here, there = socket.socketpair()
    other = multiprocessing.get_context("fork").Process(target=_other, args=(there, here))
    other.start()
    there.close()
    calls = max(20, min(calls, (1 << 30) // size))
    try:
        return round(asyncio.run(way(here, size, calls)) * 1e6)  # type: ignore[arg-type]
    finally:
        here.close()
        other.join()


async def _through_socket(sock: socket.socket, size: int, calls: int) -> float:
    """Send tensors as the lane does."""
    tensor = memoryview(np.random.default_rng(0).bytes(size))
    done = asyncio.Event()
    connection = lane.Connection(sock, on_frame=lambda _: done.set(), on_end=lambda _: done.set())
    times = []
    for id_ in range(1, calls + 1):
        began = time.perf_counter()
        connection.send(lane.request(id_, 0, b"", [tensor]))
        await done.wait()
        done.clear()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


async def _through_memfd(sock: socket.socket, size: int, calls: int) -> float:
    """Send tensors as sealed memory, whose descriptor goes through the socket."""
    loop = asyncio.get_running_loop()
    tensor = memoryview(np.random.default_rng(0).bytes(size))
    sock.setblocking(False)
    done = asyncio.Event()

    def replied() -> None:
        sock.recv(1)
        done.set()

    loop.add_reader(sock, replied)
    times = []
    for _ in range(calls):
        began = time.perf_counter()
        memory = os.memfd_create("tensor", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
        os.write(memory, tensor)
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _ALL_SEALS)
        socket.send_fds(sock, [size.to_bytes(8, "little")], [memory])
        os.close(memory)
        await done.wait()
        done.clear()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


WAYS = {"socket": _through_socket, "memfd": _through_memfd}


def _other(sock: socket.socket, parents: socket.socket) -> None:
    parents.close()
    asyncio.run(_read_all(sock))


async def _read_all(sock: socket.socket) -> None:
    """Read whatever comes, by either way, until nothing does."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    connection: lane.Connection | None = None

    def framed(frame: lane.Frame) -> None:
        assert connection is not None  # noqa: S101 - it brought the frame
        np.frombuffer(frame.segments[0], np.uint8).max()
        connection.send(lane.reply(frame.id, b"", ()))

    def mapped() -> None:
        said, descriptors, _, _ = socket.recv_fds(sock, 8, 1)
        if not said:
            loop.remove_reader(sock)
            ended.set()
            return
        with mmap.mmap(descriptors[0], int.from_bytes(said, "little"), prot=mmap.PROT_READ) as memory:
            np.frombuffer(memory, np.uint8).max()
        os.close(descriptors[0])
        sock.send(b"1")

    sock.setblocking(True)
    if sock.recv(len(lane.HELLO), socket.MSG_PEEK).startswith(lane.HELLO[:6]):
        connection = lane.Connection(sock, on_frame=framed, on_end=lambda _: ended.set(), answers=True)
    else:
        loop.add_reader(sock, mapped)
    await ended.wait()


if __name__ == "__main__":
    sys.exit(main())
