"""Eight-bit variants of an ONNX file.

Rules:

- *static*: ranges are measured beforehand (:mod:`training.compress.ranges`), so a row's answer does not
  depend on its neighbours. *dynamic*: the range is the batch's, and it does.
- Products with weights are quantised, their inputs and weights; sums stay whole numbers until they become
  fp32, so no output is rounded. Products of activations (attention), and the last layers, stay fp32: little
  work, much harm.
- Tables of embeddings become bytes with a scale for each row: they are most of a small model's size, and
  are only looked up.
- Where a node's inputs suffer most from eight bits, the node may stay fp32: the worst first, until whoever
  asks is content.

Sources: ONNX Runtime "Quantize ONNX Models"; ONNX Runtime issue 10111 (on batches); O. Zafrir et al.,
"Q8BERT", 2019.
"""

from __future__ import annotations

import logging
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.calibrate import (
    CalibrationMethod,
    TensorData,
    TensorsData,
    save_tensors_data,
)

from training.compress.ranges import calibrate
from training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["Static", "dynamic", "prepare"]

Array = np.ndarray[Any, np.dtype[Any]]

#: Smaller tables are not worth a node.
_LEAST_TABLE = 1 << 14
_LARGEST = 127


def dynamic(content: bytes, *, per_channel: bool = True, reduce_range: bool = False) -> bytes:
    """Return a file with 8-bit weights whose activations take their ranges from each batch.

    Args:
        content: The fp32 file.
        per_channel: A scale for each output channel of a weight.
        reduce_range: Seven bits.
    """
    model = _with_small_tables(onnx.load_from_string(content))
    if not (products := _products(model)):
        return bytes(model.SerializeToString())
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "quantised.onnx"
        quantize_dynamic(
            model,
            made,
            op_types_to_quantize=["MatMul"],
            nodes_to_quantize=products,
            per_channel=per_channel,
            reduce_range=reduce_range,
            weight_type=QuantType.QInt8,
        )
        return made.read_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Static:
    """A file whose ranges are known, ready to be quantised but for any number of nodes.

    Args:
        content: The fp32 file with small tables.
        worst: Its products with weights, those that suffer most first.
        data: Ranges of their inputs.
        per_channel: A scale for each output channel of a weight.
        reduce_range: Seven bits.
    """

    content: bytes
    worst: tuple[str, ...]
    data: TensorsData
    per_channel: bool = True
    reduce_range: bool = False

    def quantised(self, kept: int) -> bytes:
        """Return the file, the worst ``kept`` nodes in fp32."""
        model = onnx.load_from_string(self.content)
        nodes = list(self.worst[kept:])
        if not nodes:
            return self.content
        with _quiet(), tempfile.TemporaryDirectory() as folder:
            made, ranges = Path(folder) / "quantised.onnx", Path(folder) / "ranges.json"
            save_tensors_data(self.data, ranges)
            quantize_static(
                model,
                made,
                None,
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["MatMul"],
                nodes_to_quantize=nodes,
                per_channel=self.per_channel,
                reduce_range=self.reduce_range,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.Percentile,
                calibration_cache_path=ranges,
                extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul"]},
            )
            return made.read_bytes()

    def tries(self) -> Iterator[int]:
        """Yield how many nodes to keep, none first, each time about half as many again."""
        yield 0
        kept = 1
        while kept < len(self.worst):
            yield kept
            kept = max(kept + 1, kept * 3 // 2)


def prepare(
    content: bytes,
    feed: Callable[[Array], Mapping[str, Array]],
    rows: Array,
    *,
    percentile: float = 99.999,
    per_channel: bool = True,
    reduce_range: bool = False,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Static:
    """Measure the ranges of a file on real rows.

    Args:
        content: The fp32 file.
        feed: Makes a batch of rows.
        rows: Training rows.
        percentile: Share of the values that ranges cover, in per cent.
        per_channel: A scale for each output channel of a weight.
        reduce_range: Seven bits, for CPUs whose 8-bit sums saturate.
        report: Told how far the measuring is.

    Raises:
        TrainingError: If it has neither products with weights nor large tables.
    """
    model = _with_small_tables(onnx.load_from_string(content))
    names = _products(model)
    if not names and len(model.SerializeToString()) >= len(content):
        raise TrainingError(
            "compress",
            "the model has neither dense layers nor large tables, so eight bits would save nothing",
            "leave int8 out for it, or compress another variant",
        )
    inputs = {node.name: node.input[0] for node in model.graph.node if node.name in set(names)}
    found = calibrate(model, sorted(set(inputs.values())), feed, rows, percentile=percentile, report=report)
    data = {
        name: TensorData(lowest=np.float32(each.low), highest=np.float32(each.high))
        for name, each in found.items()
    }
    return Static(
        content=model.SerializeToString(),
        worst=tuple(sorted(names, key=lambda name: -found[inputs[name]].noise)),
        data=TensorsData(CalibrationMethod.Percentile, data),
        per_channel=per_channel,
        reduce_range=reduce_range,
    )


def _products(model: Any) -> list[str]:
    """Return the names of the nodes that multiply activations by a weight."""
    weights = {each.name for each in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "MatMul" and node.input[1] in weights and node.input[0] not in weights
    ]


def _with_small_tables(model: Any) -> Any:
    """Turn a file's large tables of embeddings into bytes with a scale for each row; change and return it."""
    tables = {
        each.name: each
        for each in model.graph.initializer
        if each.data_type == TensorProto.FLOAT
        and len(each.dims) == 2
        and each.dims[0] * each.dims[1] >= _LEAST_TABLE
    }
    uses: dict[str, int] = {}
    for node in model.graph.node:
        for name in node.input:
            uses[name] = uses.get(name, 0) + 1
    nodes: list[Any] = []
    for node in model.graph.node:
        table = node.input[0] if node.op_type == "Gather" else ""
        axis = next((each.i for each in node.attribute if each.name == "axis"), 0)
        if table not in tables or uses[table] > 1 or axis != 0:
            nodes.append(node)
            continue
        values = numpy_helper.to_array(tables[table])
        scales = np.maximum(np.abs(values).max(axis=1, keepdims=True), 1e-12) / _LARGEST
        whole = np.clip(np.rint(values / scales), -_LARGEST, _LARGEST).astype(np.int8)
        model.graph.initializer.remove(tables[table])
        model.graph.initializer.extend(
            [
                numpy_helper.from_array(whole, f"{table}/bytes"),
                numpy_helper.from_array(scales.astype(np.float32), f"{table}/scales"),
            ]
        )
        rows, out = node.input[1], node.output[0]
        nodes += [
            helper.make_node("Gather", [f"{table}/bytes", rows], [f"{out}/bytes"], name=f"{out}/take"),
            helper.make_node("Gather", [f"{table}/scales", rows], [f"{out}/scale"], name=f"{out}/scales"),
            helper.make_node(
                "Cast", [f"{out}/bytes"], [f"{out}/whole"], name=f"{out}/cast", to=TensorProto.FLOAT
            ),
            helper.make_node("Mul", [f"{out}/whole", f"{out}/scale"], [out], name=f"{out}/scaled"),
        ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back a warning that files had better be optimised first; those of torch's export are."""
    before = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.root.setLevel(before)
