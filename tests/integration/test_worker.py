"""Worker processes as a client sees them, with nothing but their address."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import stat
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as sync_client
import tritonclient.grpc.aio as aio_client
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tritonclient.utils import np_to_triton_dtype

from protos import oip
from protos.address import Address
from protos.oip import messages
from protos.tensor import DTYPES, Tensor
from tests import models
from tests.serving import failed, listening
from workers.hosting import host
from workers.service import Service
from workers.servicer import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: The runtime cannot mix strings and BF16, so that one has a model of its own.
DATATYPES = [name for name in DTYPES if name != "BF16"]
FOREVER = np.array([10**9])


@dataclass(frozen=True)
class Worker:
    """A running worker process."""

    process: subprocess.Popen[str]
    address: str
    log: Path

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)


def arguments(folder: Path, model: str, *more: str) -> list[str]:
    command = [sys.executable, "-m", "workers.main", "--repository", str(folder), "--model", model]
    return [*command, "--log-format", "json", "--threads", "1", *more]


@contextmanager
def working(folder: Path, model: str, data: bytes, address: str, *more: str) -> Iterator[Worker]:
    """Start a worker and wait for its address; whatever happens, it does not outlive the block."""
    models.write_model(folder, model, data)
    log = folder / f"{model}.log"
    with listening(arguments(folder, model, "--address", address, *more), log) as (process, bound):
        yield Worker(process, bound, log)


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """A worker on a unix socket whose model returns a tensor of each datatype unchanged."""
    folder = tmp_path_factory.mktemp("w")
    with working(folder, "every", models.identity(DATATYPES), f"unix:{folder}/s") as worker:
        yield worker
        assert worker.stop() == 0
        assert worker.process.stdout is not None
        assert worker.process.stdout.read() == ""
        assert not (folder / "s").exists()


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """A worker on a loopback port whose model computes as long as it is told."""
    with working(tmp_path_factory.mktemp("w"), "slow", models.slow(), "127.0.0.1:0") as worker:
        yield worker
        assert worker.stop() == 0


@pytest.fixture(scope="module")
def client(every: Worker) -> Iterator[sync_client.InferenceServerClient]:
    with sync_client.InferenceServerClient(every.address) as made:
        yield made


@pytest.fixture(scope="module")
def channel(every: Worker) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(every.address) as made:
        yield made


def sample(datatype: str) -> np.ndarray:
    if datatype == "BYTES":
        return np.array([[b"", "é\0".encode()], [b"a" * 300, b"b"]], object)
    return np.array([[0, 1], [1, 0]]).astype(DTYPES[datatype])


def tensors(module: Any, datatypes: list[str]) -> list[Any]:
    built = [module.InferInput(f"x_{name}", [2, 2], name) for name in datatypes]
    for tensor, name in zip(built, datatypes, strict=True):
        tensor.set_data_from_numpy(sample(name))
    return built


def steps(number: np.ndarray, module: Any = sync_client) -> list[Any]:
    tensor = module.InferInput("steps", [1], "INT64")
    tensor.set_data_from_numpy(number)
    return [tensor]


def request(arrays: dict[str, np.ndarray], model: str = "every", **fields: Any) -> Any:
    message = messages.ModelInferRequest(model_name=model, **fields)
    oip.write_inputs(message, {name: Tensor.from_array(array) for name, array in arrays.items()})
    return message


def ask(channel: grpc.Channel, data: bytes, *, method: str = "ModelInfer", timeout: float = 10) -> bytes:
    """Send raw bytes to a method and return the raw answer."""
    answer: bytes = channel.unary_unary(f"/{oip.SERVICE}/{method}")(data, timeout=timeout)
    return answer


def test_tritonclient_gets_every_datatype_back(client: sync_client.InferenceServerClient) -> None:
    """With nothing but a unix socket's path, each datatype goes there and back unchanged."""
    answer = client.infer("every", tensors(sync_client, DATATYPES), request_id="r-9")
    for name in DATATYPES:
        array = answer.as_numpy(f"y_{name}")
        assert np_to_triton_dtype(array.dtype) == name
        assert array.tolist() == sample(name).tolist()
    response = answer.get_response()
    assert (response.model_name, response.model_version, response.id) == ("every", "1", "r-9")
    assert len(response.raw_output_contents) == len(DATATYPES)


async def test_the_aio_client_gets_only_what_it_asks_for(every: Worker) -> None:
    """The asynchronous client over the same socket, with a subset of the outputs."""
    async with aio_client.InferenceServerClient(every.address) as client:
        wanted = [aio_client.InferRequestedOutput(name) for name in ("y_FP16", "y_BYTES")]
        answer = await client.infer("every", tensors(aio_client, DATATYPES), outputs=wanted)
        assert [output.name for output in answer.get_response().outputs] == ["y_FP16", "y_BYTES"]
        assert answer.as_numpy("y_BYTES").tolist() == sample("BYTES").tolist()


