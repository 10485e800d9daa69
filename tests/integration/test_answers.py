"""What a gateway with real workers answers, over real sockets."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tritonclient.grpc as sync_client
import tritonclient.grpc.aio as aio_client
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from accord.client import CallError, Client
from accord.v1 import ensemble_pb2 as pb
from accord.v1 import errors_pb2
from protos import oip
from tests.integration.conftest import WEIGHTS

if TYPE_CHECKING:
    import grpc

    from tests.serving import Served

X = np.array([[1.0, 2.0], [-3.0, 0.5], [0.0, 7.0]], np.float32)
#: For a model that is quick and one that takes about a fifth of a second.
RACE = {"x": X[:1], "steps": np.array([20_000])}
MEAN = np.mean([X.astype(np.float64) @ w for w in WEIGHTS.values()], axis=0).astype(np.float32)


def tensor(name: str, array: np.ndarray, datatype: str) -> sync_client.InferInput:
    built = sync_client.InferInput(name, array.shape, datatype)
    built.set_data_from_numpy(array)
    return built


def test_a_merge_equals_the_same_merge_computed_directly(served: Served) -> None:
    """tritonclient, with nothing but the address, gets the mean of what the three models compute."""
    client = sync_client.InferenceServerClient(served.address)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("mean")
    answer = client.infer("mean", [tensor("x", X, "FP32")], request_id="r-7")
    np.testing.assert_allclose(answer.as_numpy("y"), MEAN, rtol=1e-6)
    response = answer.get_response()
    assert (response.id, response.model_name, response.model_version) == ("r-7", "mean", "1")
    assert not response.parameters["accord_degraded"].bool_param
    assert response.parameters["accord_members_used"].int64_param == 3
    client.close()


async def test_the_asynchronous_client_gets_the_same_answer(served: Served) -> None:
    """The aio flavour of tritonclient works as well."""
    async with aio_client.InferenceServerClient(served.address) as client:
        answer = await client.infer("mean", [tensor("x", X, "FP32")])
        np.testing.assert_allclose(answer.as_numpy("y"), MEAN, rtol=1e-6)


def test_an_ensemble_looks_like_a_model(served: Served) -> None:
    """Its metadata lists tensors with the row dimension; members that are not exposed do not exist."""
    client = sync_client.InferenceServerClient(served.address)
    metadata = client.get_model_metadata("mean")
    assert [(t.name, t.datatype, list(t.shape)) for t in metadata.inputs] == [("x", "FP32", [-1, 2])]
    assert [(t.name, t.datatype, list(t.shape)) for t in metadata.outputs] == [("y", "FP32", [-1, 2])]
    assert client.get_server_metadata().name == "accord"
    assert client.is_model_ready("one")
    with pytest.raises(sync_client.InferenceServerException, match="no model 'three'"):
        client.is_model_ready("three")
    client.close()


def test_typed_contents_are_read_and_answers_are_always_raw(channel: grpc.Channel) -> None:
    """A client that fills ``contents`` gets ``raw_output_contents``, as every client can read."""
    request = oip.messages.ModelInferRequest(model_name="mean")
    message = request.inputs.add(name="x", datatype="FP32", shape=X.shape)
    message.contents.fp32_contents.extend(X.ravel().tolist())
    response = infer(channel, request)
    assert len(response.raw_output_contents) == 1
    got = np.frombuffer(response.raw_output_contents[0], np.float32).reshape(X.shape)
    np.testing.assert_allclose(got, MEAN, rtol=1e-6)


def test_classes_are_aligned_by_their_names(served: Served) -> None:
    """Two members name the same classes in opposite order; their answers meet class by class."""
    x = np.array([[3.0, 0.0, -1.0]], np.float32)
    p = np.exp(x.astype(np.float64)) / np.exp(x.astype(np.float64)).sum()
    with Client(served.address) as client:
        answer = client.infer("labelled", {"x": x})
    np.testing.assert_allclose(answer.outputs["probabilities"], (p + p[:, ::-1]) / 2, rtol=1e-5)
    assert answer.outputs["label"].tolist() == [b"a"]
    assert answer.report.agreement == pytest.approx([0.5])


def test_tensors_are_joined_by_the_configured_names(served: Served) -> None:
    """Members whose tensors are named differently share a request under the ensemble's names."""
    with Client(served.address) as client:
        answer = client.infer("mapped", {"a": X, "b": 2 * X})
    want = (X @ WEIGHTS["one"] + 2 * X @ WEIGHTS["two"]) / 2
    np.testing.assert_allclose(answer.outputs["score"], want, rtol=1e-6)


