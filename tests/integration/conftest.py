"""One gateway with real workers for all tests that only ask; tests that break things start their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest

from tests import models
from tests.serving import Served, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIG = """
server: {max_request_bytes: 65536, drain_s: 5}
models:
  one: {worker: {repository: models}}
  two: {worker: {repository: models}}
  three: {worker: {repository: models}, expose: false}
  left: {worker: {repository: models}}
  right: {worker: {repository: models}}
  picky: {worker: {repository: models}}
  nan: {worker: {repository: models}}
  slow: {worker: {repository: models}}
  single: {worker: {repository: models}}
  text: {worker: {repository: models}}
ensembles:
  mean:
    strategy: {kind: mean}
    quorum: 2
    overrides: [members, quorum, weights, strategy]
    members: [{model: one}, {model: two}, {model: three}]
  locked:
    strategy: {kind: weighted_mean}
    members: [{model: one, weight: 3}, {model: two}]
  labelled:
    strategy: {kind: soft_vote, output: probabilities}
    members: [{model: left}, {model: right}]
  tasks:
    strategy: {kind: tasks}
    quorum: 1
    members: [{ensemble: mean, name: merged}, {model: one}, {model: nan}]
  degraded:
    strategy: {kind: mean}
    quorum: 1
    members: [{model: one}, {model: nan}]
  strict:
    strategy: {kind: mean}
    quorum: 1
    nonfinite: fail
    members: [{model: one}, {model: nan}]
  mapped:
    strategy: {kind: mean, output: score}
    members:
      - {model: one, inputs: {x: a}, outputs: {score: y}}
      - {model: two, inputs: {x: b}, outputs: {score: y}}
  racing:
    strategy: {kind: tasks}
    members: [{model: single}, {model: slow}]
  hasty:
    strategy: {kind: tasks}
    members: [{model: single}, {model: slow, timeout_s: 0.3}]
  pair:
    strategy: {kind: first}
    members: [{model: slow}, {model: slow, name: again, timeout_s: 5}]
"""

#: Weights of the linear members.
WEIGHTS = {
    name: np.array([[k, 1.0], [0.5, -k]], np.float32)
    for k, name in enumerate(("one", "two", "three"), start=1)
}
_LABELLED = """
max_batch_size: 16
input [ {name: "x" data_type: TYPE_FP32 dims: [3]} ]
output [
  {name: "probabilities" data_type: TYPE_FP32 dims: [3] label_filename: "labels.txt"},
  {name: "label" data_type: TYPE_INT64 dims: []}
]
"""


def write_repository(folder: Path) -> Path:
    """Write the configuration above and its models; return the configuration's path."""
    repository = folder / "models"
    for name, weights in WEIGHTS.items():
        models.write_model(repository, name, models.linear(weights))
    for name, labels in (("left", "a\nb\nc\n"), ("right", "c\nb\na\n")):
        models.write_model(
            repository, name, models.classifier(), config=_LABELLED, files={"labels.txt": labels}
        )
    models.write_model(repository, "picky", models.picky())
    models.write_model(repository, "nan", models.nan())
    models.write_model(repository, "slow", models.slow())
    models.write_model(repository, "single", models.linear(WEIGHTS["one"], rows=1))
    models.write_model(repository, "text", models.identity(["BYTES", "FP16", "BOOL"]))
    config = folder / "accord.yaml"
    config.write_text(CONFIG)
    return config


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    server = serve(write_repository(folder), folder)
    yield server
    assert server.stop() == 0


@pytest.fixture(scope="session")
def channel(served: Served) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(served.address) as channel:
        yield channel
