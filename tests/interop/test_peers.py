"""The foreign servers are the real ones, serve what our workers serve, and leave nothing behind."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from bench.peers import NotInstalled, PeerFailed, environment
from bench.peers.kserve import serve_kserve
from bench.peers.mlserver import serve_mlserver
from bench.peers.repository import for_kserve, for_mlserver, for_triton
from bench.peers.triton import serve_triton
from protos.tensor import DTYPES
from tests import models
from tests.peers import ensure_installed
from tests.serving import eventually
from workers.model import repository
from workers.model.interface import completed_config
from workers.model.session import load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# the first run downloads
pytestmark = pytest.mark.timeout(900)

ROOT = environment.ROOT
SERVERS = {
    "triton": (for_triton, serve_triton),
    "mlserver": (for_mlserver, serve_mlserver),
    "kserve": (for_kserve, serve_kserve),
}
WEIGHTS = np.array([[1, 2], [3, 4]], np.float32)
ROWS = np.array([[1, 1], [-2, 0.5]], np.float32)
#: All that the ONNX runtime's Python interface takes in one model.
PLAIN = [name for name in DTYPES if name != "BF16"]

LABELLED = """
max_batch_size: 16
input [ {name: "x" data_type: TYPE_FP32 dims: [3]} ]
output [
  {name: "probabilities" data_type: TYPE_FP32 dims: [3] label_filename: "labels.txt"},
  {name: "label" data_type: TYPE_INT64 dims: [1] reshape { shape: [] }}
]
"""
RESHAPED = """
max_batch_size: 4
default_model_filename: "weights.onnx"
input [ {name: "x" data_type: TYPE_FP32 dims: [2, 1] reshape { shape: [2] }} ]
output [ {name: "y" data_type: TYPE_FP32 dims: [1, 2] reshape { shape: [2] }} ]
"""
#: Waits long enough that requests which come together are run together.
JOINED = "dynamic_batching { max_queue_delay_microseconds: 300000 preferred_batch_size: [4] }"


def write_repository(folder: Path) -> Path:
    models.write_model(folder, "linear", models.linear(WEIGHTS), version=1)
    models.write_model(folder, "linear", models.linear(2 * WEIGHTS), version=3)
    models.write_model(folder, "plain", models.identity(PLAIN))
    models.write_model(folder, "bfloat16", models.identity(["BF16", "FP32"]))
    models.write_model(
        folder, "labelled", models.classifier(), config=LABELLED, files={"labels.txt": "a\nb\nc\n"}
    )
    models.write_model(folder, "reshaped", models.linear(WEIGHTS), config=RESHAPED)
    (folder / "reshaped/1/model.onnx").rename(folder / "reshaped/1/weights.onnx")
    models.write_model(folder, "vector", models.picky())
    models.write_model(folder, "joined", models.linear(WEIGHTS), config=JOINED)
    models.write_model(folder, "texts", models.identity(["BYTES"], ("n", 1)), config=JOINED)
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_repository(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def triton(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InferenceServerClient]:
    ensure_installed("triton")
    folder = tmp_path_factory.mktemp("triton")
    with (
        serve_triton(for_triton(source, folder / "models"), log=folder / "log") as peer,
        InferenceServerClient(peer.address) as client,
    ):
        yield client


def given(name: str, array: np.ndarray[Any, Any], datatype: str = "FP32") -> InferInput:
    tensor = InferInput(name, list(array.shape), datatype)
    return tensor.set_data_from_numpy(array)


@pytest.mark.parametrize("kind", SERVERS)
def test_a_peer_is_the_real_one_and_computes_what_the_model_says(kind: str, tmp_path: Path) -> None:
    """Each server says its own name, describes the model as its file does, and multiplies matrices."""
    ensure_installed(kind)
    prepare, serve = SERVERS[kind]
    own = models.write_model(tmp_path / "source", "linear", models.linear(WEIGHTS))
    with (
        serve(prepare(own, tmp_path / "models"), log=tmp_path / "log") as peer,
        InferenceServerClient(peer.address) as client,
    ):
        assert client.get_server_metadata().name == kind
        assert client.is_model_ready("linear")
        described = client.get_model_metadata("linear")
        for tensors, name in ((described.inputs, "x"), (described.outputs, "y")):
            assert [(t.name, t.datatype, list(t.shape)) for t in tensors] == [(name, "FP32", [-1, 2])]
        answer = client.infer("linear", [given("x", ROWS)], outputs=[InferRequestedOutput("y")])
        np.testing.assert_array_equal(answer.as_numpy("y"), ROWS @ WEIGHTS)
    eventually(lambda: not psutil.pid_exists(peer.pid), within_s=5, what="the server is gone")


def test_triton_says_of_a_model_what_a_worker_says(triton: InferenceServerClient, source: Path) -> None:
    """Triton's ModelConfig is our worker's, but for the backend and what Triton adds by itself."""
    for name in ("linear", "plain", "labelled", "reshaped", "joined"):
        files = repository.find(source, name)
        ours = completed_config(files, load(files).spec)
        theirs = triton.get_model_config(name).config
        for field in ("name", "max_batch_size", "input", "output"):
            assert getattr(theirs, field) == getattr(ours, field), (name, field)
        assert theirs.backend == "python"


def test_triton_serves_the_version_that_a_worker_serves(triton: InferenceServerClient) -> None:
    """Of several versions the highest answers."""
    answer = triton.infer("linear", [given("x", ROWS)])
    assert answer.get_response().model_version == "3"
    np.testing.assert_array_equal(answer.as_numpy("y"), ROWS @ (2 * WEIGHTS))


def test_every_datatype_passes_triton_unchanged(triton: InferenceServerClient) -> None:
    """What a model answers unchanged comes back bit for bit, whatever its datatype."""
    rng = np.random.default_rng(7)
    for model, datatypes in (("plain", PLAIN), ("bfloat16", ["BF16", "FP32"])):
        sent = {name: (rng.random((3, 2)) * 4).astype(DTYPES[name]) for name in datatypes if name != "BYTES"}
        if "BYTES" in datatypes:
            sent["BYTES"] = np.array([[b"", "\u00fc".encode()], [b"a" * 300, b"x"], [b"y", b"z"]], object)
        answer = triton.infer(model, [given(f"x_{name}", array, name) for name, array in sent.items()])
        for name, array in sent.items():
            np.testing.assert_array_equal(answer.as_numpy(f"y_{name}"), array, err_msg=name)


def test_only_the_outputs_asked_for_are_answered(triton: InferenceServerClient) -> None:
    """One of two outputs comes alone; its classes carry the labels of the label file."""
    x = given("x", np.array([[0, 2, 1]], np.float32))
    alone = triton.infer("labelled", [x], outputs=[InferRequestedOutput("label")])
    assert [tensor.name for tensor in alone.get_response().outputs] == ["label"]
    assert alone.as_numpy("label").tolist() == [[1]]
    best = triton.infer("labelled", [x], outputs=[InferRequestedOutput("probabilities", class_count=1)])
    assert best.as_numpy("probabilities").ravel()[0].endswith(b":1:b")


def test_reshape_file_name_and_vectors_survive(triton: InferenceServerClient) -> None:
    """What Triton's Python backend cannot express is written so that clients see the same shapes."""
    answer = triton.infer("reshaped", [given("x", ROWS.reshape(2, 2, 1))]).as_numpy("y")
    np.testing.assert_array_equal(answer, (ROWS @ WEIGHTS).reshape(2, 1, 2))
    vector = triton.infer("vector", [given("index", np.array([2, 0, 1]), "INT64")]).as_numpy("y")
    assert vector.tolist() == [3, 1, 2]