def test_several_tasks_answer_in_one_call(served: Served) -> None:
    """Each task's outputs stand side by side; a nested ensemble is one of them; a lost task is reported."""
    with Client(served.address) as client:
        answer = client.infer("tasks", {"x": X})
        with pytest.raises(CallError) as lost:
            client.infer("tasks", {"x": X}, outputs=["nan.y"])
    assert sorted(answer.outputs) == ["merged.y", "one.y"]
    assert lost.value.reason == "NONFINITE_OUTPUT"
    np.testing.assert_allclose(answer.outputs["merged.y"], MEAN, rtol=1e-6)
    seats = [member.seat for member in answer.report.members]
    assert seats == ["merged", "merged/one", "merged/two", "merged/three", "one", "nan"]


def test_a_degraded_answer_is_ok_and_says_so(served: Served) -> None:
    """A member that answers NaN is dropped, named, and the rest is merged."""
    client = sync_client.InferenceServerClient(served.address)
    answer = client.infer("degraded", [tensor("x", X, "FP32")])
    np.testing.assert_allclose(answer.as_numpy("y"), X @ WEIGHTS["one"], rtol=1e-6)
    parameters = answer.get_response().parameters
    assert parameters["accord_degraded"].bool_param
    assert parameters["accord_members_used"].int64_param == 1
    assert parameters["accord_members_asked"].int64_param == 2
    assert parameters["accord_failed"].string_param == "nan=NONFINITE_OUTPUT"
    client.close()


def test_a_request_may_choose_members_weights_quorum_and_strategy(served: Served) -> None:
    """What the configuration permits changes the merge, and only for this request."""
    direct = {name: X @ weights for name, weights in WEIGHTS.items()}
    with Client(served.address) as client:
        two = client.infer("mean", {"x": X}, members=["one", "three"])
        np.testing.assert_allclose(two.outputs["y"], (direct["one"] + direct["three"]) / 2, rtol=1e-6)
        assert {m.seat: m.outcome for m in two.report.members}["two"] == errors_pb2.OUTCOME_NOT_ASKED
        assert not two.report.degraded
        median = client.infer("mean", {"x": X}, strategy=pb.StrategyOverride(kind="max"))
        np.testing.assert_allclose(median.outputs["y"], np.max(list(direct.values()), axis=0), rtol=1e-6)
        weighted = client.infer(
            "mean",
            {"x": X},
            weights={"one": 2.0, "two": 0.0, "three": 0.0},
            strategy=pb.StrategyOverride(kind="weighted_mean"),
            quorum=pb.Quorum(count=3),
        )
        np.testing.assert_allclose(weighted.outputs["y"], direct["one"], rtol=1e-6)
        again = client.infer("mean", {"x": X})
        np.testing.assert_allclose(again.outputs["y"], MEAN, rtol=1e-6)


def test_the_report_tells_what_each_member_did(served: Served) -> None:
    """Outcome, model, version, attempts, weight and times of every seat, and its own outputs on demand."""
    with Client(served.address) as client:
        report = client.infer("locked", {"x": X}, return_members=True).report
    one, two = report.members
    assert (one.seat, one.model, one.version, one.attempts) == ("one", "one", "1", 1)
    assert (one.weight_used, two.weight_used) == (0.75, 0.25)
    assert one.compute_s > 0
    assert one.wire_s > 0
    assert report.elapsed_s >= one.compute_s
    own = np.frombuffer(two.outputs[0].raw, np.float32).reshape(X.shape)
    np.testing.assert_allclose(own, X @ WEIGHTS["two"], rtol=1e-6)
    assert not report.degraded


def test_every_datatype_passes_through_unchanged(served: Served) -> None:
    """BYTES with any length, half floats and booleans come back as they went."""
    text = np.array([[b"", b"hello"], ["grüße".encode(), b"x" * 1000]], object)
    half = np.array([[0.5, -2.0], [65504, 1e-7]], np.float16)
    flag = np.array([[True, False], [False, True]])
    with Client(served.address) as client:
        got = client.infer("text", {"x_BYTES": text, "x_FP16": half, "x_BOOL": flag}).outputs
    np.testing.assert_array_equal(got["y_BYTES"], text)
    np.testing.assert_array_equal(got["y_FP16"], half)
    np.testing.assert_array_equal(got["y_BOOL"], flag)


