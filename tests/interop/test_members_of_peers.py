"""Models of real Triton, MLServer and KServe servers as members: answers unchanged, failures understood."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest

from bench.peers import server as peer_server
from bench.peers.kserve import serve_kserve
from bench.peers.mlserver import serve_mlserver
from bench.peers.repository import for_kserve, for_mlserver, for_triton
from bench.peers.triton import serve_triton
from protos.tensor import Tensor
from tests import models
from tests.interop.asking import infer, write_config
from tests.peers import ensure_installed
from tests.serving import eventually, failed, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# the first run downloads
pytestmark = pytest.mark.timeout(900)

SERVERS = {
    "triton": (for_triton, serve_triton),
    "mlserver": (for_mlserver, serve_mlserver),
    "kserve": (for_kserve, serve_kserve),
}
MODELS = ["linear", "plain", "picky"]
WEIGHTS = np.array([[1, 2], [3, 4]], np.float32)


@contextmanager
def at_port(port: int) -> Iterator[None]:
    """Have the next servers listen on one port, as a restarted one does."""

    @contextmanager
    def reserved() -> Iterator[int]:
        yield port

    with pytest.MonkeyPatch.context() as patch:
        for module in ("triton", "mlserver", "kserve"):
            patch.setattr(f"bench.peers.{module}.reserved_port", reserved)
        yield


def succeeds(call: Callable[[], object]) -> bool:
    with suppress(grpc.RpcError):
        call()
        return True
    return False


@pytest.mark.parametrize("kind", SERVERS)
def test_a_foreign_server_is_a_member_like_any_other(kind: str, tmp_path: Path) -> None:
    """Tensors pass bit for bit, a refused input is the caller's, a killed server is found again."""
    ensure_installed(kind)
    prepare, start = SERVERS[kind]
    source = tmp_path / "source"
    models.write_model(source, "linear", models.linear(WEIGHTS))
    models.write_model(source, "plain", models.identity(["FP16", "FP32", "BYTES"]))
    models.write_model(source, "picky", models.picky())
    repository = prepare(source, tmp_path / "models")
    x = Tensor.from_array(np.array([[1, 1], [-2, 0.5]], np.float32))
    with peer_server.reserved_port() as port, at_port(port):
        with start(repository, log=tmp_path / "peer.log") as peer:
            served = serve(write_config(tmp_path, peer.address, MODELS), tmp_path)
            channel = grpc.insecure_channel(served.address)
            answer = infer(channel, "linear", {"x": x})["y"]
            np.testing.assert_array_equal(answer.array(), x.array() @ WEIGHTS)

            words = np.array([[b"", "\u00fc".encode()], [b"a" * 300, b"x"]], object)
            halves = np.array([[1.5, -0.0], [6e-8, 65504]], np.float16)
            sent = {
                "FP16": Tensor.from_array(halves),
                "FP32": x,
                "BYTES": Tensor.from_array(words),
            }
            came = infer(channel, "plain", {f"x_{name}": tensor for name, tensor in sent.items()})
            assert {name: (t.datatype, t.shape, bytes(t.raw)) for name, t in came.items()} == {
                f"y_{name}": (t.datatype, t.shape, bytes(t.raw)) for name, t in sent.items()
            }

            index = Tensor.from_array(np.array([7], np.int64))
            refused = failed(lambda: infer(channel, "picky", {"index": index}))
            # KServe keeps the model's words to itself
            assert refused.info.reason == ("INTERNAL" if kind == "kserve" else "INPUT_REJECTED")
            assert "ONNX" not in refused.message

            os.kill(peer.pid, signal.SIGKILL)
            lost = failed(lambda: infer(channel, "linear", {"x": x}))
            assert lost.info.reason in ("MEMBER_UNAVAILABLE", "MODEL_NOT_READY")
            assert lost.retry
        with start(repository, log=tmp_path / "peer2.log"):
            eventually(
                lambda: succeeds(lambda: infer(channel, "linear", {"x": x})), within_s=10, what="it is back"
            )
        channel.close()
        assert served.stop() == 0
