"""Tiny ONNX models, each with one trait, and a way to lay them out as a model repository."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from protos.tensor import DTYPES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from onnx import GraphProto, ValueInfoProto

#: Datatype of the protocol -> ONNX element type.
ONNX_TYPES = {
    "BOOL": TensorProto.BOOL,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BF16": TensorProto.BFLOAT16,
    "BYTES": TensorProto.STRING,
} | {name: getattr(TensorProto, name) for name in DTYPES if "INT" in name}

#: A dimension's length; a string is a dynamic one.
Dims = tuple[int | str, ...]


def write_model(
    repository: Path,
    name: str,
    model: bytes,
    *,
    version: int = 1,
    config: str = "",
    files: Mapping[str, str] | None = None,
) -> Path:
    """Add a model to a repository in Triton's layout.

    Args:
        repository: Its directory; made if absent.
        name: The model's name.
        model: The ONNX file's bytes.
        version: The version's number.
        config: Text of ``config.pbtxt``; none is written if empty.
        files: Further text files by path inside the model's directory, such as label files.

    Returns:
        The repository.
    """
    directory = repository / name / str(version)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "model.onnx").write_bytes(model)
    texts = {**(files or {}), **({"config.pbtxt": config} if config else {})}
    for path, text in texts.items():
        (repository / name / path).write_text(text)
    return repository


def identity(datatypes: Sequence[str], dims: Dims = ("n", 2)) -> bytes:
    """Return a model that answers each input ``x_<datatype>`` unchanged as ``y_<datatype>``."""
    nodes = [helper.make_node("Identity", [f"x_{name}"], [f"y_{name}"]) for name in datatypes]
    inputs = [_value(f"x_{name}", name, dims) for name in datatypes]
    outputs = [_value(f"y_{name}", name, dims) for name in datatypes]
    return _model(helper.make_graph(nodes, "identity", inputs, outputs))


def linear(weights: np.ndarray, *, rows: int | str = "n") -> bytes:
    """Return a model ``y = x @ weights`` in FP32; with a fixed number of ``rows`` it does not batch."""
    matrix = weights.astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [_value("x", "FP32", (rows, matrix.shape[0]))],
        [_value("y", "FP32", (rows, matrix.shape[1]))],
        [numpy_helper.from_array(matrix, "w")],
    )
    return _model(graph)


def mean(inputs: Sequence[str], width: int) -> bytes:
    """Return a model whose ``mean`` FP32 is that of its inputs, each FP32 [n, width]."""
    graph = helper.make_graph(
        [helper.make_node("Mean", list(inputs), ["mean"])],
        "mean",
        [_value(name, "FP32", ("n", width)) for name in inputs],
        [_value("mean", "FP32", ("n", width))],
    )
    return _model(graph)


def classifier(classes: int = 3, name: str = "x") -> bytes:
    """Return a model of two outputs: ``probabilities``, its input's softmax, and ``label``, the argmax."""
    graph = helper.make_graph(
        [
            helper.make_node("Softmax", [name], ["probabilities"], axis=-1),
            helper.make_node("ArgMax", ["probabilities"], ["label"], axis=-1, keepdims=0),
        ],
        "classifier",
        [_value(name, "FP32", ("n", classes))],
        [_value("probabilities", "FP32", ("n", classes)), _value("label", "INT64", ("n",))],
    )
    return _model(graph)


def attends() -> bytes:
    """Return a model ``y = softmax(x)`` along the rows, so that each answer depends on all the others."""
    graph = helper.make_graph(
        [helper.make_node("Softmax", ["x"], ["y"], axis=0)],
        "attends",
        [_value("x", "FP32", ("n", 2))],
        [_value("y", "FP32", ("n", 2))],
    )
    return _model(graph)


def nan() -> bytes:
    """Return a model whose every answer is NaN: ``y = 0 / 0``."""
    nodes = [helper.make_node("Sub", ["x", "x"], ["zero"]), helper.make_node("Div", ["zero", "zero"], ["y"])]
    return _model(
        helper.make_graph(nodes, "nan", [_value("x", "FP32", ("n", 2))], [_value("y", "FP32", ("n", 2))])
    )


def slow() -> bytes:
    """Return a model that burns CPU: ``steps`` INT64 [1] times about 10 us, then answers them as ``y``.

    It consists of very many short operators, so that a run can be aborted at any time.
    """
    size = 64
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("MatMul", ["state", "eye"], ["next_state"]),
        ],
        "step",
        [
            _value("i", "INT64", ()),
            _value("go", "BOOL", ()),
            _value("state", "FP32", (size, size)),
        ],
        [_value("go_on", "BOOL", ()), _value("next_state", "FP32", (size, size))],
    )
    graph = helper.make_graph(
        [
            helper.make_node("Squeeze", ["steps"], ["times"]),
            helper.make_node("Loop", ["times", "yes", "eye"], ["state_out"], body=body),
            helper.make_node("ReduceSum", ["state_out"], ["total"], keepdims=0),
            helper.make_node("Cast", ["total"], ["total_int"], to=TensorProto.INT64),
            helper.make_node("Sub", ["total_int", "total_int"], ["zero"]),
            helper.make_node("Add", ["steps", "zero"], ["y"]),
        ],
        "slow",
        [_value("steps", "INT64", (1,))],
        [_value("y", "INT64", (1,))],
        [
            numpy_helper.from_array(np.eye(size, dtype=np.float32), "eye"),
            numpy_helper.from_array(np.array(True), "yes"),
        ],
    )
    return _model(graph)


def picky() -> bytes:
    """Return a model that looks ``index`` up in a table of three and refuses any other index."""
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "index"], ["y"])],
        "picky",
        [_value("index", "INT64", ("n",))],
        [_value("y", "FP32", ("n",))],
        [numpy_helper.from_array(np.array([1, 2, 3], np.float32), "table")],
    )
    return _model(graph)


def greedy() -> bytes:
    """Return a model that allocates as many elements as ``count`` INT64 [1] says."""
    graph = helper.make_graph(
        [helper.make_node("ConstantOfShape", ["count"], ["y"])],
        "greedy",
        [_value("count", "INT64", (1,))],
        [_value("y", "FP32", ("count",))],
    )
    return _model(graph)


def with_default() -> bytes:
    """Return a model ``y = x + bias`` whose input ``bias`` FP32 [1] has the default 1 inside the file."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "bias"], ["y"])],
        "with_default",
        [_value("x", "FP32", (2,)), _value("bias", "FP32", (1,))],
        [_value("y", "FP32", (2,))],
        [numpy_helper.from_array(np.ones(1, np.float32), "bias")],
    )
    return _model(graph)


def unsupported_operator() -> bytes:
    """Return a model with an operator that no runtime knows."""
    graph = helper.make_graph(
        [helper.make_node("Frobnicate", ["x"], ["y"])],
        "unsupported",
        [_value("x", "FP32", ("n", 2))],
        [_value("y", "FP32", ("n", 2))],
    )
    return _model(graph)


def external_data(location: str) -> bytes:
    """Return a model ``y = x + w`` whose ``w`` FP32 [2] lies in another file."""
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    weights.external_data.add(key="location", value=location)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "external",
        [_value("x", "FP32", ("n", 2))],
        [_value("y", "FP32", ("n", 2))],
        [weights],
    )
    return _model(graph)


def corrupt() -> bytes:
    """Return the first half of a model file, as a broken download leaves it."""
    whole = linear(np.ones((64, 64)))
    return whole[: len(whole) // 2]


def _value(name: str, datatype: str, dims: Dims) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, ONNX_TYPES[datatype], dims)


def _model(graph: GraphProto) -> bytes:
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