def test_a_model_that_does_not_batch_is_served_as_it_is(served: Served) -> None:
    """Its first dimension is no row dimension."""
    with Client(served.address) as client:
        got = client.infer("single", {"x": X[:1]}).outputs["y"]
    np.testing.assert_allclose(got, X[:1] @ WEIGHTS["one"], rtol=1e-6)


def test_zero_rows_are_a_normal_question(served: Served) -> None:
    """No rows in, no rows out, no error."""
    with Client(served.address) as client:
        assert client.infer("mean", {"x": X[:0]}).outputs["y"].shape == (0, 2)


def test_the_typed_service_lists_and_describes(served: Served) -> None:
    """Names, members and what may be overridden can be found out by a program."""
    with Client(served.address) as client:
        listed = {summary.name: summary for summary in client.list()}
        described = client.describe("mean")
    assert listed["mean"].strategy == "mean"
    assert listed["mean"].members == 3
    assert listed["one"].strategy == ""
    assert "three" not in listed
    assert [m.seat for m in described.members] == ["one", "two", "three"]
    assert list(described.overrides) == ["members", "quorum", "weights", "strategy"]
    assert described.quorum.count == 2


def test_standard_health_and_reflection_are_there(channel: grpc.Channel) -> None:
    """Probes and grpcurl need no proto file of ours."""
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "mean", "one"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    answers = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
        iter([request]), timeout=5
    )
    names = {service.name for service in next(answers).list_services_response.service}
    assert {"inference.GRPCInferenceService", "accord.v1.EnsembleService", "grpc.health.v1.Health"} <= names


def infer(channel: grpc.Channel, request: Any, **options: Any) -> Any:
    method = channel.unary_unary(
        "/inference.GRPCInferenceService/ModelInfer",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=oip.messages.ModelInferResponse.FromString,
    )
    return method(request, timeout=10, **options)


def test_answers_are_streamed_as_members_arrive(served: Served) -> None:
    """Interim answers lead up to the final one, which is what a plain call gets."""
    with Client(served.address) as client:
        answers = list(client.infer_stream("racing", RACE))
        plain = client.infer("racing", RACE)
    *interim, final = answers
    assert (final.final, final.quorum_met) == (True, True)
    assert interim
    assert not any(answer.final for answer in interim)
    assert [answer.report.members_used for answer in answers] == [1, 2]
    np.testing.assert_array_equal(final.outputs["slow.y"], plain.outputs["slow.y"])
    assert list(interim[0].outputs) == ["single.y"]
    assert interim[0].report.members[1].outcome == errors_pb2.OUTCOME_PENDING


def test_a_stream_ends_with_the_status_of_its_failure(served: Served) -> None:
    """What came before was interim; the last word is the reason, with the failed member."""
    with Client(served.address) as client:
        answers = client.infer_stream("hasty", RACE | {"steps": np.array([10**7])})
        assert not next(answers).final
        with pytest.raises(CallError) as failed:
            list(answers)
    assert failed.value.reason == "DEADLINE_IN_MEMBER"
    assert [member.seat for member in failed.value.members] == ["slow"]


def test_who_stops_reading_a_stream_ends_it(served: Served) -> None:
    """The next call is answered as ever: nothing of the abandoned one is in its way."""
    with Client(served.address) as client:
        for _ in range(3):
            answers = client.infer_stream("racing", RACE | {"steps": np.array([10**7])})
            assert not next(answers).final
            answers.close()
        assert client.infer("racing", RACE).outputs["slow.y"].tolist() == RACE["steps"].tolist()


def test_the_command_prints_each_answer_of_a_stream(served: Served) -> None:
    """One JSON object per line, the last one final."""
    command = [sys.executable, "-m", "accord.cli", "infer", "racing", "--stream", "--json"]
    done = subprocess.run(
        [*command, "-i", f"x={X[:1].tolist()}", "-i", "steps=[20000]", "--address", served.address],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["final"] for line in lines] == [False, True]
    assert [sorted(line["outputs"]) for line in lines] == [["single.y"], ["single.y", "slow.y"]]