def test_typed_contents_are_answered_raw(slow: Worker) -> None:
    """A client that fills the typed fields is served as well, and its answer is raw all the same."""
    typed = messages.ModelInferRequest(model_name="slow")
    typed.inputs.add(name="steps", datatype="INT64", shape=[1]).contents.int64_contents.append(3)
    with grpc.insecure_channel(slow.address) as channel:
        answer = messages.ModelInferResponse.FromString(ask(channel, typed.SerializeToString()))
    assert oip.read_outputs(answer)["y"].array().tolist() == [3]
    assert len(answer.raw_output_contents) == 1


def test_metadata_and_config_agree(client: sync_client.InferenceServerClient) -> None:
    """Metadata includes the row dimension, the config's dims do not, and both list the same tensors."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("every")
    assert client.is_model_ready("every", "1")
    about = client.get_server_metadata()
    assert about.name == "accord-worker"
    assert list(about.extensions) == list(oip.EXTENSIONS)
    metadata = client.get_model_metadata("every")
    config = client.get_model_config("every").config
    assert (metadata.platform, list(metadata.versions)) == ("onnxruntime_onnx", ["1"])
    assert config.max_batch_size == 256
    for told, written in ((metadata.inputs, config.input), (metadata.outputs, config.output)):
        assert [(t.name, list(t.shape)) for t in told] == [(c.name, [-1, *c.dims]) for c in written]


X = {f"x_{name}": sample(name) for name in DATATYPES}
REFUSED = {
    "wrong model": (lambda: request(X, "other"), "NOT_FOUND", "MODEL_NOT_FOUND", ""),
    "wrong version": (lambda: request(X, model_version="2"), "NOT_FOUND", "VERSION_NOT_FOUND", ""),
    "missing": (
        lambda: request({k: v for k, v in X.items() if k != "x_INT8"}),
        "INVALID_ARGUMENT",
        "INPUT_MISSING",
        "inputs",
    ),
    "unknown": (
        lambda: request({**X, "z": X["x_INT8"]}),
        "INVALID_ARGUMENT",
        "INPUT_UNKNOWN",
        "inputs[13].name",
    ),
    "datatype": (
        lambda: request({**X, "x_BOOL": X["x_INT8"]}),
        "INVALID_ARGUMENT",
        "DTYPE_MISMATCH",
        "inputs[0].datatype",
    ),
    "shape": (
        lambda: request({**X, "x_BOOL": X["x_BOOL"][:, :1]}),
        "INVALID_ARGUMENT",
        "SHAPE_MISMATCH",
        "inputs[0].shape",
    ),
    "rows differ": (
        lambda: request({**X, "x_BOOL": X["x_BOOL"][:1]}),
        "INVALID_ARGUMENT",
        "SHAPE_MISMATCH",
        "inputs",
    ),
    "not text": (
        lambda: request({**X, "x_BYTES": np.full((2, 2), b"\xff", object)}),
        "INVALID_ARGUMENT",
        "INPUT_REJECTED",
        "inputs",
    ),
}


@pytest.mark.parametrize(("build", "code", "reason", "field"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_request_is_refused_with_code_reason_and_field(
    channel: grpc.Channel, build: Any, code: str, reason: str, field: str
) -> None:
    """The status, the reason in ErrorInfo and the field in BadRequest all say the same."""
    refusal = failed(partial(ask, channel, build().SerializeToString()))
    assert (refusal.code, refusal.info.reason, refusal.field) == (code, reason, field)
    assert refusal.info.domain == "accord"
    assert not refusal.retry


def test_malformed_bytes_are_the_callers_fault_and_cost_no_connection(channel: grpc.Channel) -> None:
    """Without our own parsing, gRPC would answer UNKNOWN with the parser's text."""
    whole = request(X).SerializeToString()
    for data in (b"\xff\xff\xff", whole[:-3], whole[:40]):
        refusal = failed(partial(ask, channel, data))
        assert (refusal.code, refusal.info.reason) == ("INVALID_ARGUMENT", "MALFORMED_REQUEST")
    assert messages.ModelInferResponse.FromString(ask(channel, whole)).model_name == "every"


@pytest.mark.parametrize(
    "method", ["RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload", "CudaSharedMemoryRegister"]
)
def test_what_is_not_offered_says_so(channel: grpc.Channel, method: str) -> None:
    """The protocol's other methods are UNIMPLEMENTED with a reason, not an unknown method."""
    refusal = failed(partial(ask, channel, b"", method=method))
    assert (refusal.code, refusal.info.reason) == ("UNIMPLEMENTED", "UNSUPPORTED")


