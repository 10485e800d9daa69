"""What one call to a tiny model costs the one who makes it: ``python -m bench.asks``.

A linear model of 64 x 10 is asked one row at a time, one call after the other: bare, through a worker's
batcher and as a member of a gateway, each in the event loop and in a thread, and over gRPC to a worker. The
ways take turns; the median of the turns is printed, in microseconds.
"""

from __future__ import annotations

import asyncio
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from gateway.config.schema import InProcess
from gateway.members.endpoints import Endpoints
from gateway.members.hosted import Hosted
from gateway.members.inprocess import InProcessMember
from gateway.members.oip import OipMember
from gateway.values import Answer, Question
from protos.tensor import Tensor
from workers.batcher import Batcher, Job
from workers.model import repository
from workers.model.pace import Pace
from workers.model.ready import make_ready
from workers.model.session import load

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.members.member import Backend
    from workers.model.session import Session

TURNS, CALLS = 7, 500


def _write_model(folder: Path) -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])
    weights = numpy_helper.from_array(np.ones((64, 10), np.float32), "w")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "m", [x], [y], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (folder / "m" / "1").mkdir(parents=True)
    (folder / "m" / "1" / "model.onnx").write_bytes(model.SerializeToString())


def _opened(folder: Path) -> Session:
    session = load(repository.find(folder, "m"), threads="1")
    make_ready(session)
    return session


async def _started(member: Backend) -> None:
    member.start()
    while not member.ready:  # noqa: ASYNC110 - once, before anything is measured
        await asyncio.sleep(0.01)


async def _measure(folder: Path, target: str) -> dict[str, float]:
    row = {"x": Tensor.from_array(np.ones((1, 64), np.float32))}
    array, job = {"x": row["x"].array()}, Job(inputs=row, rows=1, wanted=())
    session = _opened(folder)

    def batcher(pace: Pace) -> Batcher:
        run = session.run
        return Batcher(
            lambda inputs, wanted, abort: run(inputs, wanted, abort=abort),
            scheduling=None,
            max_rows=256,
            max_queued=128,
            pace=pace,
        )

    backend = InProcess(repository=folder, model="m")
    inside = InProcessMember(name="m", backend=backend, on_change=lambda: None)
    slowly = _opened(folder)
    slowly.pace = Pace(steady=False)
    threaded = Hosted(slowly)
    far = OipMember(name="m", model="m", endpoints=Endpoints([target]), local=True, on_change=lambda: None)
    for member in (inside, far):
        await _started(member)
    batchers = (batcher(session.pace), batcher(Pace(steady=False)))

    async def bare() -> object:
        return session.run(array)

    async def ask(member: Backend) -> object:
        question = Question(inputs=row, outputs=("y",), deadline=time.monotonic() + 10)
        answer = await member.ask(question)
        assert isinstance(answer, Answer), answer  # noqa: S101 - a figure of failures would be worthless
        return answer

    ways: dict[str, Callable[[], Awaitable[object]]] = {
        "the run alone": bare,
        "worker's batcher, in the loop": lambda: batchers[0].run(job),
        "worker's batcher, in the thread": lambda: batchers[1].run(job),
        "member in process, in the loop": lambda: ask(inside),
        "member in process, in the thread": lambda: threaded.run(row, ("y",), math.inf),
        "member over gRPC to a worker": lambda: ask(far),
    }
    took: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(TURNS):
        for way, call in ways.items():
            began = time.perf_counter()
            for _ in range(CALLS):
                await call()
            took[way].append((time.perf_counter() - began) / CALLS)
    for each in (inside, threaded, far, *batchers):
        await each.close()
    return {way: statistics.median(times) for way, times in took.items()}


def main() -> int:
    """Measure and print; the exit code is 0."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_model(folder)
        target = f"unix:{folder}/w.sock"
        command = [
            "workers.main",
            "--repository",
            name,
            "--model",
            "m",
            "--address",
            target,
            "--threads",
            "1",
        ]
        worker = subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.DEVNULL)  # noqa: S603 - ours
        try:
            figures = asyncio.run(_measure(folder, target))
        finally:
            worker.terminate()
            worker.wait()
    for way, seconds in figures.items():
        print(f"{way:34} {math.ceil(seconds * 1e6):6} us")  # noqa: T201 - it is what the command is for
    return 0


if __name__ == "__main__":
    sys.exit(main())
