"""A model as a service, without a transport."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from protos import oip
from protos.errors import AccordError, Reason
from protos.oip import messages
from protos.service import CallContext
from protos.tensor import Tensor
from tests import models
from workers.hosting import host
from workers.service import Service

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

X = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)


async def service(folder: Path, model: bytes | None = None, **files: Any) -> Service:
    repository = models.write_model(folder, "m", model or models.linear(np.eye(2)), version=3, **files)
    versions = host(repository, "m", threads="1", max_queued=8)
    await versions.refresh()
    return Service(versions)


def request(inputs: Mapping[str, np.ndarray], wanted: tuple[str, ...] = (), **fields: Any) -> Any:
    message = messages.ModelInferRequest(**{"model_name": "m", "id": "r-1", **fields})
    oip.write_inputs(message, {name: Tensor.from_array(array) for name, array in inputs.items()})
    for name in wanted:
        message.outputs.add(name=name)
    return message


def call(left_s: float | None = None) -> CallContext:
    now = time.monotonic()
    return CallContext(arrived=now, deadline=None if left_s is None else now + left_s)


async def failure(service: Service, message: Any, context: CallContext | None = None) -> AccordError:
    with pytest.raises(AccordError) as caught:
        await service.model_infer(message, context or call())
    return caught.value


async def test_an_answer_is_raw_complete_and_says_how_long_it_took(tmp_path: Path) -> None:
    """Name, version and id are filled in, every output is raw, and both times are whole microseconds."""
    answer = await (await service(tmp_path)).model_infer(request({"x": X}), call(10))
    assert (answer.model_name, answer.model_version, answer.id) == ("m", "3", "r-1")
    assert [output.HasField("contents") for output in answer.outputs] == [False]
    assert np.array_equal(oip.read_outputs(answer)["y"].array(), X)
    for key in ("accord_queue_us", "accord_compute_us"):
        assert answer.parameters[key].WhichOneof("parameter_choice") == "int64_param"
    assert answer.parameters["accord_compute_us"].int64_param > 0


async def test_typed_contents_are_as_good_as_raw(tmp_path: Path) -> None:
    """Both forms of a request get the same bytes back."""
    serving = await service(tmp_path)
    typed = messages.ModelInferRequest(model_name="m")
    tensor = typed.inputs.add(name="x", datatype="FP32", shape=[2, 2])
    tensor.contents.fp32_contents.extend(X.reshape(-1))
    raw = await serving.model_infer(request({"x": X}), call())
    assert (await serving.model_infer(typed, call())).raw_output_contents == raw.raw_output_contents


async def test_only_the_wanted_outputs_are_answered(tmp_path: Path) -> None:
    """The order of the request is the order of the answer."""
    serving, x = await service(tmp_path, models.classifier()), {"x": np.zeros((1, 3), np.float32)}
    some = await serving.model_infer(request(x, ("label",)), call())
    every = await serving.model_infer(request(x, ("label", "probabilities")), call())
    assert [o.name for o in some.outputs] == ["label"]
    assert [o.name for o in every.outputs] == ["label", "probabilities"]
    assert len(every.raw_output_contents) == 2


def _with(message: Any, **changes: Any) -> Any:
    for field, value in changes.items():
        setattr(message, field, value)
    return message


def _parameter(message: Any, key: str, **value: Any) -> Any:
    message.parameters[key].SetInParent()
    for kind, content in value.items():
        setattr(message.parameters[key], kind, content)
    return message


def _classified() -> Any:
    message = request({"x": X}, ("y",))
    message.outputs[0].parameters["classification"].int64_param = 0
    return message


MISTAKES = {
    "other model": (lambda: _with(request({"x": X}), model_name="n"), Reason.MODEL_NOT_FOUND, ""),
    "no model": (lambda: _with(request({"x": X}), model_name=""), Reason.MODEL_NOT_FOUND, ""),
    "other version": (lambda: _with(request({"x": X}), model_version="1"), Reason.VERSION_NOT_FOUND, ""),
    "no input": (lambda: request({}), Reason.INPUT_MISSING, "inputs"),
    "unknown input": (lambda: request({"x": X, "z": X}), Reason.INPUT_UNKNOWN, "inputs[1].name"),
    "datatype": (lambda: request({"x": X.astype("f8")}), Reason.DTYPE_MISMATCH, "inputs[0].datatype"),
    "shape": (lambda: request({"x": X[:, :1]}), Reason.SHAPE_MISMATCH, "inputs[0].shape"),
    "rank": (lambda: request({"x": X[0]}), Reason.SHAPE_MISMATCH, "inputs[0].shape"),
    "rows": (lambda: request({"x": np.zeros((257, 2), np.float32)}), Reason.SHAPE_MISMATCH, "inputs"),
    "unknown output": (lambda: request({"x": X}, ("y", "z")), Reason.INPUT_UNKNOWN, "outputs[1].name"),
    "output twice": (lambda: request({"x": X}, ("y", "y")), Reason.INPUT_UNKNOWN, "outputs[1].name"),
    "classification": (_classified, Reason.PARAMETER_INVALID, "outputs[0].parameters['classification']"),
    "sequence": (
        lambda: _parameter(request({"x": X}), "sequence_id", int64_param=7),
        Reason.UNSUPPORTED,
        "parameters['sequence_id']",
    ),
    "priority": (
        lambda: _parameter(request({"x": X}), "priority", string_param="high"),
        Reason.PARAMETER_INVALID,
        "parameters['priority']",
    ),
    "timeout": (
        lambda: _parameter(request({"x": X}), "timeout", string_param="1s"),
        Reason.PARAMETER_INVALID,
        "parameters['timeout']",
    ),
    "empty parameter": (
        lambda: _parameter(request({"x": X}), "p"),
        Reason.PARAMETER_INVALID,
        "parameters['p']",
    ),
}


@pytest.mark.parametrize(("build", "reason", "field"), MISTAKES.values(), ids=MISTAKES)
async def test_each_mistake_has_its_reason_and_field(
    tmp_path: Path, build: Any, reason: Reason, field: str
) -> None:
    """Nothing that is wrong reaches the model, and the message says where it is wrong."""
    error = await failure(await service(tmp_path), build())
    assert (error.reason, error.field) == (reason, field)
    assert "model" in error.metadata


async def test_no_rows_are_a_valid_request(tmp_path: Path) -> None:
    """An empty batch gets an empty answer of the right shape."""
    answer = await (await service(tmp_path)).model_infer(request({"x": X[:0]}), call())
    assert list(answer.outputs[0].shape) == [0, 2]


async def test_a_deadline_that_has_passed_is_refused_on_arrival(tmp_path: Path) -> None:
    """Late work is not begun."""
    assert (await failure(await service(tmp_path), request({"x": X}), call(-0.01))).reason is (
        Reason.DEADLINE_AT_ADMISSION
    )


@pytest.mark.parametrize("by", ["rpc", "parameter"])
async def test_the_earlier_deadline_ends_a_run(tmp_path: Path, by: str) -> None:
    """The call's deadline and the ``timeout`` parameter both bound it; the model is free at once after."""
    serving = await service(tmp_path, models.slow())
    message = request({"steps": np.array([10**9])})
    if by == "parameter":
        message.parameters["timeout"].int64_param = 50_000
    error = await failure(serving, message, call(60 if by == "parameter" else 0.05))
    assert error.reason is Reason.DEADLINE_IN_MEMBER
    answer = await serving.model_infer(request({"steps": np.array([1])}), call(5))
    assert oip.read_outputs(answer)["y"].array().tolist() == [1]


