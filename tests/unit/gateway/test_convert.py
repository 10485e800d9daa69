"""Conversion: every fault of a message is named with its field, and answers say all that is known."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from accord.v1 import ensemble_pb2 as pb
from gateway.config.schema import Quorum
from gateway.edge.convert import (
    from_infer,
    from_model_infer,
    to_infer,
    to_infer_stream,
    to_model_infer,
    to_quorum,
)
from gateway.engine.single import compile_model
from gateway.values import Rider
from protos import oip
from protos.errors import AccordError, Cause, Outcome, Reason
from protos.tensor import Tensor
from tests.clock import run
from tests.fakes import (
    Delivered,
    FakeMember,
    Turn,
    answers,
    compiled,
    config,
    drive,
    ensemble,
    fails,
    fakes,
    late,
    lost,
    seats,
    spec,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.edge.ask import Query
    from gateway.engine.plan import Plan

m = oip.messages
X = np.array([[1.0], [2.0]], np.float32)


def tensor(name: str = "x", **changes: Any) -> pb.Tensor:
    fields = {"name": name, "datatype": "FP32", "shape": [2, 1], "raw": X.tobytes()} | changes
    return pb.Tensor(**fields)


def infer(**changes: Any) -> pb.InferRequest:
    return pb.InferRequest(**({"ensemble": "e", "inputs": [tensor()]} | changes))


def model_infer(**changes: Any) -> Any:
    request = m.ModelInferRequest(**({"model_name": "e"} | changes))
    request.inputs.add(name="x", datatype="FP32", shape=[2, 1])
    request.raw_input_contents.append(X.tobytes())
    return request


def refused(read: Callable[[Any], Query], request: Any) -> tuple[str, str]:
    with pytest.raises(AccordError) as caught:
        read(request)
    assert caught.value.message
    return caught.value.reason.name, caught.value.field


# --- accord.v1 -----------------------------------------------------------------------------------------


def test_a_typed_request_is_read_whole() -> None:
    """Each part of the message arrives as a value."""
    query = from_infer(
        infer(
            version="2",
            id="seven",
            outputs=["y"],
            members=["a", "b"],
            quorum=pb.Quorum(count=2),
            weights={"a": 2.0},
            strategy=pb.StrategyOverride(kind="trimmed_mean", options_json='{"trim": 0.25}'),
            return_members=True,
            timeout_s=1.5,
        )
    )
    assert (query.name, query.version, query.id, query.wanted) == ("e", "2", "seven", ("y",))
    assert query.inputs["x"].array().tolist() == X.tolist()
    assert (query.keep_members, query.timeout_s) == (True, 1.5)
    assert query.overrides.members == ("a", "b")
    assert query.overrides.quorum == Quorum(count=2)
    assert query.overrides.weights == {"a": 2.0}
    assert (query.overrides.strategy, query.overrides.options) == ("trimmed_mean", {"trim": 0.25})


def test_a_bare_request_asks_for_nothing_special() -> None:
    """Everything left out is absent: no override is used, no budget named."""
    query = from_infer(infer())
    assert query.overrides.used() == []
    assert (query.timeout_s, query.wanted, query.keep_members) == (None, (), False)


WRONG = {
    "twice": (infer(inputs=[tensor(), tensor()]), "INPUT_UNKNOWN", "inputs[1].name"),
    "datatype": (infer(inputs=[tensor(datatype="FP31")]), "DTYPE_MISMATCH", "inputs[0]"),
    "negative": (infer(inputs=[tensor(shape=[-1, 1])]), "SHAPE_MISMATCH", "inputs[0]"),
    "rank": (infer(inputs=[tensor("a"), tensor(shape=[1] * 17)]), "SHAPE_MISMATCH", "inputs[1]"),
    "short": (infer(inputs=[tensor(raw=b"\0" * 7)]), "TENSOR_SIZE_MISMATCH", "inputs[0]"),
    "long": (infer(inputs=[tensor(raw=b"\0" * 9)]), "TENSOR_SIZE_MISMATCH", "inputs[0]"),
    "bytes": (
        infer(inputs=[tensor(datatype="BYTES", shape=[1], raw=b"\xff\0\0\0")]),
        "TENSOR_SIZE_MISMATCH",
        "inputs[0]",
    ),
    "timeout below zero": (infer(timeout_s=-0.1), "PARAMETER_INVALID", "timeout_s"),
    "timeout nan": (infer(timeout_s=float("nan")), "PARAMETER_INVALID", "timeout_s"),
    "timeout inf": (infer(timeout_s=float("inf")), "PARAMETER_INVALID", "timeout_s"),
    "weight below zero": (infer(weights={"a": -1.0}), "PARAMETER_INVALID", "weights['a']"),
    "weight nan": (infer(weights={"a": float("nan")}), "PARAMETER_INVALID", "weights['a']"),
    "weight inf": (infer(weights={"a": float("inf")}), "PARAMETER_INVALID", "weights['a']"),
    "members": (infer(members=["a", "b", "a"]), "PARAMETER_INVALID", "members"),
    "very many members": (infer(members=map(str, range(1025))), "PARAMETER_INVALID", "members"),
    "very many weights": (
        infer(weights={str(i): 1.0 for i in range(1025)}),
        "PARAMETER_INVALID",
        "weights",
    ),
    "very many inputs": (infer(inputs=[tensor(str(i)) for i in range(1025)]), "INPUT_UNKNOWN", "inputs"),
    "very many outputs": (infer(outputs=map(str, range(1025))), "INPUT_UNKNOWN", "outputs"),
    "quorum unset": (infer(quorum=pb.Quorum()), "PARAMETER_INVALID", "quorum"),
    "quorum zero": (infer(quorum=pb.Quorum(count=0)), "PARAMETER_INVALID", "quorum"),
    "share zero": (infer(quorum=pb.Quorum(weight=0.0)), "PARAMETER_INVALID", "quorum"),
    "share above one": (infer(quorum=pb.Quorum(weight=1.01)), "PARAMETER_INVALID", "quorum"),
    "share nan": (infer(quorum=pb.Quorum(weight=float("nan"))), "PARAMETER_INVALID", "quorum"),
    "no kind": (
        infer(strategy=pb.StrategyOverride(options_json='{"trim": 0.1}')),
        "PARAMETER_INVALID",
        "strategy.kind",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_each_fault_of_a_typed_request_is_named_with_its_field(wrong: str) -> None:
    """Reason and field say what to mend; nothing is guessed or dropped."""
    request, reason, field = WRONG[wrong]
    assert refused(from_infer, request) == (reason, field)


@pytest.mark.parametrize(
    "options",
    [
        "{",
        "[]",
        "1",
        "null",
        '"text"',
        '{"": 1}',
        '{"kind": "max"}',
        '{"output": "\\ud800"}',
        '{"\\udfff": 1}',
        "[" * 100_000,
        '{"a":' * 100_000,
        "9" * 5000,
    ],
    ids=lambda text: text[:16],
)
def test_options_that_are_no_object_of_options_are_refused(options: str) -> None:
    """Whatever text is sent, it is options or a named fault; depth and odd strings break nothing."""
    request = infer(strategy=pb.StrategyOverride(kind="mean", options_json=options))
    assert refused(from_infer, request) == ("PARAMETER_INVALID", "strategy.options_json")


@pytest.mark.parametrize("quorum", [Quorum(count=3), Quorum(weight=0.6)])
def test_a_quorum_survives_the_wire(quorum: Quorum) -> None:
    """What is described can be sent back as an override."""
    assert from_infer(infer(quorum=to_quorum(quorum))).overrides.quorum == quorum


# --- OIP -----------------------------------------------------------------------------------------------


def test_a_protocol_request_is_read_whole() -> None:
    """Name, version, id, tensors, wanted outputs and the budget in microseconds."""
    request = model_infer(model_version="2", id="seven")
    request.outputs.add(name="y")
    request.parameters["timeout"].int64_param = 1_500_000
    query = from_model_infer(request)
    assert (query.name, query.version, query.id, query.wanted) == ("e", "2", "seven", ("y",))
    assert query.inputs["x"].array().tolist() == X.tolist()
    assert query.timeout_s == 1.5
    assert query.overrides.used() == []


def parameter(name: str, **value: Any) -> Any:
    request = model_infer()
    request.parameters[name].CopyFrom(m.InferParameter(**value))
    return request


def output_parameter(name: str, **value: Any) -> Any:
    request = model_infer()
    request.outputs.add(name="z")
    request.outputs.add(name="y").parameters[name].CopyFrom(m.InferParameter(**value))
    return request


UNOFFERED = {
    "sequence": (
        parameter("sequence_id", int64_param=7),
        "UNSUPPORTED",
        "parameters['sequence_id']",
    ),
    "sequence name": (
        parameter("sequence_id", string_param="s"),
        "UNSUPPORTED",
        "parameters['sequence_id']",
    ),
    "sequence start": (
        parameter("sequence_start", bool_param=True),
        "UNSUPPORTED",
        "parameters['sequence_start']",
    ),
    "sequence start type": (
        parameter("sequence_start", string_param="true"),
        "PARAMETER_INVALID",
        "parameters['sequence_start']",
    ),
    "priority type": (
        parameter("priority", string_param="1"),
        "PARAMETER_INVALID",
        "parameters['priority']",
    ),
    "priority below zero": (
        parameter("priority", int64_param=-1),
        "PARAMETER_INVALID",
        "parameters['priority']",
    ),
    "timeout bool": (
        parameter("timeout", bool_param=True),
        "PARAMETER_INVALID",
        "parameters['timeout']",
    ),
    "classification": (
        output_parameter("classification", int64_param=0),
        "PARAMETER_INVALID",
        "outputs[1].parameters['classification']",
    ),
    "shared memory": (
        output_parameter("shared_memory_region", string_param="r"),
        "UNSUPPORTED",
        "outputs[1].parameters['shared_memory_region']",
    ),
    "timeout type": (
        parameter("timeout", string_param="1"),
        "PARAMETER_INVALID",
        "parameters['timeout']",
    ),
    "timeout below zero": (
        parameter("timeout", int64_param=-1),
        "PARAMETER_INVALID",
        "parameters['timeout']",
    ),
    "no value": (parameter("mine"), "PARAMETER_INVALID", "parameters['mine']"),
}


@pytest.mark.parametrize("wrong", UNOFFERED)
def test_what_a_protocol_request_cannot_have_is_named(wrong: str) -> None:
    """Sequences, shared memory and wrong types are refused, not ignored."""
    request, reason, field = UNOFFERED[wrong]
    assert refused(from_model_infer, request) == (reason, field)


def own(*names: str) -> Any:
    request = model_infer()
    for name in names:
        request.parameters[name].int64_param = 1
    return request


def test_the_callers_own_parameters_are_for_the_models() -> None:
    """Those with a meaning of their own are not passed on, whoever gave it to them."""
    request = own("timeout", "priority", "triton_x", "accord_x", "classification", "shared_memory_offset")
    request.parameters["sequence_id"].string_param = ""
    request.parameters["headers"].string_param = "x"
    request.parameters["binary_data_output"].bool_param = True
    request.parameters["temperature"].double_param = 0.5
    request.parameters["lang"].string_param = "el"
    query = from_model_infer(request)
    assert query.parameters == {"temperature": 0.5, "lang": "el"}
    assert query.priority == 1


@pytest.mark.parametrize("kind", ["int64_param", "uint64_param"])
def test_priority_may_be_of_either_integer_type(kind: str) -> None:
    """The reference client sends the unsigned one, others the signed."""
    assert from_model_infer(parameter("priority", **{kind: 7})).priority == 7
    assert from_model_infer(model_infer()).priority == 0


def test_what_a_request_may_pass_on_is_bounded() -> None:
    """As many parameters and as long names as anyone needs, and no more."""
    assert len(from_model_infer(own(*(f"p{i}" for i in range(64)))).parameters) == 64
    assert refused(from_model_infer, own(*(f"p{i}" for i in range(65)))) == (
        "PARAMETER_INVALID",
        "parameters",
    )
    assert "n" * 256 in from_model_infer(own("n" * 256)).parameters
    assert refused(from_model_infer, own("n" * 257)) == ("PARAMETER_INVALID", "parameters")


def test_parameters_that_ask_for_nothing_are_let_pass() -> None:
    """Clients send empty sequence ids and keys of their own."""
    for request in (
        parameter("sequence_id", int64_param=0),
        parameter("sequence_id", string_param=""),
        parameter("sequence_end", bool_param=False),
        parameter("mine", string_param="anything"),
        parameter("timeout", int64_param=0),
        output_parameter("binary_data", bool_param=True),
    ):
        assert from_model_infer(request).timeout_s is None


# --- answers -------------------------------------------------------------------------------------------


def degraded() -> tuple[Plan, Query, Delivered]:
    y = {"y": np.array([[1.5]], np.float32)}
    members = {
        "a": FakeMember(
            spec("a"),
            Turn(says=answers(y, version="7", queue_s=0.25, compute_s=0.5, attempts=2), after_s=1.0),
        ),
        "b": FakeMember(spec("b"), Turn(says=fails(Cause.DEVICE_OOM))),
    }
    plan = compiled(members, {"e": ensemble(*seats("a", "b"), quorum=1, version="3")})
    (delivered,) = run(drive(members, plan, [0.0], keep_members=True))
    return plan, from_infer(infer(id="seven")), delivered


def test_a_protocol_answer_says_that_it_is_degraded_and_who_failed() -> None:
    """Outputs are raw, and the parameters carry what plain clients can read."""
    plan, query, delivered = degraded()
    response = to_model_infer(plan, query, delivered.reply)
    assert (response.model_name, response.model_version, response.id) == ("e", "3", "seven")
    assert oip.read_outputs(response)["y"].array().tolist() == [[1.5]]
    assert oip.read_parameters(response.parameters) == {
        "accord_degraded": True,
        "accord_members_used": 1,
        "accord_members_asked": 2,
        "accord_failed": "b=DEVICE_OOM",
    }


def test_a_whole_answer_names_nobody() -> None:
    """Nobody failed, so there is no list of failures; a plain model has no such parameters at all."""
    members = fakes(a=late(0.1))
    plan = compiled(members, {"e": ensemble(*seats("a"))})
    (delivered,) = run(drive(members, plan, [0.0]))
    query = from_infer(infer())
    parameters = to_model_infer(plan, query, delivered.reply).parameters
    assert sorted(parameters) == ["accord_degraded", "accord_members_asked", "accord_members_used"]
    assert parameters["accord_degraded"].bool_param is False
    assert not to_model_infer(replace(plan, kind=""), query, delivered.reply).parameters


def test_a_model_hands_back_its_own_parameters_and_an_ensemble_does_not() -> None:
    """What a model says beside its outputs is for who asked that model."""
    y = {"y": np.array([[1.5]], np.float32)}
    said = answers(y, parameters={"tokens": 7, "stop": "length"})
    members = {"a": FakeMember(spec("a"), Turn(says=said))}
    query = from_infer(infer())
    plain = compile_model(config({}, members), "a", members["a"].spec)
    (delivered,) = run(drive(members, plain, [0.0]))
    response = to_model_infer(plain, query, delivered.reply)
    assert oip.read_parameters(response.parameters) == {"tokens": 7, "stop": "length"}
    ensembled = compiled(members, {"e": ensemble(*seats("a"))})
    (delivered,) = run(drive(members, ensembled, [0.0]))
    assert "tokens" not in to_model_infer(ensembled, query, delivered.reply).parameters


def test_the_list_of_failures_stays_within_a_kilobyte() -> None:
    """Whole entries are dropped from the end; none is cut in two."""
    members = {f"m{i:02}-{'x' * 50}": FakeMember(spec("m"), lost(Cause.WORKER_HUNG)) for i in range(40)}
    members["ok"] = FakeMember(spec("ok"), late(0.1))
    plan = compiled(members, {"e": ensemble(*seats(*members), quorum=1)})
    (delivered,) = run(drive(members, plan, [0.0]))
    response = to_model_infer(plan, from_infer(infer()), delivered.reply)
    failed = response.parameters["accord_failed"].string_param
    assert 900 < len(failed.encode()) <= 1024
    entries = failed.split(",")
    assert entries == [f"{name}=MEMBER_UNAVAILABLE" for name in list(members)[: len(entries)]]


def test_a_typed_answer_carries_the_whole_report() -> None:
    """Every seat with outcome, cause, times and its own outputs; times that nobody knows are absent."""
    plan, query, delivered = degraded()
    response = to_infer(plan, query, delivered.reply)
    assert (response.ensemble, response.version, response.id) == ("e", "3", "seven")
    (output,) = response.outputs
    assert Tensor.from_raw("y", output.datatype, output.shape, output.raw).array().tolist() == [[1.5]]
    report = response.report
    assert (report.degraded, report.members_asked, report.members_used) == (True, 2, 1)
    a, b = report.members
    assert (a.seat, a.model, a.version, a.attempts, a.weight_used) == ("a", "a", "7", 2, 1.0)
    assert (a.queue_s, a.compute_s, a.wire_s) == (0.25, 0.5, 0.25)
    assert (a.outcome, a.cause) == (pb.MemberReport(outcome="OUTCOME_OK").outcome, 0)
    assert [t.name for t in a.outputs] == ["y"]
    assert (b.cause, b.message) == (Cause.DEVICE_OOM.number, Cause.DEVICE_OOM.text)
    assert not b.HasField("queue_s")
    assert not b.HasField("compute_s")
    assert not b.outputs
    assert list(report.agreement) == []
    path = report.critical_path
    assert (path.seat, path.elapsed_s, path.queue_s, path.compute_s) == ("a", 1.0, 0.25, 0.5)


def test_an_interim_answer_says_that_it_is_one() -> None:
    """Beside the answer: whether it is the last, and whether the quorum is met."""
    members = fakes(a=late(0.1), b=late(0.2))
    plan = compiled(members, {"e": ensemble(*seats("a", "b"))})
    rider = Rider("r", slice(0, 1), 0.0, 5.0, interim=True)
    first, last = (
        to_infer_stream(plan, from_infer(infer(id="seven")), delivered.reply)
        for delivered in run(drive(members, plan, [0.0], rider))
    )
    assert [(r.final, r.quorum_met, r.answer.id) for r in (first, last)] == [
        (False, False, "seven"),
        (True, True, "seven"),
    ]
    assert first.answer.report.members[1].outcome == Outcome.PENDING.number


def test_agreement_goes_out_row_by_row() -> None:
    """One share per row, where the strategy has a label."""
    p = {"p": np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)}
    outputs = [replace(spec("a").outputs[0], name="p", shape=(-1, 2))]
    members = {"a": FakeMember(spec("a", outputs=outputs), Turn(says=answers(p)))}
    plan = compiled(members, {"e": ensemble(*seats("a"), kind="soft_vote")})
    (delivered,) = run(drive(members, plan, [0.0, 1.0]))
    assert list(to_infer(plan, from_infer(infer()), delivered.reply).report.agreement) == [1.0, 1.0]


def test_options_travel_as_json() -> None:
    """Negative control for the odd texts above: ordinary options are read as they are."""
    options = {"output": "y", "trim": 0.1, "nested": {"list": [1, None, True]}, "ü": "é"}
    request = infer(strategy=pb.StrategyOverride(kind="mean", options_json=json.dumps(options)))
    assert from_infer(request).overrides.options == options


def test_an_answer_with_its_members_must_fit_into_a_message() -> None:
    """Members' own outputs count as well; the caller is told, and by our own reason."""
    plan, query, delivered = degraded()
    big = Tensor.from_array(np.zeros(oip.MAX_ANSWER_BYTES // 2 + 1, np.uint8))
    report = delivered.reply.report
    first, *others = report.seats
    kept = replace(report, seats=(replace(first, outputs={"y": big}), *others))
    to_infer(plan, query, replace(delivered.reply, report=kept))
    with pytest.raises(AccordError) as caught:
        to_infer(plan, query, replace(delivered.reply, report=kept, outputs={"y": big}))
    assert caught.value.reason is Reason.REQUEST_TOO_LARGE
