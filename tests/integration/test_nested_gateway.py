"""A gateway in front of a gateway: the inner one's reasons mean the same one level up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest

from protos.tensor import Tensor
from tests import models
from tests.interop.asking import infer, write_config
from tests.serving import failed, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

INNER = """
models:
  linear: {worker: {repository: models}}
  picky: {worker: {repository: models}}
  nan: {worker: {repository: models}}
  slow: {worker: {repository: models}}
ensembles:
  strict:
    strategy: {kind: mean}
    nonfinite: fail
    members: [{model: linear}, {model: nan}]
  needy:
    strategy: {kind: mean}
    members: [{model: linear}, {model: nan}]
"""
X = Tensor.from_array(np.ones((1, 2), np.float32))
WEIGHTS = np.array([[1, 2], [3, 4]], np.float32)


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[grpc.Channel]:
    inside, outside = tmp_path_factory.mktemp("inner"), tmp_path_factory.mktemp("outer")
    models.write_model(inside / "models", "linear", models.linear(WEIGHTS))
    models.write_model(inside / "models", "picky", models.picky())
    models.write_model(inside / "models", "nan", models.nan())
    models.write_model(inside / "models", "slow", models.slow())
    (inside / "accord.yaml").write_text(INNER)
    inner = serve(inside / "accord.yaml", inside)
    names = ["linear", "picky", "nan", "slow", "strict", "needy"]
    outer = serve(write_config(outside, inner.address, names), outside)
    with grpc.insecure_channel(outer.address) as channel:
        yield channel
    assert outer.stop() == 0
    assert inner.stop() == 0


def test_an_answer_passes_both(channel: grpc.Channel) -> None:
    """What the inner gateway answers is the outer one's answer."""
    np.testing.assert_array_equal(infer(channel, "linear", {"x": X})["y"].array(), X.array() @ WEIGHTS)


@pytest.mark.parametrize(
    ("model", "inputs", "reason"),
    [
        ("picky", {"index": Tensor.from_array(np.array([7], np.int64))}, "INPUT_REJECTED"),
        ("strict", {"x": X}, "NONFINITE_OUTPUT"),
        ("needy", {"x": X}, "NONFINITE_OUTPUT"),
        ("slow", {"steps": Tensor.from_array(np.array([10**7], np.int64))}, "DEADLINE_IN_MEMBER"),
    ],
)
def test_a_reason_passes_both(
    channel: grpc.Channel, model: str, inputs: dict[str, Tensor], reason: str
) -> None:
    """The outer caller is told what the inner one would have been told."""
    assert failed(lambda: infer(channel, model, inputs, within_s=1.0)).info.reason == reason


def test_a_failed_ensemble_does_not_take_its_gateway_out(channel: grpc.Channel) -> None:
    """The inner gateway is alive: the next call to the same model is answered by it, not refused before."""
    for _ in range(3):
        assert failed(lambda: infer(channel, "needy", {"x": X})).info.reason == "NONFINITE_OUTPUT"