async def test_cancelling_a_call_ends_its_run(tmp_path: Path) -> None:
    """A caller that goes away does not keep the model busy, and is counted as one without an answer."""
    serving = await service(tmp_path, models.slow())
    running = asyncio.create_task(serving.model_infer(request({"steps": np.array([10**9])}), call()))
    await asyncio.sleep(0)
    running.cancel()
    await serving.model_infer(request({"steps": np.array([1])}), call(5))
    assert running.cancelled()
    told = await serving.model_statistics(messages.ModelStatisticsRequest(), call())
    counts = told.model_stats[0].inference_stats
    assert (counts.success.count, counts.fail.count) == (1, 1)


async def test_the_models_own_words_go_to_the_log_with_the_request_id(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller gets a fixed text; whoever reads the log finds the cause under the same id."""
    with caplog.at_level(logging.WARNING):
        error = await failure(
            await service(tmp_path, models.picky()), request({"index": np.array([9])}, id="r-42")
        )
    assert error.reason is Reason.INPUT_REJECTED
    assert "bounds" not in error.message
    (record,) = caplog.records
    assert vars(record)["request_id"] == "r-42"
    assert "out of data bounds" in caplog.text


async def test_a_draining_worker_takes_nothing_new_and_finishes_the_rest(tmp_path: Path) -> None:
    """It stays live, is not ready, refuses with a code that invites a retry, and answers what came before."""
    serving = await service(tmp_path, models.slow())
    before = asyncio.create_task(serving.model_infer(request({"steps": np.array([100])}), call()))
    await asyncio.sleep(0)
    serving.drain()
    assert (await failure(serving, request({"steps": np.array([1])}))).reason is Reason.SHUTTING_DOWN
    assert (await serving.server_live(messages.ServerLiveRequest(), call())).live
    assert not (await serving.server_ready(messages.ServerReadyRequest(), call())).ready
    assert not (await serving.model_ready(messages.ModelReadyRequest(name="m"), call())).ready
    assert len((await before).raw_output_contents) == 1


async def test_a_model_is_described_as_it_is(tmp_path: Path) -> None:
    """Metadata shapes include the row dimension, the config's dims do not; names and versions are real."""
    serving = await service(tmp_path)
    metadata = await serving.model_metadata(messages.ModelMetadataRequest(name="m"), call())
    config = (await serving.model_config(messages.ModelConfigRequest(name="m", version="3"), call())).config
    assert (metadata.name, list(metadata.versions)) == ("m", ["3"])
    assert metadata.platform == config.platform == "onnxruntime_onnx"
    assert list(metadata.inputs[0].shape) == [-1, 2]
    assert list(config.input[0].dims) == [2]
    about = await serving.server_metadata(messages.ServerMetadataRequest(), call())
    assert about.name == "accord-worker"
    assert about.version


@pytest.mark.parametrize("method", ["model_ready", "model_metadata", "model_config"])
async def test_every_question_about_another_model_is_not_found(tmp_path: Path, method: str) -> None:
    """A wrong name and a wrong version are told apart everywhere."""
    serving = await service(tmp_path)
    for name, version, reason in (
        ("n", "", Reason.MODEL_NOT_FOUND),
        ("m", "4", Reason.VERSION_NOT_FOUND),
    ):
        with pytest.raises(AccordError) as caught:
            await getattr(serving, method)(messages.ModelReadyRequest(name=name, version=version), call())
        assert caught.value.reason is reason


async def test_an_output_can_be_asked_for_as_its_highest_classes(tmp_path: Path) -> None:
    """Value, index and label, highest first, beside outputs that stay tensors."""
    config = """max_batch_size: 8
        input [ {name: "x" data_type: TYPE_FP32 dims: [3]} ]
        output [ {name: "probabilities" data_type: TYPE_FP32 dims: [3] label_filename: "labels.txt"} ]"""
    files = {"labels.txt": "ham\nspam\neggs\n"}
    serving = await service(tmp_path, models.classifier(), config=config, files=files)
    message = request({"x": np.eye(3, dtype=np.float32)[:2]}, ("probabilities",))
    message.outputs[0].parameters["classification"].int64_param = 1
    answer = await serving.model_infer(message, call())
    texts = oip.read_outputs(answer)["probabilities"].array()
    assert texts.shape == (2, 1)
    assert [text.split(b":", 1)[1] for text in texts[:, 0]] == [b"0:ham", b"1:spam"]


async def test_statistics_count_rows_runs_and_failures(tmp_path: Path) -> None:
    """Requests that were answered and those that were not are told apart, by version and by batch size."""
    serving = await service(tmp_path)
    for rows in (1, 2, 2):
        await serving.model_infer(request({"x": X[:rows]}), call())
    await failure(serving, request({}))
    told = await serving.model_statistics(messages.ModelStatisticsRequest(name="m", version="3"), call())
    (stats,) = told.model_stats
    assert (stats.name, stats.version) == ("m", "3")
    assert (stats.inference_count, stats.execution_count) == (5, 3)
    counts = stats.inference_stats
    assert (counts.success.count, counts.fail.count) == (3, 1)
    assert {batch.batch_size: batch.compute_infer.count for batch in stats.batch_stats} == {1: 1, 2: 2}
    parts = (counts.queue, counts.compute_input, counts.compute_infer, counts.compute_output)
    assert 0 < sum(part.ns for part in parts) <= counts.success.ns
    everything = await serving.model_statistics(messages.ModelStatisticsRequest(), call())
    assert everything == told


async def test_typed_answers_are_given_to_who_asks_for_them(tmp_path: Path) -> None:
    """A stub that cannot read raw contents says so by a parameter."""
    message = request({"x": X})
    message.parameters["accord_contents"].string_param = "typed"
    answer = await (await service(tmp_path)).model_infer(message, call())
    assert not answer.raw_output_contents
    assert list(answer.outputs[0].contents.fp32_contents) == X.reshape(-1).tolist()
