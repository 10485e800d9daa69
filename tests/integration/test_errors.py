"""The error table, walked row by row over the wire: status, reason, field, members, retry hint."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from accord.v1 import ensemble_pb2 as pb
from accord.v1 import errors_pb2
from protos import oip
from protos.errors import Reason, Retry
from protos.tensor import Tensor
from tests import models
from tests.serving import Failed, Served, eventually, failed, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

X = np.ones((2, 2), np.float32)

#: Reasons that no request of today can provoke over the wire, and where they are shown instead.
ELSEWHERE = {
    Reason.CONFIG_INVALID: "admin calls are not offered yet",
    Reason.CONFIG_REJECTED: "admin calls are not offered yet",
    Reason.MODEL_LOAD_FAILED: "admin calls are not offered yet",
    Reason.STORAGE_FULL: "admin calls are not offered yet",
    Reason.QUOTA_EXCEEDED: "quotas are not offered yet",
    Reason.AUTH_MISSING: "authentication is not offered yet",
    Reason.AUTH_INVALID: "authentication is not offered yet",
    Reason.MODEL_FORBIDDEN: "authentication is not offered yet",
    Reason.DEVICE_OOM: "needs an accelerator; tests/unit/workers",
    Reason.DEADLINE_IN_QUEUE: "the worker's own queue; tests/integration/test_worker.py",
    Reason.QUEUE_FULL: "the worker's own queue; tests/unit/workers",
    Reason.MEMBER_RESOURCE_EXHAUSTED: "tests/unit/gateway/test_oip.py",
    Reason.COMBINE_FAILED: "tests/unit/gateway/test_engine.py",
    Reason.MEMBER_BAD_OUTPUT: "tests/unit/gateway/test_engine.py",
    Reason.INTERNAL: "tests/unit/test_rpc.py",
    Reason.SHUTTING_DOWN: "tests/unit/gateway/test_admission.py",
    Reason.CLIENT_CANCELLED: "the caller has gone; counted in metrics, below",
}


BUSY = """
server: {max_in_flight: 1, drain_s: 5}
models:
  slow: {worker: {repository: models}}
  here: {worker: {repository: models}}
  gone: {worker: {repository: models}}
ensembles:
  both:
    strategy: {kind: mean}
    members: [{model: here}, {model: gone}]
"""
#: What a model's directory says of it, so that it is known without being loaded.
DECLARED = """
max_batch_size: 16
input [ {name: "x" data_type: TYPE_FP32 dims: [2]} ]
output [ {name: "y" data_type: TYPE_FP32 dims: [2]} ]
"""


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that admits one call at a time, and lacks one model."""
    folder = tmp_path_factory.mktemp("busy")
    models.write_model(folder / "models", "slow", models.slow())
    models.write_model(folder / "models", "here", models.linear(np.eye(2)), config=DECLARED)
    models.write_model(folder / "models", "gone", b"not a model", config=DECLARED)
    config = folder / "accord.yaml"
    config.write_text(BUSY)
    server = serve(config, folder, ready=False)
    yield server
    server.stop()


def call(channel: grpc.Channel, path: str, request: Any, timeout: float = 10) -> bytes:
    data = request if isinstance(request, bytes) else request.SerializeToString()
    answer: bytes = channel.unary_unary(path)(data, timeout=timeout)
    return answer


def oip_call(channel: grpc.Channel, request: Any, timeout: float = 10) -> bytes:
    return call(channel, "/inference.GRPCInferenceService/ModelInfer", request, timeout)


def typed_call(channel: grpc.Channel, request: Any, timeout: float = 10) -> bytes:
    return call(channel, "/accord.v1.EnsembleService/Infer", request, timeout)


def question(model: str = "mean", array: np.ndarray = X, name: str = "x", **fields: Any) -> Any:
    request = oip.messages.ModelInferRequest(model_name=model, **fields)
    oip.write_inputs(request, {name: Tensor.from_array(array)})
    return request


def typed(ensemble: str = "mean", array: np.ndarray = X, **fields: Any) -> pb.InferRequest:
    t = Tensor.from_array(array)
    message = pb.Tensor(name="x", datatype=t.datatype, shape=t.shape, raw=bytes(t.raw))
    return pb.InferRequest(ensemble=ensemble, inputs=[message], **fields)


