"""Tiny models whose work is known: each reads all of its tensor and answers eight numbers.

``y = softmax(8 * m @ weights)``, where ``m`` are the means of eight equal parts of ``x``; the weights differ
from model to model. What a call to such a model costs is the call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    #: From one request's inputs to the right outputs.
    Feed = Mapping[str, NDArray[np.generic]]

__all__ = ["INPUT", "OUTPUT", "WIDTH", "means", "rows", "run", "tiny", "write_tiny"]

INPUT, OUTPUT = "x", "y"
WIDTH = 8
#: Parts' means lie close together; this keeps the models' answers apart.
_SCALE = 8.0
_OPSET, _IR = 17, 8


def tiny(number: int, columns: int) -> bytes:
    """Return a model as an ONNX file.

    Args:
        number: Which one; its weights follow from it.
        columns: Elements of a row, a multiple of eight.
    """
    weights = _SCALE * np.random.default_rng(number).standard_normal((WIDTH, WIDTH)).astype(np.float32)
    nodes = [
        helper.make_node("Reshape", [INPUT, "parts"], ["split"]),
        helper.make_node("ReduceMean", ["split"], ["means"], axes=[2], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["scores"]),
        helper.make_node("Softmax", ["scores"], [OUTPUT], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        f"tiny-{number}",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n", columns])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", WIDTH])],
        [
            numpy_helper.from_array(np.array([-1, WIDTH, columns // WIDTH], np.int64), "parts"),
            numpy_helper.from_array(weights, "weights"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    return bytes(model.SerializeToString())


def write_tiny(repository: Path, columns: int, count: int) -> tuple[str, ...]:
    """Write models as a repository in Triton's layout and return their names."""
    names = tuple(f"tiny-{number}" for number in range(count))
    for number, name in enumerate(names):
        folder = repository / name / "1"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.onnx").write_bytes(tiny(number, columns))
    return names


def rows(count: int, columns: int, seed: int) -> dict[str, NDArray[np.generic]]:
    """Return inputs for one request."""
    return {INPUT: np.random.default_rng(seed).random((count, columns), np.float32)}


def run(model: bytes, feed: Feed) -> NDArray[np.float32]:
    """Return what a tiny model answers."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    answer: NDArray[np.float32] = session.run([OUTPUT], dict(feed))[0]
    return answer


def means(
    repository: Path, members: Sequence[str], feeds: Sequence[Feed], outputs: Sequence[str]
) -> list[Feed]:
    """Run models here and return the mean of each output: what an ensemble has to answer.

    Args:
        repository: Where the models lie.
        members: Their names.
        feeds: Inputs, request by request.
        outputs: The outputs' names.
    """
    totals = [dict.fromkeys(outputs, np.zeros(())) for _ in feeds]
    for name in members:
        path = next((repository / name).glob("*/model.onnx"))
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for total, feed in zip(totals, feeds, strict=True):
            answers = session.run(list(outputs), dict(feed))
            for output, answer in zip(outputs, answers, strict=True):
                total[output] = total[output] + np.asarray(answer, np.float64) / len(members)
    return [dict(total) for total in totals]
