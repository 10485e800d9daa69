"""Outputs wanted as classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from protos.oip import messages
from tests.interop.conformance.case import STUB, Case, Ends, Infer, Refused, Rpc

__all__ = ["CASES"]

_X = {"x": np.log(np.array([[1, 2, 5], [4, 3, 1]], np.float32))}
_GRID = {
    "x_FP32": np.array([[[1, 9, 2], [8, 3, 4]]], np.float32),
    "x_INT32": np.array([[[-1, 9, 2], [8, 3, 4]]], np.int32),
}
_FIXED = {"x_FP32": _GRID["x_FP32"][0], "x_BYTES": np.full((2, 3), b"a", object)}


def _texts(answer: Any) -> dict[str, Any]:
    return {
        name: np.char.decode(array.astype(bytes)).tolist() if array.dtype == object else array.tolist()
        for name, array in answer.outputs.items()
    }


def _count(**choice: Any) -> Rpc:
    message = messages.ModelInferRequest(model_name="labelled", raw_input_contents=[_X["x"].tobytes()])
    message.inputs.add(name="x", datatype="FP32", shape=(2, 3))
    output = message.outputs.add(name="probabilities")
    output.parameters["classification"].SetInParent()
    for kind, value in choice.items():
        setattr(output.parameters["classification"], kind, value)
    return Rpc("ModelInfer", message)


_WRONG = Refused("INVALID_ARGUMENT", "PARAMETER_INVALID", "outputs[0].parameters['classification']")
_TOP = {"probabilities": [["0.625000:2:fig"], ["0.500000:0:plum"]]}
_ALL = {
    "probabilities": [
        ["0.625000:2:fig", "0.250000:1:pear", "0.125000:0:plum"],
        ["0.500000:0:plum", "0.375000:1:pear", "0.125000:2:fig"],
    ]
}

CASES = (
    Case(
        name="the best class",
        of="classification",
        send=Infer("labelled", _X, [("probabilities", 1)]),
        view=_texts,
        see=_TOP,
    ),
    Case(
        name="more classes than there are",
        send=Infer("labelled", _X, [("probabilities", 9)]),
        view=_texts,
        see=_ALL,
    ),
    Case(
        name="classes beside a tensor",
        send=Infer("labelled", _X, [("probabilities", 1), "label"]),
        view=_texts,
        see={**_TOP, "label": [[2], [0]]},
    ),
    Case(
        name="classes of several dimensions, without labels",
        send=Infer("grid", _GRID, [("y_FP32", 2), ("y_INT32", 3)]),
        view=_texts,
        see={"y_FP32": [["9.000000:1", "8.000000:3"]], "y_INT32": [["9:1", "8:3", "4:5"]]},
    ),
    Case(
        name="classes of a model that does not batch",
        send=Infer("fixed", _FIXED, [("y_FP32", 2)]),
        view=_texts,
        see={"y_FP32": ["9.000000:1", "8.000000:3"]},
    ),
    Case(
        name="classes of BYTES",
        send=Infer("fixed", _FIXED, [("y_BYTES", 1)]),
        view=_texts,
        see=Refused("INVALID_ARGUMENT", "PARAMETER_INVALID", "outputs"),
        triton=Ends(),
        why="Texts have no order of merit. Triton 2.51 crashes.",
    ),
    *(
        Case(name=f"{name} classes", send=_count(**choice), view=_texts, see=_WRONG, by=STUB)
        for name, choice in (
            ("0", {"int64_param": 0}),
            ("-1", {"int64_param": -1}),
            ("'2'", {"string_param": "2"}),
        )
    ),
)
