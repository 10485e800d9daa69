"""Messages to values and back. Every validation that needs no knowledge of models happens here."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from accord.v1 import ensemble_pb2 as pb
from gateway.config.scalars import MAX_WEIGHT
from gateway.config.schema import Quorum
from gateway.edge.ask import Query
from gateway.edge.propagation import MAX_ID
from gateway.engine.override import Overrides
from protos import oip
from protos.errors import AccordError, Reason
from protos.tensor import Tensor, TensorFault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.engine.plan import Plan
    from gateway.values import CriticalPath, Reply, Report, SeatReport

__all__ = ["from_infer", "from_model_infer", "to_infer", "to_infer_stream", "to_model_infer", "to_quorum"]

#: Cap of the ``accord_failed`` parameter.
_MAX_FAILED_BYTES = 1024
#: What a request may make us read or pass on besides tensors.
_MAX_NAME, _MAX_OPTIONS, _MAX_NESTING = 128, 4096, 32
_MAX_PARAMETERS, _MAX_PARAMETER_NAME, _MAX_MEMBERS = 64, 256, 1024


def from_model_infer(request: Any, raws: Sequence[bytes | memoryview] | None = None) -> Query:
    """Read an OIP ``ModelInferRequest``.

    Args:
        request: The message.
        raws: Its raw contents, where they were taken out of it; None = they are in it.

    Raises:
        AccordError: If anything in it breaks the protocol or asks for what is not offered.
    """
    _check_id(request.id)
    parameters = oip.read_parameters(request.parameters)
    oip.refuse_sequences(parameters)
    wanted, classes = oip.read_requested(request.outputs)
    return Query(
        name=request.model_name,
        version=request.model_version,
        id=request.id,
        inputs=oip.read_inputs(request, raws),
        wanted=wanted,
        classes=classes,
        typed=oip.typed_contents(parameters),
        timeout_s=oip.timeout_s(parameters),
        priority=oip.priority(parameters),
        parameters=_own_parameters(parameters),
    )


def _own_parameters(parameters: Mapping[str, oip.Parameter]) -> Mapping[str, oip.Parameter]:
    """Return the caller's own parameters, for the models to read; their number is bounded."""
    own = oip.custom(parameters)
    if len(own) > _MAX_PARAMETERS:
        raise _invalid("parameters", f"has {len(own)} entries; at most {_MAX_PARAMETERS} are passed on")
    for key in own:
        if len(key) > _MAX_PARAMETER_NAME:
            raise _invalid("parameters", f"has a name longer than {_MAX_PARAMETER_NAME} characters")
    return own


def to_model_infer(plan: Plan, query: Query, reply: Reply) -> Any:
    """Build the OIP answer; an ensemble's says whether it is degraded and who failed.

    A model under its own name hands back what parameters it gave itself.
    """
    # of a model the version that really answered, which may be newer than the one known here
    told = plan.version if plan.kind else reply.report.seats[0].version or plan.version
    response = oip.messages.ModelInferResponse(model_name=plan.name, model_version=told, id=query.id)
    outputs = oip.classify_all(reply.outputs, query.classes, plan.outputs, batches=plan.batches)
    oip.write_outputs(response, outputs, typed=query.typed)
    if plan.kind:
        report = reply.report
        parameters: dict[str, oip.Parameter] = {
            "accord_degraded": report.degraded,
            "accord_members_used": report.used,
            "accord_members_asked": report.asked,
        }
        if report.degraded:
            parameters["accord_failed"] = _failed(report)
        oip.write_parameters(response.parameters, parameters)
    else:
        for seat in reply.report.seats:
            oip.write_parameters(response.parameters, seat.parameters)
    return response


def _failed(report: Report) -> str:
    parts = [f"{s.seat}={s.cause.reason.name}" for s in report.seats if s.missing and s.cause]
    while len(",".join(parts).encode()) > _MAX_FAILED_BYTES:
        parts.pop()
    return ",".join(parts)


def from_infer(request: pb.InferRequest) -> Query:
    """Read an ``accord.v1.InferRequest``.

    Raises:
        AccordError: If anything in it breaks the contract.
    """
    _check_id(request.id)
    oip.check_number("inputs", len(request.inputs))
    oip.check_number("outputs", len(request.outputs))
    inputs: dict[str, Tensor] = {}
    for i, message in enumerate(request.inputs):
        if message.name in inputs:
            raise AccordError(
                Reason.INPUT_UNKNOWN,
                f"input {message.name[:64]!r} is given twice; send it once",
                field=f"inputs[{i}].name",
            )
        try:
            oip.check_walk(message.name, message.datatype, message.shape, typed=False)
            inputs[message.name] = Tensor.from_raw(message.name, message.datatype, message.shape, message.raw)
        except TensorFault as fault:
            raise AccordError.of_fault(fault, f"inputs[{i}]") from None
    if not (math.isfinite(request.timeout_s) and request.timeout_s >= 0):
        raise _invalid("timeout_s", "must be a finite number of seconds >= 0; 0 means none")
    return Query(
        name=request.ensemble,
        version=request.version,
        id=request.id,
        inputs=inputs,
        wanted=tuple(request.outputs),
        overrides=_overrides(request),
        timeout_s=request.timeout_s or None,
        keep_members=request.return_members,
    )