def test_shared_memory_is_refused_with_the_reason(client: sync_client.InferenceServerClient) -> None:
    """Every call of both extensions says why, so that nobody searches for a setting."""
    calls = (
        client.get_system_shared_memory_status,
        client.get_cuda_shared_memory_status,
        partial(client.register_system_shared_memory, "r", "/k", 8),
        client.unregister_system_shared_memory,
        client.unregister_cuda_shared_memory,
    )
    for call in calls:
        with pytest.raises(sync_client.InferenceServerException, match=r"UNIMPLEMENTED.*not mapped"):
            call()


def test_a_stream_answers_each_request_in_order_and_outlives_a_bad_one(
    client: sync_client.InferenceServerClient,
) -> None:
    """Tritonclient's own stream: answers and errors come to its callback, told apart by id."""
    arrived: queue.Queue[Any] = queue.Queue()
    client.start_stream(callback=lambda result, error: arrived.put((result, error)))
    wanted = [sync_client.InferRequestedOutput("y_INT8")]
    for name, model in (("a", "every"), ("b", "other"), ("c", "every")):
        client.async_stream_infer(model, tensors(sync_client, DATATYPES), request_id=name, outputs=wanted)
    (a, none), (nothing, error), (c, _) = (arrived.get(timeout=10) for _ in range(3))
    client.stop_stream()
    assert (none, nothing) == (None, None)
    assert [result.get_response().id for result in (a, c)] == ["a", "c"]
    assert a.as_numpy("y_INT8").tolist() == sample("INT8").tolist()
    assert "no model 'other'" in str(error)


def test_statistics_and_settings_are_told(client: sync_client.InferenceServerClient) -> None:
    """What perf_analyzer reads before and after a run; settings can be read by everyone."""
    before = client.get_inference_statistics("every").model_stats[0]
    client.infer("every", tensors(sync_client, DATATYPES))
    after = client.get_inference_statistics("every", "1").model_stats[0]
    assert after.inference_count - before.inference_count == 2
    assert after.execution_count - before.execution_count == 1
    assert client.get_log_settings().settings["log_info"].bool_param
    assert client.get_trace_settings().settings["trace_level"].value == ["OFF"]
    with pytest.raises(sync_client.InferenceServerException, match="PERMISSION_DENIED"):
        client.update_log_settings({"log_info": False})


def test_unknown_models_are_not_found_by_every_question(client: sync_client.InferenceServerClient) -> None:
    """Readiness, metadata and config of another model or version are NOT_FOUND."""
    for name, version in (("other", ""), ("every", "7")):
        for method in (client.is_model_ready, client.get_model_metadata, client.get_model_config):
            with pytest.raises(sync_client.InferenceServerException, match="NOT_FOUND"):
                method(name, version)


def test_health_and_reflection_are_served_on_local_addresses(channel: grpc.Channel) -> None:
    """Health knows the server and the model; reflection lists the protocol's service."""
    stub = health_pb2_grpc.HealthStub(channel)
    for name in ("", "every"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="other"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    ask_list = reflection_pb2.ServerReflectionRequest(list_services="")
    (listed,) = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([ask_list]))
    assert oip.SERVICE in {service.name for service in listed.list_services_response.service}


async def test_reflection_is_not_served_where_others_can_ask(tmp_path: Path) -> None:
    """On an address that other hosts reach, nobody is told what the server offers."""
    model = host(models.write_model(tmp_path, "picky", models.picky()), "picky", threads="1")
    await model.refresh()
    log = oip.LogService(log_format="text")
    server = Server(Service(model), log, None, "picky", Address.parse("0.0.0.0:0"))
    await server.start()
    port = server.address.text.rpartition(":")[2]
    method = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        # asked as one message: the client loses the status of a stream that ends while it is still sending
        with pytest.raises(grpc.aio.AioRpcError, match="UNIMPLEMENTED"):
            await channel.unary_unary(method)(b"")
    await server.stop(0)


def test_a_unix_socket_is_its_owners_alone(every: Worker) -> None:
    """Nobody else on the host can connect."""
    mode = os.stat(every.address.removeprefix("unix:")).st_mode  # noqa: PTH116 - a socket is no regular path
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_a_free_port_is_chosen_and_told(slow: Worker) -> None:
    """Port 0 means any; the one line on standard output is the address that was bound."""
    host, port = slow.address.rsplit(":", 1)
    assert host == "127.0.0.1"
    assert int(port) > 0


@pytest.mark.parametrize("limit", [{"client_timeout": 0.2}, {"timeout": 200_000}], ids=str)
def test_a_timeout_ends_the_run_not_only_the_wait(slow: Worker, limit: dict[str, Any]) -> None:
    """Both of tritonclient's timeouts end the work itself: the next caller is served at once."""
    with sync_client.InferenceServerClient(slow.address) as client:
        start = time.monotonic()
        with pytest.raises(sync_client.InferenceServerException, match="DEADLINE_EXCEEDED"):
            client.infer("slow", steps(FOREVER), **limit)
        assert time.monotonic() - start < 2
        assert client.infer("slow", steps(np.array([1])), client_timeout=5).as_numpy("y").tolist() == [1]