def changed(change: Callable[[Any], Any]) -> Any:
    request = question()
    change(request)
    return request


#: Reason -> requests that provoke it, and the field they must name.
CASES: list[tuple[Reason, Any, str]] = [
    (Reason.MALFORMED_REQUEST, b"\xff\xff\xff", "(message)"),
    (Reason.INPUT_MISSING, oip.messages.ModelInferRequest(model_name="mean"), "inputs"),
    (Reason.INPUT_UNKNOWN, question(name="y"), "inputs[0].name"),
    (Reason.INPUT_UNKNOWN, changed(lambda r: r.outputs.add(name="z")), "outputs[0].name"),
    (
        Reason.INPUT_UNKNOWN,
        changed(lambda r: oip.write_inputs(r, {"x": Tensor.from_array(X)})),
        "inputs[1].name",
    ),
    (Reason.DTYPE_MISMATCH, question(array=X.astype(np.int64)), "inputs[0].datatype"),
    (Reason.DTYPE_MISMATCH, changed(lambda r: setattr(r.inputs[0], "datatype", "FP8")), "inputs[0].datatype"),
    (Reason.SHAPE_MISMATCH, question(array=X[:, :1]), "inputs[0].shape"),
    (Reason.SHAPE_MISMATCH, changed(lambda r: r.inputs[0].shape.__setitem__(0, -1)), "inputs[0].shape"),
    (Reason.SHAPE_MISMATCH, question(array=np.ones((257, 2), np.float32)), "inputs"),
    (Reason.TENSOR_SIZE_MISMATCH, changed(lambda r: r.raw_input_contents.append(b"")), "raw_input_contents"),
    (Reason.TENSOR_SIZE_MISMATCH, changed(lambda r: r.raw_input_contents.__setitem__(0, b"1")), "inputs[0]"),
    (
        Reason.TENSOR_ENCODING_CONFLICT,
        changed(lambda r: r.inputs[0].contents.fp32_contents.extend([1.0])),
        "inputs[0]",
    ),
    (
        Reason.PARAMETER_INVALID,
        changed(lambda r: setattr(r.parameters["timeout"], "int64_param", -1)),
        "parameters['timeout']",
    ),
    (
        Reason.PARAMETER_INVALID,
        changed(lambda r: setattr(r.parameters["timeout"], "string_param", "1")),
        "parameters['timeout']",
    ),
    (Reason.PARAMETER_INVALID, typed("locked", members=["one"]), "members"),
    (Reason.PARAMETER_INVALID, typed(members=["nobody"]), "members"),
    (Reason.PARAMETER_INVALID, typed(members=["one", "one"]), "members"),
    (Reason.PARAMETER_INVALID, typed(members=["one"]), "quorum"),
    (Reason.PARAMETER_INVALID, typed(weights={"one": float("nan")}), "weights['one']"),
    (Reason.PARAMETER_INVALID, typed(quorum=pb.Quorum(weight=1.5)), "quorum"),
    (Reason.PARAMETER_INVALID, typed(timeout_s=-1.0), "timeout_s"),
    (Reason.PARAMETER_INVALID, typed(strategy=pb.StrategyOverride(kind="magic")), "strategy"),
    (
        Reason.PARAMETER_INVALID,
        typed(strategy=pb.StrategyOverride(kind="mean", options_json="[")),
        "strategy.options_json",
    ),
    (Reason.PARAMETER_INVALID, typed(weights={"one": 1e308}), "weights['one']"),
    (Reason.PARAMETER_INVALID, typed(strategy=pb.StrategyOverride(kind="m" * 10_000)), "strategy.kind"),
    (
        Reason.PARAMETER_INVALID,
        typed(strategy=pb.StrategyOverride(kind="mean", options_json='{"output": "' + "z" * 10_000 + '"}')),
        "strategy.options_json",
    ),
    (
        Reason.PARAMETER_INVALID,
        typed(strategy=pb.StrategyOverride(kind="mean", options_json='{"a":' * 300 + "1" + "}" * 300)),
        "strategy.options_json",
    ),
    (
        Reason.PARAMETER_INVALID,
        typed(strategy=pb.StrategyOverride(kind="trimmed_mean", options_json='{"trim": Infinity}')),
        "strategy.options_json",
    ),
    (
        Reason.PARAMETER_INVALID,
        typed(strategy=pb.StrategyOverride(kind="rank_fusion", options_json='{"top": 100000000}')),
        "strategy",
    ),
    (Reason.PARAMETER_INVALID, typed(id="i" * 2000), "id"),
    (Reason.INPUT_REJECTED, question("picky", np.array([7], np.int64), "index"), ""),
    (Reason.MODEL_NOT_FOUND, question("nothing"), ""),
    (Reason.MODEL_NOT_FOUND, question("three"), ""),
    (Reason.VERSION_NOT_FOUND, question(model_version="9"), ""),
    (Reason.REQUEST_TOO_LARGE, question(array=np.ones((16_384, 2), np.float32)), ""),
    (Reason.NONFINITE_OUTPUT, question("strict"), ""),
    (
        Reason.UNSUPPORTED,
        changed(lambda r: setattr(r.parameters["sequence_id"], "int64_param", 1)),
        "parameters['sequence_id']",
    ),
    (
        Reason.UNSUPPORTED,
        changed(lambda r: r.inputs[0].parameters["shared_memory_region"].MergeFromString(b"\x1a\x01a")),
        "inputs[0].parameters",
    ),
]


