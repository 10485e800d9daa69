"""A graph over real processes: its callers share batches, and a dead member takes only its readers along."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest

from accord.client import CallError, Client
from accord.v1 import errors_pb2
from tests import models
from tests.serving import eventually, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.serving import Served

CONFIG = """
models:
  enc: {worker: {repository: models, threads: 1}}
  left: {inprocess: {repository: models}}
  right: {worker: {repository: models, threads: 1}}
  meta: {worker: {repository: models, threads: 1}}
  extra: {inprocess: {repository: models}}
ensembles:
  e:
    strategy: {kind: tasks, prefix: false}
    quorum: 1
    optional_inputs: [image]
    members:
      - {model: enc}
      - {model: left, inputs: {x: {member: enc, output: y}}}
      - {model: right, inputs: {x: {member: enc, output: y}}}
      - {model: meta, inputs: {x: {stack: [{member: left, output: y}, {member: right, output: y}]}}}
      - {model: extra, inputs: {x: image}, outputs: {z: y}}
"""
RNG = np.random.default_rng(3)
WEIGHTS = {
    name: RNG.normal(size=shape).astype(np.float32)
    for name, shape in {
        "enc": (8, 4),
        "left": (4, 3),
        "right": (4, 2),
        "meta": (5, 2),
        "extra": (6, 2),
    }.items()
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder: Path = tmp_path_factory.mktemp("graphs")
    for name, weights in WEIGHTS.items():
        models.write_model(folder / "models", name, models.linear(weights))
    (folder / "accord.yaml").write_text(CONFIG)
    server = serve(folder / "accord.yaml", folder)
    try:
        yield server
    finally:
        assert server.stop() == 0


def through(x: np.ndarray) -> np.ndarray:
    """Compute what the graph answers."""
    embedding = x @ WEIGHTS["enc"]
    return np.hstack([embedding @ WEIGHTS["left"], embedding @ WEIGHTS["right"]]) @ WEIGHTS["meta"]


def test_callers_ride_through_a_graph_and_get_their_own_rows(served: Served) -> None:
    """Many at once, each with rows of its own."""

    def caller(number: int) -> None:
        random = np.random.default_rng(number)
        with Client(served.address) as client:
            for _ in range(10):
                x = random.normal(size=(1 + number % 3, 8)).astype(np.float32)
                answer = client.infer("e", {"x": x})
                np.testing.assert_allclose(answer.outputs["y"], through(x), rtol=1e-3, atol=1e-4)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(caller, range(16)))


def test_an_optional_input_brings_its_branch(served: Served) -> None:
    """With it there is one output more; without it the answer is whole, and says who was left out."""
    x, image = np.ones((2, 8), np.float32), np.ones((2, 6), np.float32)
    with Client(served.address) as client:
        assert {tensor.name: tensor.optional for tensor in client.describe("e").inputs} == {
            "x": False,
            "image": True,
        }
        both = client.infer("e", {"x": x, "image": image})
        np.testing.assert_allclose(both.outputs["z"], image @ WEIGHTS["extra"], rtol=1e-4, atol=1e-5)
        alone = client.infer("e", {"x": x})
        assert set(alone.outputs) == {"y"}
        assert not alone.report.degraded
        (extra,) = [member for member in alone.report.members if member.seat == "extra"]
        assert extra.outcome == errors_pb2.OUTCOME_NOT_ASKED
        assert "input 'image'" in extra.message
        with pytest.raises(CallError) as caught:
            client.infer("e", {"x": x}, outputs=["z"])
        assert caught.value.reason == "INPUT_MISSING"
        only = client.infer("e", {"x": x, "image": image}, outputs=["z"])
        assert {m.seat for m in only.report.members if m.outcome == errors_pb2.OUTCOME_OK} == {"extra"}


def test_a_dead_member_takes_only_its_readers(served: Served) -> None:
    """The branch beside it goes on, and the lost one says whom it reads."""
    x, image = np.ones((1, 8), np.float32), np.ones((1, 6), np.float32)
    with Client(served.address) as client:
        (pid,) = served.pids("right")
        os.kill(pid, signal.SIGKILL)
        lost = eventually(
            lambda: (answer := client.infer("e", {"x": x, "image": image})).report.degraded and answer,
            within_s=10,
            what="an answer without the dead member",
        )
        assert set(lost.outputs) == {"z"}
        told = {member.seat: member for member in lost.report.members}
        assert told["meta"].message.startswith("it reads 'right': ")
        assert told["enc"].outcome == told["left"].outcome == errors_pb2.OUTCOME_OK
        back = eventually(
            lambda: not (answer := client.infer("e", {"x": x, "image": image})).report.degraded and answer,
            within_s=20,
            what="a whole answer again",
        )
        np.testing.assert_allclose(back.outputs["y"], through(x), rtol=1e-3, atol=1e-4)
