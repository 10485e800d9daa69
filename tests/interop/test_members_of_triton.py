"""What a real Triton says when it cannot serve, and what callers of the gateway are told of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest

from bench.peers.triton import serve_triton
from protos.tensor import Tensor
from tests.interop.asking import infer, write_config
from tests.peers import ensure_installed
from tests.serving import eventually, failed, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

# the first run downloads
pytestmark = pytest.mark.timeout(900)

MODEL = """
import time
import triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def execute(self, requests):
        {work}
        return [
            pb_utils.InferenceResponse([
                pb_utils.Tensor("y", pb_utils.get_input_tensor_by_name(request, "x").as_numpy())
            ])
            for request in requests
        ]
"""
CONFIG = """
backend: "python"
max_batch_size: 1
input [ {{name: "x" data_type: TYPE_FP32 dims: [2]}} ]
output [ {{name: "y" data_type: TYPE_FP32 dims: [2]}} ]
dynamic_batching {{ default_queue_policy {{ {policy} }} }}
"""
X = {"x": Tensor.from_array(np.ones((1, 2), np.float32))}
SLEEP = "time.sleep(1)"
#: What the models of this file do, and how they queue.
KINDS = {
    "crowded": (SLEEP, "max_queue_size: 1"),
    "hasty": (SLEEP, "default_timeout_microseconds: 100000"),
    "broken": ('raise pb_utils.TritonModelException("secret words")', ""),
    "starved": ('raise pb_utils.TritonModelException("CUDA out of memory")', ""),
}


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[grpc.Channel]:
    """A gateway whose models are Triton's, and one that Triton does not have."""
    ensure_installed("triton")
    folder = tmp_path_factory.mktemp("triton")
    for name, (work, policy) in KINDS.items():
        version = folder / "models" / name / "1"
        version.mkdir(parents=True)
        (version / "model.py").write_text(MODEL.format(work=work))
        (version.parent / "config.pbtxt").write_text(CONFIG.format(policy=policy))
    with serve_triton(folder / "models", log=folder / "peer.log") as triton:
        served = serve(write_config(folder, triton.address, [*KINDS, "unknown"]), folder, ready=False)
        with grpc.insecure_channel(served.listening()) as channel:
            for name in KINDS:
                wait(channel, name)
            yield channel
        assert served.stop() == 0


def wait(channel: grpc.Channel, model: str) -> None:
    """Wait until a model may be asked; what it answers then is another matter."""
    eventually(lambda: reason(channel, model) != "MODEL_NOT_READY", within_s=30, what=f"{model} is ready")


def reason(channel: grpc.Channel, model: str) -> str:
    try:
        return str(failed(lambda: infer(channel, model, X)).info.reason)
    except AssertionError:
        return ""


def reasons_of_many(channel: grpc.Channel, model: str) -> list[str]:
    with ThreadPoolExecutor(6) as pool:
        return list(pool.map(lambda _: reason(channel, model), range(6)))


def test_a_full_queue_is_shed_work(channel: grpc.Channel) -> None:
    """Triton says UNAVAILABLE, which clients would retry at once; callers get RESOURCE_EXHAUSTED."""
    assert set(reasons_of_many(channel, "crowded")) == {"", "MEMBER_RESOURCE_EXHAUSTED"}


def test_an_expired_wait_is_a_missed_deadline(channel: grpc.Channel) -> None:
    """Triton says UNAVAILABLE; callers get DEADLINE_EXCEEDED."""
    assert set(reasons_of_many(channel, "hasty")) == {"", "DEADLINE_IN_MEMBER"}


def test_a_failed_model_is_our_side_s_fault_and_keeps_its_words(channel: grpc.Channel) -> None:
    """INTERNAL, without what the model said."""
    told = failed(lambda: infer(channel, "broken", X))
    assert told.info.reason == "INTERNAL"
    assert "secret" not in f"{told}"


def test_a_full_device_is_named(channel: grpc.Channel) -> None:
    """Fewer rows may pass, so callers are told."""
    assert reason(channel, "starved") == "DEVICE_OOM"


def test_a_model_that_triton_does_not_have_is_not_ready(channel: grpc.Channel) -> None:
    """It is the configuration's model, so it is known here; it may come."""
    assert reason(channel, "unknown") == "MODEL_NOT_READY"
