"""Parameters, ids, priorities, deadlines and cancellation."""

from __future__ import annotations

from typing import Any

import numpy as np

from protos.oip import messages
from tests.interop.conformance.case import (
    GATEWAY,
    STUB,
    TRITON,
    TRITONCLIENT,
    WORKER,
    Cancel,
    Case,
    Infer,
    Refused,
    Rpc,
    Script,
    Together,
    outputs,
)
from tests.interop.conformance.cases.requests import ONE

__all__ = ["CASES"]

_Y = {"y": [[4, 6]]}
#: Work that outlasts a second on a fast machine, and takes five on a slow one; and a tenth of it.
_LONG, _SHORTER = ({"steps": np.array([steps])} for steps in (500_000, 50_000))
_NEXT = Infer("slow", {"steps": np.array([1])}, (), {"client_timeout": 0.8})
_LATE = Refused("DEADLINE_EXCEEDED")
_ASKED_SLOWLY = (WORKER, GATEWAY, TRITON)
_WHY_FREED = "Work that nobody waits for is ended; Triton's goes on, and the next request waits for it."


def _ask(**options: Any) -> Infer:
    return Infer("parked", ONE, (), options)


def _parameter(name: str, **choice: Any) -> Rpc:
    message = messages.ModelInferRequest(model_name="parked", raw_input_contents=[ONE["x"].tobytes()])
    message.inputs.add(name="x", datatype="FP32", shape=(1, 2))
    message.parameters[name].SetInParent()
    for kind, value in choice.items():
        setattr(message.parameters[name], kind, value)
    return Rpc("ModelInfer", message)


def _told(answer: Any) -> dict[str, Any]:
    """Return an answer's parameters by name and kind."""
    return {name: value.WhichOneof("parameter_choice") for name, value in answer.message.parameters.items()}


def _id(answer: Any) -> tuple[str, str]:
    return answer.message.id, answer.message.model_version


def _wrong(name: str) -> Refused:
    return Refused("INVALID_ARGUMENT", "PARAMETER_INVALID", f"parameters['{name}']")


def _unsupported(name: str) -> Refused:
    return Refused("UNIMPLEMENTED", "UNSUPPORTED", f"parameters['{name}']")


_WHY_SEQUENCE = (
    "A caller who asks for one is told that there are none; Triton ignores it where a model has none."
)

