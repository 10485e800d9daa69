"""Streams of requests."""

from __future__ import annotations

from typing import Any

from protos.oip import messages
from tests.interop.conformance.case import STUB, Answer, Case, Infer, Refused, Rpc, Stream
from tests.interop.conformance.cases.requests import ONE

__all__ = ["CASES"]


def _ask(name: str, model: str = "parked") -> Infer:
    return Infer(model, ONE, (), {"request_id": name})


def _id(answer: Any) -> Any:
    return answer.message.id if isinstance(answer, Answer) else answer.infer_response.id


def _facts(message: Any) -> tuple[str, Any, Any]:
    """Return an answer's id, whether it is an error, and its parameters."""
    parameters = {}
    for name, value in message.infer_response.parameters.items():
        kind = value.WhichOneof("parameter_choice")
        if not name.endswith(("_us", "_used", "_asked", "_degraded")):
            parameters[name] = getattr(value, kind)
    return message.infer_response.id, bool(message.error_message), parameters


_STRICT = {"triton_grpc_error": "true"}
_GOOD = (_ask("a"), _ask("b"), _ask("c"))
_ONE_BAD = (_ask("a"), _ask("b", "nobody"), _ask("c"))
_FINAL = {"triton_final_response": True}
_NOT_FOUND = {"accord_reason": "MODEL_NOT_FOUND", "accord_code": 5, **_FINAL}

CASES = (
    Case(name="a stream's order", send=Stream(_GOOD), view=_id, see=["a", "b", "c"]),
    Case(
        name="an error in a stream, which goes on",
        send=Stream(_ONE_BAD),
        view=_id,
        see=["a", Refused(""), "c"],
    ),
    Case(
        name="what a stream's answers say of themselves",
        send=Stream(_ONE_BAD),
        view=_facts,
        see=[("a", False, _FINAL), ("b", True, _NOT_FOUND), ("c", False, _FINAL)],
        by=STUB,
    ),
    Case(
        name="`triton_grpc_error: true` without an error",
        send=Stream(_GOOD, _STRICT),
        view=_id,
        see=["a", "b", "c"],
    ),
    Case(
        name="`triton_grpc_error: true` and an error",
        send=Stream(_ONE_BAD, _STRICT),
        view=_id,
        see=["a", Refused("NOT_FOUND", "MODEL_NOT_FOUND")],
        by=("aio", *STUB),
    ),
    Case(
        name="bytes that are no message, in a stream",
        send=Stream((Rpc("", messages.ModelInferRequest(model_name="parked"), data=b"\xff\xff"), _ask("b"))),
        view=_facts,
        see=[
            ("", True, {"accord_reason": "MALFORMED_REQUEST", "accord_code": 3, **_FINAL}),
            ("b", False, _FINAL),
        ],
        by=STUB,
    ),
)
