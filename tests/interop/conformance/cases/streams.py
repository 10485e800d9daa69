"""Streams of requests."""

from __future__ import annotations

from typing import Any

import numpy as np

from protos.oip import messages
from tests.interop.conformance.case import (
    ENSEMBLE,
    GATEWAY,
    STUB,
    TRITON,
    Answer,
    Case,
    Infer,
    Refused,
    Rpc,
    Stream,
)
from tests.interop.conformance.cases.requests import ONE
from tests.interop.conformance.cases.tensors import WHY_REJECTED

__all__ = ["CASES"]


def _ask(name: str, model: str = "parked") -> Infer:
    return Infer(model, ONE, (), {"request_id": name})


def _indexed(name: str, index: int) -> Infer:
    return Infer("picky", {"index": np.array([index])}, (), {"request_id": name})


def _finally() -> Rpc:
    message = messages.ModelInferRequest(model_name="parked", id="a", raw_input_contents=[bytes(8)])
    message.inputs.add(name="x", datatype="FP32", shape=(1, 2))
    message.parameters["triton_enable_empty_final_response"].bool_param = True
    return Rpc("", message)


def _id(answer: Any) -> Any:
    return answer.message.id if isinstance(answer, Answer) else answer.infer_response.id


def _facts(message: Any) -> str:
    """Return what an answer says of itself: its id, and beside an error its reason and status as a number."""
    told = message.infer_response
    words = [told.id, "error" if message.error_message else "answer"]
    for name, field in (("accord_reason", "string_param"), ("accord_code", "int64_param")):
        if name in told.parameters:
            words.append(str(getattr(told.parameters[name], field)))
    if "triton_final_response" in told.parameters and told.parameters["triton_final_response"].bool_param:
        words.append("final")
    return " ".join(words)


_STRICT = {"triton_grpc_error": "true"}
_GOOD = (_ask("a"), _ask("b"), _ask("c"))
_ONE_BAD = (_ask("a"), _ask("b", "nobody"), _ask("c"))

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
        see=["a answer final", "b error MODEL_NOT_FOUND 5 final", "c answer final"],
        triton=["a answer final", "b error", "c answer final"],
        why="A program can read what kind of error it is, and that no more follows.",
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
        # no third request: grpc.aio's client may trip over the status while it still sends
        send=Stream(_ONE_BAD[:2], _STRICT),
        view=_id,
        see=["a", Refused("NOT_FOUND", "MODEL_NOT_FOUND")],
        triton=["a", Refused("")],
        why="The header asks for a status, and gets one; Triton gives it only for errors of a model's run.",
        by=("aio",),
    ),
    Case(
        name="`triton_grpc_error: true` and an error of the model's run",
        # no third request: Triton 2.51 may crash where one is under way
        send=Stream((_indexed("a", 2), _indexed("b", 7)), _STRICT),
        view=_id,
        see=["a", Refused("INVALID_ARGUMENT", "INPUT_REJECTED")],
        triton=["a", Refused("INTERNAL")],
        why=WHY_REJECTED,
        by=("aio",),
    ),
    Case(
        name="a slow model's answer and then a fast one's, in one stream",
        send=Stream((Infer("slow", {"steps": np.array([20_000])}, (), {"request_id": "a"}), _ask("b"))),
        view=_id,
        see=["a", "b"],
        on=(GATEWAY, ENSEMBLE, TRITON),
    ),
    Case(
        name="an empty final response is wanted",
        send=Stream((_finally(),)),
        view=_facts,
        see=["a answer final"],
        by=STUB,
    ),
    Case(
        name="bytes that are no message, in a stream",
        send=Stream((Rpc("", messages.ModelInferRequest(model_name="parked"), data=b"\xff\xff"), _ask("b"))),
        view=_facts,
        triton=[],
        why="One bad message does not cost the others theirs.",
        see=[" error MALFORMED_REQUEST 3 final", "b answer final"],
        by=STUB,
    ),
)