def together(client: InferenceServerClient, model: str, tensors: list[InferInput]) -> list[Any]:
    """Send requests at once; return the answers, or the errors in their place."""

    def ask(tensor: InferInput) -> Any:
        try:
            return client.infer(model, [tensor])
        except InferenceServerException as error:
            return error

    with ThreadPoolExecutor(len(tensors)) as pool:
        return list(pool.map(ask, tensors))


def executions(client: InferenceServerClient, model: str) -> int:
    return int(client.get_inference_statistics(model).model_stats[0].execution_count)


def test_requests_of_one_batch_are_one_run(triton: InferenceServerClient) -> None:
    """Requests that Triton joins are computed at once, and each gets its own rows."""
    before = executions(triton, "joined")
    answers = together(triton, "joined", [given("x", np.full((1, 2), i, np.float32)) for i in range(4)])
    assert executions(triton, "joined") - before < 4
    for i, answer in enumerate(answers):
        np.testing.assert_array_equal(answer.as_numpy("y"), np.full((1, 2), i, np.float32) @ WEIGHTS)


def test_a_bad_request_spoils_no_neighbour(triton: InferenceServerClient) -> None:
    """One request of a batch that the model refuses fails alone."""
    words = [b"a", b"\xff", b"c", b"d"]
    before = executions(triton, "texts")
    answers = together(triton, "texts", [given("x_BYTES", np.array([[w]], object), "BYTES") for w in words])
    assert executions(triton, "texts") - before < 4
    assert answers[1].status() == "StatusCode.INTERNAL"
    assert [answers[i].as_numpy("y_BYTES").item() for i in (0, 2, 3)] == [b"a", b"c", b"d"]


