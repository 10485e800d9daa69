"""Callers of a real server share calls to real workers, and nobody waits twice for company."""

from __future__ import annotations

import asyncio
import time
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest

from protos import oip
from protos.tensor import Tensor
from tests import models
from tests.serving import serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.serving import Served

DELAY_S = 0.3
#: A worker that lets single requests wait for company, and the same told never to be mixed at the gateway.
CONFIG = """
models:
  plain: {worker: {repository: models, threads: 1}}
  patient: {worker: {repository: models, threads: 1}}
  apart: {worker: {repository: models, threads: 1, model: patient}, mix: false}
ensembles:
  e:
    strategy: {kind: mean}
    members: [{model: plain}, {model: patient}]
"""
PATIENT = f"max_batch_size: 64\ndynamic_batching {{ max_queue_delay_microseconds: {int(DELAY_S * 1e6)} }}\n"


@dataclass(frozen=True)
class Running:
    """A server and the weights of its models."""

    server: Served
    weights: np.ndarray


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("batches")
    weights = np.random.default_rng(5).normal(size=(8, 4)).astype(np.float32)
    for name in ("plain", "patient"):
        config = PATIENT if name == "patient" else ""
        models.write_model(folder / "models", name, models.linear(weights), config=config)
    (folder / "accord.yaml").write_text(CONFIG)
    server = serve(folder / "accord.yaml", folder)
    try:
        yield Running(server, weights)
    finally:
        assert server.stop() == 0


def request_of(model: str, x: np.ndarray) -> bytes:
    request = oip.messages.ModelInferRequest(model_name=model)
    oip.write_inputs(request, {"x": Tensor.from_array(x)})
    return bytes(request.SerializeToString())


def ask_all(running: Running, model: str, callers: int, times: int) -> float:
    """Let callers ask again and again, each for rows of its own; return the seconds that it took."""

    async def everybody() -> float:
        async with grpc.aio.insecure_channel(running.server.address) as channel:
            call = channel.unary_unary(f"/{oip.SERVICE}/ModelInfer")
            started = time.monotonic()

            async def caller(number: int) -> None:
                random = np.random.default_rng(number)
                for _ in range(times):
                    x = random.normal(size=(1 + number % 3, 8)).astype(np.float32)
                    reply = await call(request_of(model, x), timeout=20)
                    (y,) = oip.read_outputs(oip.messages.ModelInferResponse.FromString(reply)).values()
                    np.testing.assert_allclose(y.array(), x @ running.weights, rtol=1e-4, atol=1e-5)

            await asyncio.gather(*(caller(number) for number in range(callers)))
            return time.monotonic() - started

    return asyncio.run(everybody())


def counted(running: Running, metric: str) -> float:
    text = urllib.request.urlopen(f"http://{running.server.metrics}/metrics", timeout=5).read().decode()
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(metric))


def test_callers_share_batches_and_get_their_own_rows(running: Running) -> None:
    """Fifty callers with different rows: far fewer batches than requests, every answer its caller's own."""
    before = counted(running, 'accord_batch_rows_count{name="e"}')
    ask_all(running, "e", callers=50, times=8)
    batches = counted(running, 'accord_batch_rows_count{name="e"}') - before
    assert batches < 50 * 8 / 2


def test_nobody_waits_twice_for_company(running: Running) -> None:
    """What the gateway gathered is not held back by the worker's own delay; what it did not gather is."""
    assert ask_all(running, "patient", callers=1, times=1) < DELAY_S / 2
    assert ask_all(running, "apart", callers=1, times=1) >= DELAY_S