@pytest.mark.parametrize(
    ("reason", "request_", "field"), CASES, ids=[f"{i}-{case[0].name}" for i, case in enumerate(CASES)]
)
def test_a_faulty_request_gets_its_reason(
    channel: grpc.Channel, reason: Reason, request_: Any, field: str
) -> None:
    """Each fault of a request is answered with the status, reason and field that the table gives it."""
    ask = typed_call if isinstance(request_, pb.InferRequest) else oip_call
    check(failed(lambda: ask(channel, request_)), reason, field)


def check(error: Failed, reason: Reason, field: str = "") -> None:
    assert error.info.reason == reason.name, error.message
    assert error.code == reason.code.name
    assert error.info.domain == "accord"
    assert error.field == field
    assert error.retry == (reason.retry in (Retry.BACKOFF, Retry.LATER))
    assert error.message
    assert error.trailer_bytes < 6 * 1024
    for leak in ("Traceback", "/tmp", "site-packages", "Error(", "onnx"):
        assert leak not in error.message


def test_every_reason_is_provoked_here_or_shown_elsewhere() -> None:
    """No row of the table goes untested, and none is excused that is tested."""
    here = {case[0] for case in CASES} | {
        Reason.DEADLINE_AT_ADMISSION,
        Reason.DEADLINE_IN_MEMBER,
        Reason.OVERLOADED,
        Reason.MODEL_NOT_READY,
        Reason.MEMBER_UNAVAILABLE,
        Reason.QUORUM_NOT_MET,
    }
    assert here | ELSEWHERE.keys() == set(Reason)
    assert not here & ELSEWHERE.keys()


def test_a_budget_without_time_to_work_is_refused_at_admission(channel: grpc.Channel) -> None:
    """A timeout shorter than the way home is DEADLINE_AT_ADMISSION, before any member is asked."""
    check(failed(lambda: typed_call(channel, typed(timeout_s=0.001))), Reason.DEADLINE_AT_ADMISSION)


def test_a_slow_member_is_a_deadline_and_is_named(channel: grpc.Channel) -> None:
    """The request's own timeout ends the call, earlier than the RPC's, and names who was late."""
    request = question("slow", np.array([10_000_000], np.int64), "steps")
    request.parameters["timeout"].int64_param = 300_000
    started = time.monotonic()
    error = failed(lambda: oip_call(channel, request))
    assert time.monotonic() - started < 3.0
    check(error, Reason.DEADLINE_IN_MEMBER)
    assert [(m.seat, m.cause) for m in error.members] == [("slow", errors_pb2.CAUSE_MEMBER_TIMEOUT)]


def test_an_error_carries_the_id_to_report_it_with(channel: grpc.Channel) -> None:
    """The caller's own id comes back; a call without one gets a fresh one, so that the log can be found."""
    own = failed(lambda: oip_call(channel, question("nothing", id="r-42")))
    assert own.info.metadata["request_id"] == "r-42"
    fresh = {failed(lambda: oip_call(channel, question("nothing"))).info.metadata["request_id"] for _ in "ab"}
    assert len(fresh - {""}) == 2


