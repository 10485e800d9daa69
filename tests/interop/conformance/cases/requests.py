"""What is wrong with a request: names, versions, inputs, outputs, encodings."""

from __future__ import annotations

from typing import Any

import numpy as np

from protos.oip import messages
from tests.interop.conformance.case import (
    GATEWAY,
    SEEN_AS_WORKER,
    STUB,
    TRITON,
    WORKER,
    Ask,
    Case,
    Infer,
    Refused,
    Rpc,
    outputs,
)
from tests.interop.conformance.cases.tensors import WHY_REJECTED, X, typed

__all__ = ["CASES", "ONE", "WHY_SHARED"]

#: The least that the linear models take.
ONE = {"x": np.ones((1, 2), np.float32)}
_GRID = {
    "x_FP32": np.arange(6, dtype=np.float32).reshape(1, 2, 3),
    "x_INT32": np.arange(6, dtype=np.int32).reshape(1, 2, 3),
}
_NO_VERSION = Refused("NOT_FOUND", "VERSION_NOT_FOUND")
_SHAPED, _TYPE, _SIZE = "SHAPE_MISMATCH", "DTYPE_MISMATCH", "TENSOR_SIZE_MISMATCH"


def _invalid(reason: str, field: str = "") -> Refused:
    return Refused("INVALID_ARGUMENT", reason, field)


def _not_found(reason: str) -> Refused:
    return Refused("NOT_FOUND", reason)


def _parked(*, shape: tuple[int, ...] = (1, 2), raws: tuple[bytes, ...] = (bytes(8),), **fields: Any) -> Rpc:
    """Return an inference of the plainest model, as it is or with something changed."""
    message = messages.ModelInferRequest(model_name="parked", raw_input_contents=raws)
    message.inputs.add(**{"name": "x", "datatype": "FP32", "shape": shape, **fields})
    return Rpc("ModelInfer", message)


def _with_contents(rpc: Rpc) -> Rpc:
    rpc.message.inputs[0].contents.fp32_contents.extend([1, 2])
    return rpc


def _twice() -> Rpc:
    rpc = _parked(raws=(bytes(8), bytes(8)))
    rpc.message.inputs.append(rpc.message.inputs[0])
    return rpc


def _shared(where: str) -> Rpc:
    """Return an inference with a tensor in a region of shared memory that nobody registered."""
    rpc = _parked(raws=()) if where == "inputs" else _parked()
    tensor = rpc.message.inputs[0] if where == "inputs" else rpc.message.outputs.add(name="y")
    tensor.parameters["shared_memory_region"].string_param = "nothing-of-this-name"
    tensor.parameters["shared_memory_byte_size"].int64_param = 8
    return rpc


def _versioned(version: str) -> Infer:
    return Infer("versions", ONE, (), {"model_version": version})


def _without(name: str) -> dict[str, Any]:
    return {key: array for key, array in X.items() if key != name}


def _version(answer: Any) -> tuple[str, Any]:
    return answer.message.model_version, outputs(answer)["y"]


def _names(answer: Any) -> list[str]:
    return sorted(answer.outputs)  # Triton keeps no order


_UNKNOWN_INPUT = {**ONE, "z": np.ones((1, 2), np.float32)}

_WHY_UNKNOWN = "One fault, one status, whoever asks."
#: What Triton says, by method, of a model or version that it does not know.
_UNKNOWN = (
    (
        "is_model_ready",
        False,
        "NOT_FOUND tells a typing error from a model that loads; later Tritons say it too.",
    ),
    ("get_model_metadata", SEEN_AS_WORKER, ""),
    ("get_model_config", SEEN_AS_WORKER, ""),
    ("get_inference_statistics", Refused("INVALID_ARGUMENT"), _WHY_UNKNOWN),
)

_SHARED = Refused("UNIMPLEMENTED", "UNSUPPORTED", text="not mapped")
WHY_SHARED = (
    "What a client writes into shared memory while it is read cannot be checked; the message says what to do "
    "instead."
)