CASES = (
    Case(
        name="an id",
        send=_ask(request_id="7 \u00fc\u4e16"),
        view=_id,
        see=("7 \u00fc\u4e16", "1"),
        by=(*TRITONCLIENT, *STUB),
    ),
    Case(
        name="an id of 2000 characters",
        send=_ask(request_id="a" * 2000),
        view=lambda answer: len(answer.message.id),
        see=2000,
        gateway=Refused("INVALID_ARGUMENT", "PARAMETER_INVALID", "id"),
        why="A gateway logs ids and hands them to every member, so it takes 1024 characters at most.",
    ),
    Case(name="no id", send=_ask(), view=_id, see=("", "1")),
    Case(
        name="an answer's parameters",
        send=_ask(),
        view=_told,
        see={"accord_queue_us": "int64_param", "accord_compute_us": "int64_param"},
        gateway={},
        ensemble={
            "accord_degraded": "bool_param",
            "accord_members_used": "int64_param",
            "accord_members_asked": "int64_param",
        },
        triton={},
        why="A worker says how long the work took, an ensemble which members answered.",
    ),
    Case(
        name="custom parameters of every type",
        of="parameters",
        send=_ask(parameters={"a": True, "b": -5, "c": "text", "d": 2.5}),
        see=_Y,
        by=(*TRITONCLIENT, *STUB),
    ),
    Case(name="a parameter without a value", send=_parameter("a"), see=_wrong("a"), by=STUB),
    *(
        Case(name=f"{name} as {kind}", send=_parameter(name, **{kind: value}), see=_Y, by=STUB)
        for name, kind, value in (
            ("priority", "uint64_param", 1),
            ("priority", "int64_param", 1),
            ("timeout", "int64_param", 10_000_000),
        )
    ),
    Case(
        name="timeout as uint64_param",
        send=_parameter("timeout", uint64_param=10_000_000),
        see=_Y,
        triton=Refused("INVALID_ARGUMENT"),
        why="Triton takes both integers as priority, and so do we as timeout.",
        by=STUB,
    ),
    *(
        Case(
            name=f"{name} as {kind} {value!r}",
            send=_parameter(name, **{kind: value}),
            see=_wrong(name),
            by=STUB,
        )
        for name, kind, value in (
            ("priority", "string_param", "1"),
            ("priority", "int64_param", -1),
            ("timeout", "string_param", "1"),
            ("timeout", "double_param", 1.0),
            ("sequence_id", "bool_param", True),
            ("sequence_start", "int64_param", 1),
            ("sequence_end", "string_param", "true"),
        )
    ),
    Case(
        name="priority and timeout", of="schedule_policy", send=_ask(priority=2, timeout=10_000_000), see=_Y
    ),
    Case(
        name="a sequence",
        send=_ask(sequence_id=5, sequence_start=True),
        see=_unsupported("sequence_id"),
        triton=_Y,
        why=_WHY_SEQUENCE,
    ),
    Case(
        name="a sequence with a name",
        send=_ask(sequence_id="s"),
        see=_unsupported("sequence_id"),
        triton=_Y,
        why=_WHY_SEQUENCE,
    ),
    Case(name="empty sequence parameters", send=_parameter("sequence_id", int64_param=0), see=_Y, by=STUB),
    *(
        Case(
            name=f"a {name!r} parameter of a plain stub",
            send=_parameter(name, bool_param=True),
            see=_Y,
            by=STUB,
        )
        for name in ("triton_enable_empty_final_response", "binary_data_output", "headers")
    ),
    Case(
        name="a 'triton_unknown' parameter of a plain stub",
        send=_parameter("triton_unknown", bool_param=True),
        see=_Y,
        triton=Refused("INVALID_ARGUMENT"),
        why="What a later Triton's client may ask of a later Triton is no fault here; it has no effect.",
        by=STUB,
    ),
    Case(
        name="`accord_contents: typed`",
        send=_parameter("accord_contents", string_param="typed"),
        view=lambda answer: (len(answer.message.raw_output_contents), outputs(answer)),
        see=(0, _Y),
        triton=(1, _Y),
        why="Ours alone, for stubs that read nothing else; Triton does not know it.",
        by=STUB,
    ),
    Case(
        name="`accord_contents: other`",
        send=_parameter("accord_contents", string_param="other"),
        see=_wrong("accord_contents"),
        triton=_Y,
        why="Ours alone; Triton does not know it.",
        by=STUB,
    ),
    Case(name="metadata of the caller's own", send=_ask(headers={"x-tenant": "a"}), see=_Y),
    # queues and deadlines
    Case(
        name="more requests than the queue holds",
        send=Together([Infer("queued", _SHORTER)] * 4),
        see=[Refused("RESOURCE_EXHAUSTED")],
        triton=[Refused("UNAVAILABLE")],
        why="Clients retry UNAVAILABLE by themselves, which makes an overload worse.",
        by=("aio",),
        on=_ASKED_SLOWLY,
    ),
    Case(
        name="requests whose `timeout` passes in the queue",
        send=Together([Infer("queued", _SHORTER, (), {"timeout": 50_000})] * 2),
        see=[_LATE],
        triton=[Refused("UNAVAILABLE")],
        why="What is late is not unavailable.",
        by=("aio",),
        on=_ASKED_SLOWLY,
    ),
    Case(
        name="a `timeout` that passes",
        send=Infer("slow", _SHORTER, (), {"timeout": 50_000}),
        see=_LATE,
        triton={"y": _SHORTER["steps"].tolist()},
        why="The caller's budget holds; Triton heeds it only where a queue policy of the model lets it.",
        by=("aio",),
        on=_ASKED_SLOWLY,
    ),
    Case(
        name="a deadline that passes, and the next request",
        send=Script(((Infer("slow", _LONG, (), {"client_timeout": 0.2}), outputs), (_NEXT, outputs))),
        see=[_LATE, {"y": [1]}],
        triton=[_LATE, _LATE],
        why=_WHY_FREED,
        by=("sync",),
        on=_ASKED_SLOWLY,
    ),
    Case(
        name="a request that is cancelled, and the next one",
        send=Script(((Cancel(Infer("slow", _LONG), 0.2), outputs), (_NEXT, outputs))),
        see=[Refused("CANCELLED"), {"y": [1]}],
        triton=[Refused("CANCELLED"), _LATE],
        why=_WHY_FREED,
        by=("aio",),
        on=_ASKED_SLOWLY,
    ),
    Case(
        name="a request that is cancelled",
        send=Cancel(Infer("slow", _SHORTER), 0.05),
        see=Refused("CANCELLED"),
        by=("sync",),
        on=_ASKED_SLOWLY,
    ),
)