def test_methods_that_are_not_offered_say_so(channel: grpc.Channel) -> None:
    """Known methods of the protocol answer UNSUPPORTED with a reason, not gRPC's bare refusal."""
    error = failed(lambda: call(channel, "/inference.GRPCInferenceService/SystemSharedMemoryStatus", b""))
    check(error, Reason.UNSUPPORTED)


def test_a_malformed_probe_is_the_probers_fault(channel: grpc.Channel) -> None:
    """Even the health service never answers UNKNOWN, nor with exception text."""
    error = failed(lambda: call(channel, "/grpc.health.v1.Health/Check", b"\xff\xff\xff"))
    assert error.code == "INVALID_ARGUMENT"
    assert "DecodeError" not in error.message


def test_a_cancelled_call_is_counted_as_cancelled(served: Served, channel: grpc.Channel) -> None:
    """The caller is gone, so nothing can be told; the metrics know."""
    request = question("slow", np.array([10_000_000], np.int64), "steps").SerializeToString()
    future = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer").future(request, timeout=10)
    time.sleep(0.2)
    future.cancel()
    line = 'accord_requests_total{code="CANCELLED",method="ModelInfer",name="slow",reason="CLIENT_CANCELLED"}'
    eventually(lambda: line in metrics(served), within_s=5, what="the cancellation is counted")


def metrics(served: Served) -> str:
    import urllib.request

    with urllib.request.urlopen(f"http://{served.metrics}/metrics", timeout=5) as answer:
        text: str = answer.read().decode()
        return text


def test_an_unready_model_a_lost_quorum_and_overload(busy: Served) -> None:
    """What the server's state, not the request, makes fail: each is retryable and says so."""
    with grpc.insecure_channel(busy.listening()) as channel:
        eventually(
            lambda: ready(channel, "slow") and ready(channel, "here"), within_s=20, what="models are ready"
        )
        unready = failed(lambda: oip_call(channel, question("gone")))
        check(unready, Reason.MODEL_NOT_READY)
        lost = failed(lambda: oip_call(channel, question("both")))
        check(lost, Reason.QUORUM_NOT_MET)
        assert lost.info.metadata["quorum"] == "1/2"
        assert [m.seat for m in lost.members] == ["gone"]

        slow = question("slow", np.array([10_000_000], np.int64), "steps")
        slow.parameters["timeout"].int64_param = 1_000_000
        first = threading.Thread(target=lambda: failed(lambda: oip_call(channel, slow)))
        first.start()
        eventually(lambda: overloaded(channel), within_s=5, what="the second call is shed")
        first.join()
        oip_call(channel, question("here"))


def ready(channel: grpc.Channel, name: str) -> bool:
    request = oip.messages.ModelReadyRequest(name=name)
    data = call(channel, "/inference.GRPCInferenceService/ModelReady", request)
    return bool(oip.messages.ModelReadyResponse.FromString(data).ready)


def overloaded(channel: grpc.Channel) -> bool:
    try:
        oip_call(channel, question("here"))
    except grpc.RpcError as error:
        from tests.serving import decode

        check(decode(error), Reason.OVERLOADED)
        return True
    return False


def test_a_worker_that_dies_under_a_call_is_named(busy: Served) -> None:
    """A required member that crashes in flight is MEMBER_UNAVAILABLE with the cause WORKER_CRASHED."""
    import os
    import signal

    with grpc.insecure_channel(busy.listening()) as channel:
        eventually(lambda: ready(channel, "slow"), within_s=20, what="the model is ready")
        pid = worker_pid(busy, "slow/0")
        request = question("slow", np.array([10_000_000], np.int64), "steps")
        future = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer").future(
            request.SerializeToString(), timeout=10
        )
        time.sleep(0.3)
        os.kill(pid, signal.SIGKILL)
        started = time.monotonic()
        error = failed(future.result)
        assert time.monotonic() - started < 1.0
        check(error, Reason.MEMBER_UNAVAILABLE)
        assert [(m.seat, m.cause) for m in error.members] == [("slow", errors_pb2.CAUSE_WORKER_CRASHED)]


def worker_pid(served: Served, name: str) -> int:
    import psutil

    model = name.partition("/")[0]
    children = psutil.Process(served.process.pid).children()
    (found,) = (c.pid for c in children if f"--model {model} " in " ".join(c.cmdline()))
    return int(found)