CASES = (
    # which model
    Case(name="an unknown model", send=Infer("nobody", ONE), see=_not_found("MODEL_NOT_FOUND")),
    Case(name="no model named", send=Infer("", ONE), see=_not_found("MODEL_NOT_FOUND")),
    *(
        Case(
            name=f"version {said!r} of versions 1 and 3",
            send=_versioned(said),
            view=_version,
            see=see,
            on=(WORKER, GATEWAY, TRITON),
        )
        for said, see in (("", ("3", [[12, 18]])), ("1", ("1", [[4, 6]])), ("2", _NO_VERSION))
    ),
    Case(
        name="version 'abc'",
        send=_versioned("abc"),
        see=_NO_VERSION,
        triton=Refused("INVALID_ARGUMENT"),
        why="A version that cannot exist is one that does not exist; an ensemble's may be any text.",
    ),
    # inputs
    Case(
        name="an input missing",
        send=Infer("every", _without("x_INT8")),
        see=_invalid("INPUT_MISSING", "inputs"),
    ),
    Case(name="no inputs", send=Infer("every", {}), see=_invalid("INPUT_MISSING", "inputs")),
    Case(
        name="an unknown input",
        send=Infer("parked", _UNKNOWN_INPUT),
        see=_invalid("INPUT_UNKNOWN", "inputs[1].name"),
    ),
    Case(
        name="an input given twice", send=_twice(), see=_invalid("INPUT_UNKNOWN", "inputs[1].name"), by=STUB
    ),
    Case(
        name="another datatype than the model's",
        send=Infer("parked", {"x": np.ones((1, 2), np.float64)}),
        see=_invalid(_TYPE, "inputs[0].datatype"),
    ),
    Case(
        name="a datatype that does not exist",
        send=_parked(datatype="FP31"),
        see=_invalid(_TYPE, "inputs[0].datatype"),
        by=STUB,
    ),
    Case(
        name="another shape than the model's",
        send=Infer("parked", {"x": np.ones((1, 3), np.float32)}),
        see=_invalid(_SHAPED, "inputs[0].shape"),
    ),
    Case(
        name="another rank than the model's",
        send=Infer("parked", {"x": np.ones(2, np.float32)}),
        see=_invalid(_SHAPED, "inputs[0].shape"),
    ),
    Case(
        name="a negative dimension",
        send=_parked(shape=(-1, 2)),
        see=_invalid(_SHAPED, "inputs[0].shape"),
        by=STUB,
    ),
    Case(
        name="a shape of more than 2^60 elements",
        send=_parked(shape=(2**40, 2**40)),
        see=_invalid(_SHAPED, "inputs[0].shape"),
        by=STUB,
    ),
    Case(
        name="inputs with different numbers of rows",
        send=Infer("grid", {**_GRID, "x_INT32": np.zeros((2, 2, 3), np.int32)}),
        see=_invalid(_SHAPED, "inputs"),
    ),
    Case(
        name="more rows than max_batch_size",
        send=Infer("grid", {name: np.repeat(array, 9, axis=0) for name, array in _GRID.items()}),
        see=_invalid(_SHAPED, "inputs"),
    ),
    Case(
        name="values that the model refuses",
        send=Infer("picky", {"index": np.array([7])}),
        see=_invalid("INPUT_REJECTED"),
        triton=Refused("INTERNAL"),
        why=WHY_REJECTED,
    ),
    # encodings
    Case(
        name="fewer bytes than the shape says",
        send=_parked(raws=(bytes(7),)),
        see=_invalid(_SIZE, "inputs[0]"),
        by=STUB,
    ),
    Case(
        name="more bytes than the shape says",
        send=_parked(raws=(bytes(9),)),
        see=_invalid(_SIZE, "inputs[0]"),
        by=STUB,
    ),
    Case(name="no contents at all", send=_parked(raws=()), see=_invalid(_SIZE, "inputs[0]"), by=STUB),
    Case(
        name="more raw contents than inputs",
        send=_parked(raws=(bytes(8), bytes(8))),
        see=_invalid(_SIZE, "raw_input_contents"),
        triton={"y": [[0, 0]]},
        why="Whatever is over belongs to no input, so something is wrong with all of them.",
        by=STUB,
    ),
    Case(
        name="raw and typed contents of one input",
        send=_with_contents(_parked()),
        see=_invalid("TENSOR_ENCODING_CONFLICT", "inputs[0]"),
        by=STUB,
    ),
    Case(
        name="typed contents of another datatype",
        send=typed("tape", "UINT8", [2], fp32_contents=[1, 2]),
        see=_invalid("TENSOR_ENCODING_CONFLICT", "inputs[0]"),
        by=STUB,
    ),
    Case(
        name="fewer typed elements than the shape says",
        send=typed("tape", "UINT8", [3], uint_contents=[1, 2]),
        see=_invalid(_SIZE, "inputs[0]"),
        by=STUB,
    ),
    Case(
        name="a typed element outside the datatype's range",
        send=typed("tape", "UINT8", [1], uint_contents=[300]),
        see=_invalid(_TYPE, "inputs[0].datatype"),
        triton={"y_UINT8": [44]},
        why="A number that does not fit is refused, not cut off.",
        by=STUB,
    ),
    Case(
        name="a BYTES element longer than what follows",
        send=Rpc(
            "ModelInfer",
            messages.ModelInferRequest(
                model_name="fixed",
                inputs=[
                    {"name": "x_FP32", "datatype": "FP32", "shape": [2, 3]},
                    {"name": "x_BYTES", "datatype": "BYTES", "shape": [2, 3]},
                ],
                raw_input_contents=[bytes(24), bytes(20) + b"\x09\0\0\0"],
            ),
        ),
        see=_invalid(_SIZE, "inputs[1]"),
        by=STUB,
    ),
    Case(
        name="bytes that are no message",
        send=Rpc("ModelInfer", messages.ModelInferRequest(model_name="parked"), data=b"\xff\xff\xff"),
        see=_invalid("MALFORMED_REQUEST", "(message)"),
        triton=Refused("INTERNAL"),
        why="The caller's fault wears the caller's status.",
        by=STUB,
    ),
    Case(
        name="an unknown method of the service",
        send=Rpc("ModelTrain", messages.ModelInferRequest(model_name="parked")),
        see=Refused("UNIMPLEMENTED"),
        by=STUB,
    ),
    # outputs
    Case(
        name="some outputs",
        send=Infer("every", X, ("y_INT8", "y_BOOL")),
        view=_names,
        see=["y_BOOL", "y_INT8"],
    ),
    Case(
        name="an unknown output",
        send=Infer("parked", ONE, ("z",)),
        see=_invalid("INPUT_UNKNOWN", "outputs[0].name"),
    ),
    Case(
        name="an output wanted twice",
        send=Infer("parked", ONE, ("y", "y")),
        see=_invalid("INPUT_UNKNOWN", "outputs[1].name"),
        triton={"y": [[4, 6]]},
        why="A name that is given twice is a slip somewhere; it is told, not guessed at.",
    ),
    # shared memory
    Case(
        name="an input in shared memory",
        send=_shared("inputs"),
        see=_SHARED,
        triton=Refused("NOT_FOUND"),
        why=WHY_SHARED,
        by=STUB,
    ),
    Case(
        name="an output in shared memory",
        send=_shared("outputs"),
        see=_SHARED,
        triton=Refused("NOT_FOUND"),
        why=WHY_SHARED,
        by=STUB,
    ),
    # the other questions
    *(
        Case(
            name=f"`{method}` of an unknown model",
            send=Ask(method, "nobody"),
            view=bool,
            see=_not_found("MODEL_NOT_FOUND"),
            triton=theirs,
            why=why,
        )
        for method, theirs, why in (
            *_UNKNOWN,
            ("get_trace_settings", Refused("INVALID_ARGUMENT"), _WHY_UNKNOWN),
        )
    ),
    *(
        Case(
            name=f"`{method}` of an unknown version",
            send=Ask(method, "versions", ("2",)),
            view=bool,
            see=_NO_VERSION,
            triton=theirs,
            why=why,
        )
        for method, theirs, why in _UNKNOWN
    ),
)