def _overrides(request: pb.InferRequest) -> Overrides:
    for field, count in (("members", len(request.members)), ("weights", len(request.weights))):
        if count > _MAX_MEMBERS:
            raise _invalid(field, f"has {count} entries; at most {_MAX_MEMBERS} are read")
    for seat, weight in request.weights.items():
        if not 0 <= weight <= MAX_WEIGHT:
            raise _invalid(f"weights[{seat[:64]!r}]", f"must be a number from 0 to {MAX_WEIGHT:g}")
    if len(set(request.members)) != len(request.members):
        raise _invalid("members", "names a member twice")
    strategy = request.strategy
    if len(strategy.kind) > _MAX_NAME:
        raise _invalid("strategy.kind", f"is longer than {_MAX_NAME} characters")
    options = _options(strategy.options_json) if strategy.options_json else {}
    if options and not strategy.kind:
        raise _invalid("strategy.kind", "is missing; options need a kind")
    return Overrides(
        members=tuple(request.members),
        quorum=_quorum(request.quorum) if request.HasField("quorum") else None,
        weights=dict(request.weights),
        strategy=strategy.kind,
        options=options,
    )


def _options(text: str) -> Mapping[str, Any]:
    """Read a strategy's options; what is long or deep is refused unread, because reading it costs us."""
    wrong = _invalid(
        "strategy.options_json",
        f"must be a flat JSON object of the strategy's options, of at most {_MAX_OPTIONS} bytes",
    )
    if len(text) > _MAX_OPTIONS or text.count("[") + text.count("{") > _MAX_NESTING:
        raise wrong
    try:
        options = json.loads(text)
        json.dumps(options, ensure_ascii=False, allow_nan=False).encode()  # \ud800 is JSON, but no text
    except ValueError:
        raise wrong from None
    if not isinstance(options, dict) or {"", "kind"} & options.keys():
        raise wrong
    return options


def _quorum(message: pb.Quorum) -> Quorum:
    if message.WhichOneof("need") == "count" and message.count >= 1:
        return Quorum(count=message.count)
    if message.WhichOneof("need") == "weight" and 0 < message.weight <= 1:
        return Quorum(weight=message.weight)
    raise _invalid("quorum", "must be a count >= 1 or a weight in (0, 1]")


def _check_id(request_id: str) -> None:
    if len(request_id) > MAX_ID:
        raise _invalid("id", f"is longer than {MAX_ID} characters")


def to_quorum(quorum: Quorum) -> pb.Quorum:
    """Build the wire form of a quorum."""
    return pb.Quorum(count=quorum.count) if quorum.count else pb.Quorum(weight=quorum.weight or 0.0)


def _invalid(field: str, problem: str) -> AccordError:
    return AccordError(Reason.PARAMETER_INVALID, f"{field} {problem}", field=field)


def to_infer(plan: Plan, query: Query, reply: Reply) -> pb.InferResponse:
    """Build the typed answer with its full report.

    Raises:
        AccordError: REQUEST_TOO_LARGE if it does not fit into a message.
    """
    report = reply.report
    members = (tensor for seat in report.seats for tensor in seat.outputs.values())
    oip.check_answer((*reply.outputs.values(), *members))
    return pb.InferResponse(
        ensemble=plan.name,
        version=plan.version,
        id=query.id,
        outputs=_tensors(reply.outputs),
        report=pb.Report(
            degraded=report.degraded,
            members_asked=report.asked,
            members_used=report.used,
            members=[_member(seat) for seat in report.seats],
            agreement=() if report.agreement is None else report.agreement.tolist(),
            elapsed_s=report.elapsed_s,
            critical_path=_critical_path(report.critical_path) if report.critical_path else None,
        ),
    )


def to_infer_stream(plan: Plan, query: Query, reply: Reply) -> pb.InferStreamResponse:
    """Build one of the typed answers to one request."""
    return pb.InferStreamResponse(
        answer=to_infer(plan, query, reply), final=reply.final, quorum_met=reply.report.quorum_met
    )


def _critical_path(path: CriticalPath) -> pb.CriticalPath:
    return pb.CriticalPath(
        seat=path.seat,
        elapsed_s=path.elapsed_s,
        queue_s=path.queue_s,
        compute_s=path.compute_s,
        merge_s=path.merge_s,
    )


def _tensors(tensors: Mapping[str, Tensor]) -> list[pb.Tensor]:
    return [
        pb.Tensor(name=name, datatype=t.datatype, shape=t.shape, raw=bytes(t.raw))
        for name, t in tensors.items()
    ]


def _member(seat: SeatReport) -> pb.MemberReport:
    wire_s = None
    if seat.elapsed_s is not None:
        wire_s = max(0.0, seat.elapsed_s - (seat.queue_s or 0.0) - (seat.compute_s or 0.0))
    return pb.MemberReport(
        seat=seat.seat,
        model=seat.model,
        version=seat.version,
        outcome=seat.outcome.number,
        cause=seat.cause.number if seat.cause else None,
        message=seat.message,
        attempts=seat.attempts,
        weight_used=seat.weight_used,
        queue_s=seat.queue_s,
        compute_s=seat.compute_s,
        wire_s=wire_s,
        outputs=_tensors(seat.outputs),
    )
