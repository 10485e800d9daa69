"""Tensors: datatypes, shapes, encodings and sizes."""

from __future__ import annotations

from typing import Any

import numpy as np

from protos.oip import messages
from protos.tensor import DTYPES
from tests.interop.conformance.case import (
    ENSEMBLE,
    EVERYBODY,
    GATEWAY,
    OURS,
    STUB,
    TRITON,
    TRITONCLIENT,
    WORKER,
    Answer,
    Case,
    Infer,
    Refused,
    Rpc,
)
from tests.interop.conformance.targets import DATATYPES, RAW_ONLY

__all__ = ["CASES", "WHY_REJECTED", "X", "sample", "typed"]

_ODD = [[b"", "\u00fc\u4e16\0".encode()], [b"a" * 70_000, b"\n"]]
_WIDE = {
    "BOOL": (0, 1),
    "FP16": (-1.5, 65504),
    "FP32": (-1.5, 3e38),
    "FP64": (-1.5, 1e308),
    "BF16": (-1.5, 3e38),
}


def sample(datatype: str) -> np.ndarray[Any, Any]:
    """Return two rows of two elements with the datatype's extremes."""
    if datatype == "BYTES":
        return np.array(_ODD, object)
    dtype = DTYPES[datatype]
    low, high = _WIDE.get(datatype) or (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return np.array([[low, high], [1, 0]], dtype)


#: What the model ``every`` takes: one tensor of each datatype.
X = {f"x_{name}": sample(name) for name in DATATYPES}
_SAME = {f"y_{name}": sample(name).tolist() for name in DATATYPES}


def typed(model: str, datatype: str, shape: list[int], **contents: Any) -> Rpc:
    """Return an inference whose only tensor has typed contents."""
    message = messages.ModelInferRequest(model_name=model)
    message.inputs.add(
        name=f"x_{datatype}",
        datatype=datatype,
        shape=shape,
        contents=messages.InferTensorContents(**contents),
    )
    return Rpc("ModelInfer", message)


def _all_typed() -> Rpc:
    """Return the same tensors as :data:`X`, typed."""
    message = messages.ModelInferRequest(model_name="every")
    fields = {
        "BOOL": "bool", "UINT8": "uint", "UINT16": "uint", "UINT32": "uint", "UINT64": "uint64",
        "INT8": "int", "INT16": "int", "INT32": "int", "INT64": "int64",
        "FP32": "fp32", "FP64": "fp64", "BYTES": "bytes",
    }  # fmt: skip
    for datatype, kind in fields.items():
        values = {f"{kind}_contents": sample(datatype).ravel().tolist()}
        contents = messages.InferTensorContents(**values)
        message.inputs.add(name=f"x_{datatype}", datatype=datatype, shape=[2, 2], contents=contents)
    return Rpc("ModelInfer", message)


def _mib_of_zeros(answer: Answer) -> float | None:
    """Return how much came back, if it is what was sent."""
    tape = answer.outputs["y_UINT8"]
    return None if tape.any() else tape.nbytes / 2**20


def _tape(mib: int, **options: Any) -> Infer:
    return Infer("tape", {"x_UINT8": np.zeros(mib * 2**20, np.uint8)}, (), options)


def _rows(answer: Answer) -> set[int]:
    return {len(array) for array in answer.outputs.values()}


def _forms(answer: Answer) -> tuple[int, list[bool]]:
    message = answer.message
    return len(message.raw_output_contents), [output.HasField("contents") for output in message.outputs]


_HALF = {f"x_{name}": sample(name) for name in (*RAW_ONLY, "FP32")}
_DEEP = np.array([1, 2], np.float32).reshape((1,) * 15 + (2,))
_FIXED = {"x_FP32": np.arange(6, dtype=np.float32).reshape(2, 3), "x_BYTES": np.full((2, 3), b"a", object)}
_BIASED = {"x": np.array([1, 2], np.float32)}

#: Of values that the model cannot take.
WHY_REJECTED = (
    "The values are the caller's. Triton leaves the status to its backend; the one here says INTERNAL."
)

CASES = (
    Case(
        of="binary_tensor_data",
        name="every datatype but FP16 and BF16, raw",
        send=Infer("every", X),
        see=_SAME,
        by=(*TRITONCLIENT, *STUB),
    ),
    Case(
        name="FP16 and BF16, raw",
        send=Infer("half", _HALF),
        see={f"y_{name}": sample(name).tolist() for name in (*RAW_ONLY, "FP32")},
        by=(*TRITONCLIENT, *STUB),
    ),
    Case(
        name="every datatype but FP16 and BF16, typed",
        send=_all_typed(),
        see=_SAME,
        by=STUB,
    ),
    Case(
        name="the form of an answer to a typed request",
        send=_all_typed(),
        view=_forms,
        see=(12, [False] * 12),
        by=STUB,
    ),
    Case(
        name="FP16, typed",
        send=typed("half", "FP16", [1, 2], fp32_contents=[1, 2]),
        see=Refused("INVALID_ARGUMENT", "TENSOR_ENCODING_CONFLICT", "inputs[0]"),
        by=STUB,
    ),
    Case(
        name="BYTES that are no UTF-8 text",
        send=Infer("every", {**X, "x_BYTES": np.full((2, 2), b"\xff", object)}),
        see=Refused("INVALID_ARGUMENT", "INPUT_REJECTED"),
        triton=Refused("INTERNAL"),
        why=WHY_REJECTED,
    ),
    Case(
        name="zero rows",
        send=Infer("half", {name: array[:0] for name, array in _HALF.items()}),
        view=_rows,
        see={0},
        triton=Refused("INVALID_ARGUMENT", text="Expected 8, got 0"),
        why="No rows are no fault: a caller whose filter left nothing gets nothing back.",
    ),
    Case(
        name="zero rows of BYTES",
        send=Infer("every", {name: array[:0] for name, array in X.items()}),
        view=_rows,
        see={0},
        triton=Refused("INVALID_ARGUMENT", text="expected 2 string elements"),
        why="Likewise.",
    ),
    Case(
        name="a scalar, of rank 0",
        send=Infer("scalar", {"x_FP32": np.array(2.5, np.float32)}),
        see={"y_FP32": 2.5},
        on=OURS,
    ),
    Case(name="a tensor of rank 16", send=Infer("deep", {"x_FP32": _DEEP}), see={"y_FP32": _DEEP.tolist()}),
    Case(
        name="a tensor of rank 17",
        send=Infer("deep", {"x_FP32": _DEEP[np.newaxis]}),
        see=Refused("INVALID_ARGUMENT", "SHAPE_MISMATCH", "inputs[0].shape"),
    ),
    Case(
        name="a model that does not batch",
        send=Infer("fixed", _FIXED),
        see={"y_FP32": _FIXED["x_FP32"].tolist(), "y_BYTES": _FIXED["x_BYTES"].tolist()},
    ),
    Case(
        name="rows for a model that does not batch",
        send=Infer("fixed", {name: array[np.newaxis] for name, array in _FIXED.items()}),
        see=Refused("INVALID_ARGUMENT", "SHAPE_MISMATCH", "inputs[0].shape"),
    ),
    Case(name="an optional input left out", send=Infer("bias", _BIASED), see={"y": [2, 3]}),
    Case(
        name="an optional input given",
        send=Infer("bias", {**_BIASED, "bias": np.array([5], np.float32)}),
        see={"y": [6, 7]},
    ),
    *(
        Case(
            name=f"a message of {mib} MiB",
            send=_tape(mib, client_timeout=30),
            view=_mib_of_zeros,
            see=mib,
            by=STUB if mib > 8 else TRITONCLIENT,
            on=on,
        )
        for mib, on in ((1, EVERYBODY), (31, EVERYBODY), (60, (WORKER, TRITON)))
    ),
    Case(
        name="a message above `max_request_bytes`",
        send=_tape(33),
        view=_mib_of_zeros,
        see=Refused("RESOURCE_EXHAUSTED", "REQUEST_TOO_LARGE"),
        triton=33,
        why="Triton takes whatever fits into memory; a gateway has a limit, 60 MiB unless configured.",
        on=(GATEWAY, ENSEMBLE, TRITON),
        by=STUB,
    ),
    Case(
        name="a message above 64 MiB",
        send=_tape(65),
        view=_mib_of_zeros,
        see=Refused("RESOURCE_EXHAUSTED"),
        triton=65,
        why="gRPC itself refuses it here, without a reason; Triton's limit is higher.",
        by=STUB,
    ),
    *(
        Case(
            name=f"a request compressed with {how}",
            send=_tape(1, compression_algorithm=how),
            view=_mib_of_zeros,
            see=1,
        )
        for how in ("gzip", "deflate")
    ),
)