def test_models_are_loaded_and_unloaded_by_calls(source: Path, tmp_path: Path) -> None:
    """In explicit mode only the models asked for are there, until they are unloaded."""
    ensure_installed("triton")
    with (
        serve_triton(
            for_triton(source, tmp_path / "models"), log=tmp_path / "log", explicit=True, load=["linear"]
        ) as peer,
        InferenceServerClient(peer.address) as client,
    ):
        assert client.is_model_ready("linear")
        assert not client.is_model_ready("vector")
        client.load_model("vector")
        assert client.is_model_ready("vector")
        client.unload_model("linear")
        eventually(lambda: not client.is_model_ready("linear"), within_s=10, what="it is unloaded")


def test_a_server_that_does_not_start_says_why(source: Path, tmp_path: Path) -> None:
    """The error quotes the line of the log that names the fault."""
    ensure_installed("triton")
    target = for_triton(source, tmp_path / "models")
    (target / "linear" / "config.pbtxt").write_text("nonsense: 1")
    with (
        pytest.raises(PeerFailed, match="nonsense"),
        serve_triton(target, log=tmp_path / "log"),
    ):
        pass


STARTER = """
import sys, time
from pathlib import Path
from bench.peers.triton import serve_triton
with serve_triton(Path(sys.argv[1]), log=Path(sys.argv[2])) as peer:
    print(peer.pid, flush=True)
    time.sleep(600)
"""


def test_a_server_ends_with_the_process_that_started_it(source: Path, tmp_path: Path) -> None:
    """When its starter is killed, neither the server nor its own children stay."""
    ensure_installed("triton")
    target = for_triton(source, tmp_path / "models")
    command = [sys.executable, "-c", STARTER, str(target), str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as starter:
        assert starter.stdout is not None
        server = psutil.Process(int(starter.stdout.readline()))
        everyone = [server, *server.children(recursive=True)]
        assert len(everyone) > 1
        starter.send_signal(signal.SIGKILL)
    eventually(
        lambda: not any(p.is_running() for p in everyone), within_s=30, what="the server's processes are gone"
    )


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand a lock of one small package in for the peers' own; return it."""
    text = (environment.LOCKS / "kserve.lock").read_text("utf-8")
    found = re.search(r"^six==.*\n(?: +--hash.*\n)+", text, re.MULTILINE)
    assert found
    lock = tmp_path / "small.lock"
    lock.write_text(found[0], "utf-8")
    monkeypatch.setattr(environment, "LOCKS", tmp_path)
    monkeypatch.setattr(environment, "HOMES", tmp_path / "homes")
    return lock


def test_an_environment_is_made_once(small: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Those who ask at once get one environment, made by one of them; later ones find it."""
    ensure_installed(small.stem)
    with ThreadPoolExecutor(4) as pool:
        homes = {found.home for found in pool.map(environment.environment, [small.stem] * 4)}
    assert len(homes) == 1
    assert capfd.readouterr().err.count("installing") == 1


def test_an_environment_follows_its_lock(small: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It holds what the lock says, and is made anew when the lock says otherwise."""
    ensure_installed(small.stem)
    found = environment.environment(small.stem)
    assert (found.packages / "six.py").is_file()
    (found.home / "left-over").touch()
    small.write_text(small.read_text("utf-8") + "# changed\n", "utf-8")
    environment.environment(small.stem)
    assert not (found.home / "left-over").exists()
    assert capfd.readouterr().err.count("installing") == 2


def test_an_environment_that_cannot_be_made_says_why(small: Path) -> None:
    """The installer's words reach the caller, and what was begun does not count as made."""
    small.write_text(re.sub("sha256:[0-9a-f]+", f"sha256:{'0' * 64}", small.read_text("utf-8")), "utf-8")
    for _ in range(2):
        with pytest.raises(NotInstalled, match="six"):
            environment.environment(small.stem)