async def test_cancelling_frees_the_model(slow: Worker) -> None:
    """Calls that their client cancels are aborted, whether they run or wait."""
    async with grpc.aio.insecure_channel(slow.address) as channel:
        infer = channel.unary_unary(f"/{oip.SERVICE}/ModelInfer")
        data = request({"steps": np.array([2])}, "slow").SerializeToString()
        calls = [infer(request({"steps": FOREVER}, "slow").SerializeToString()) for _ in range(5)]
        # the order of arrival is not ours to choose: ask until they are seen to hold the model
        with pytest.raises(grpc.aio.AioRpcError, match="DEADLINE_EXCEEDED"):  # noqa: PT012
            while True:
                await infer(data, timeout=0.3)
        for call in calls:
            call.cancel()
        answer = messages.ModelInferResponse.FromString(await infer(data, timeout=5))
        assert oip.read_outputs(answer)["y"].array().tolist() == [2]
        assert all(call.cancelled() for call in calls)


def test_bf16_is_served(tmp_path: Path) -> None:
    """The datatype that numpy lacks travels like the others, and SIGINT drains like SIGTERM."""
    address = f"unix:{tmp_path}/s"
    with (
        working(tmp_path, "half", models.identity(["BF16", "FP32"]), address) as worker,
        grpc.insecure_channel(worker.address) as channel,
    ):
        sent = {f"x_{name}": np.array([[1.5, -2.0]]).astype(DTYPES[name]) for name in ("BF16", "FP32")}
        answer = messages.ModelInferResponse.FromString(
            ask(channel, request(sent, "half").SerializeToString())
        )
        assert bytes(oip.read_outputs(answer)["y_BF16"].raw) == sent["x_BF16"].tobytes()
        worker.process.send_signal(signal.SIGINT)
        assert worker.process.wait(15) == 0


def test_the_first_signal_drains_and_the_second_ends(tmp_path: Path) -> None:
    """Draining says NOT_SERVING, takes nothing new and waits for what runs; a second signal waits no more."""
    with (
        working(tmp_path, "slow", models.slow(), "127.0.0.1:0") as worker,
        grpc.insecure_channel(worker.address) as channel,
    ):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        data = request({"steps": FOREVER}, "slow").SerializeToString()
        running = channel.unary_unary(f"/{oip.SERVICE}/ModelInfer").future(data)
        assert failed(partial(ask, channel, data, timeout=0.3)).code == "DEADLINE_EXCEEDED"
        worker.process.send_signal(signal.SIGTERM)
        assert [answer.status for answer in watch] == [health_pb2.HealthCheckResponse.NOT_SERVING]
        with grpc.insecure_channel(worker.address) as another:
            assert failed(partial(ask, another, data, timeout=1)).code == "UNAVAILABLE"
        assert worker.process.poll() is None
        assert not running.done()
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(5) == -signal.SIGTERM
        assert [event["event"] for event in worker.events()][-1] == "draining"


def finish(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=30, check=False, env={**os.environ, **environment}
    )


def test_a_model_that_cannot_be_served_ends_with_3_and_one_line(tmp_path: Path) -> None:
    """The line names the file and the cause, and nothing was ever told to be listening."""
    models.write_model(tmp_path, "broken", models.corrupt())
    done = finish(arguments(tmp_path, "broken"))
    assert (done.returncode, done.stdout) == (3, "")
    (event,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert event["path"] == str(tmp_path / "broken" / "1" / "model.onnx")
    assert event["cause"] == "is damaged, or not an ONNX file; export or copy it again"
    assert event["level"] == "error"


def test_an_address_in_use_ends_with_4(tmp_path: Path) -> None:
    """The line names the address."""
    models.write_model(tmp_path, "picky", models.picky())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = finish(arguments(tmp_path, "picky", "--address", address))
    assert (done.returncode, done.stdout) == (4, "")
    assert f"cannot listen on '{address}'" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("flag", "value", "says"),
    [
        ("--address", "8001", "host:port"),
        ("--threads", "many", "'auto'"),
        ("--providers", "cpu,tpu", "'tpu' is unknown"),
        ("--drain-s", "-1", "seconds"),
        ("--max-queued", "x", "number"),
    ],
)
def test_wrong_usage_ends_with_2(
    flag: str, value: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names the flag and what it takes."""
    from workers.main import main

    with pytest.raises(SystemExit) as caught:
        main(["--repository", ".", "--model", "m", flag, value])
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert flag in told
    assert says in told
