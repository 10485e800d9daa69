"""What a question is on the wire, and what an answer on it says.

A request is a head, which is the member's own (model, version, id, parameters, outputs), and tensors, which
are the same for all members that get the same inputs: these are encoded once and kept in ``Question.forms``.
The two join by being written one after the other. Source: Protocol Buffers encoding, "Last One Wins".
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from gateway.values import Answer
from protos import oip

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.values import Question

__all__ = ["Answered", "answer_of", "apart", "head_of", "whole"]

#: Keys of the forms of a question's tensors.
_WHOLE, _APART = "oip", "oip.apart"
#: Most parameters of an answer that are handed back.
_MAX_PARAMETERS = 64
#: What our workers report of a call, in microseconds.
_TIMES = ("accord_queue_us", "accord_compute_us")


@dataclass(frozen=True, slots=True)
class Answered:
    """A reply as it came.

    Args:
        response: A ``ModelInferResponse``.
        raws: Its raw contents, where they came beside it; None = they are in it.
    """

    response: Any
    raws: Sequence[bytes | memoryview] | None = None


def head_of(question: Question, model: str, version: str, left_s: float, *, local: bool) -> bytes:
    """Encode a ``ModelInferRequest`` without its tensors; our own workers (``local``) are told more."""
    request = oip.messages.ModelInferRequest(model_name=model, model_version=version, id=question.id)
    parameters = request.parameters
    parameters["timeout"].int64_param = max(1, int(left_s * 1e6))
    if local and question.gathered:
        parameters[oip.GATHERED].bool_param = True
    if question.priority:
        parameters["priority"].uint64_param = question.priority
    if question.parameters:
        oip.write_parameters(parameters, question.parameters)
    for output in question.outputs:
        request.outputs.add(name=output)
    return cast("bytes", request.SerializeToString())


def whole(question: Question) -> list[bytes | memoryview]:
    """Return the tensors of a ``ModelInferRequest`` in parts, encoded once for all questions that share them.

    In parts, because the one copy that gRPC needs is made when a member's head is joined to them.
    """
    form = question.forms.get(_WHOLE)
    if form is None:
        tensors, raws = apart(question)
        form = question.forms[_WHOLE] = [tensors, *oip.raw_inputs(raws)]
    return cast("list[bytes | memoryview]", form)


def apart(question: Question) -> tuple[bytes, list[bytes | memoryview]]:
    """Return them without the raw contents, and these beside it, uncopied."""
    form = question.forms.get(_APART)
    if form is None:
        request, raws = oip.messages.ModelInferRequest(), list[bytes | memoryview]()
        oip.write_inputs(request, question.inputs, raws)
        form = question.forms[_APART] = request.SerializeToString(), raws
    return cast("tuple[bytes, list[bytes | memoryview]]", form)


def answer_of(answered: Answered, version: str, *, wanted: Sequence[str], within_s: float) -> Answer:
    """Read an answer.

    Args:
        answered: The reply.
        version: The version that it is of.
        wanted: The outputs to read; empty = all.
        within_s: The longest that the call can have taken, in seconds.

    Raises:
        TensorFault: If it breaks a rule of the protocol.
    """
    parameters: dict[str, oip.Parameter] = {}
    seconds: dict[str, float] = {}
    for key, message in answered.response.parameters.items():
        if key in _TIMES:
            told_s = message.int64_param / 1e6
            # any server may say so; a time that the call cannot have taken is not believed
            if 0 <= told_s <= within_s:
                seconds[key] = told_s
        elif kind := message.WhichOneof("parameter_choice"):
            parameters[key] = getattr(message, kind)
    return Answer(
        outputs=oip.read_outputs(answered.response, answered.raws, wanted),
        version=version,
        queue_s=seconds.get("accord_queue_us"),
        compute_s=seconds.get("accord_compute_us"),
        parameters=_bounded(oip.custom(parameters)) if parameters else parameters,
    )


def _bounded(parameters: dict[str, oip.Parameter]) -> dict[str, oip.Parameter]:
    """Hand back no more parameters than a request may bring."""
    return dict(islice(parameters.items(), _MAX_PARAMETERS))
