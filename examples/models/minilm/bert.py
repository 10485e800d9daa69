"""The encoder BERT as an ONNX graph, from its weights alone, and the pooling of a sentence encoder.

Shapes below: n texts, t tokens, h hidden. The names of the weights are those of Hugging Face ``BertModel``.

Source: J. Devlin et al., "BERT", NAACL 2019.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EMBEDDING", "HIDDEN", "encoder", "pooled"]

HIDDEN, EMBEDDING = "last_hidden_state", "embedding"
TOKENS = ("input_ids", "attention_mask", "token_type_ids")
OPSET, IR = 18, 9

#: What is added to the scores of padding: its share is then exactly 0.
_PADDING = -1e9
#: A sentence without tokens, and one whose mean is 0, are divided by these; torch has the same.
_LEAST_COUNT, _LEAST_NORM = 1e-9, 1e-12


class _Graph:
    """Nodes and constants as they come; each step returns the name of its result."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        (output,) = self.several(operator, 1, *inputs, **attributes)
        return output

    def several(self, operator: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        outputs = [f"{operator}_{len(self.nodes)}_{i}" for i in range(count)]
        self.nodes.append(helper.make_node(operator, inputs, outputs, **attributes))
        return outputs

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        array = np.asarray(value, dtype)
        name = f"{array.dtype}_{array.ravel().tolist()}_{array.ndim}"
        self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def weight(self, name: str, array: Any) -> str:
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name)
        return name


def encoder(weights: Mapping[str, Any], config: Mapping[str, Any]) -> Any:
    """Return BERT as an ONNX model that answers the last hidden state of each token, FP32 [n, t, h].

    Args:
        weights: Arrays by name.
        config: The model's ``config.json``.
    """
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    graph = _Graph()

    def linear(x: str, name: str) -> str:
        # torch keeps [out, in]
        product = graph.add("MatMul", x, graph.weight(f"{name}.weight", weights[f"{name}.weight"].T))
        return graph.add("Add", product, graph.weight(f"{name}.bias", weights[f"{name}.bias"]))

    def norm(x: str, name: str) -> str:
        scale, bias = (
            graph.weight(f"{name}.{part}", weights[f"{name}.{part}"]) for part in ("weight", "bias")
        )
        return graph.add("LayerNormalization", x, scale, bias, axis=-1, epsilon=config["layer_norm_eps"])

    def table(name: str, places: str) -> str:
        key = f"embeddings.{name}_embeddings.weight"
        return graph.add("Gather", graph.weight(key, weights[key]), places)

    def by_head(x: str) -> str:
        shape = graph.constant([0, 0, heads, hidden // heads], np.int64)
        return graph.add("Transpose", graph.add("Reshape", x, shape), perm=[0, 2, 1, 3])

    def attention(x: str, name: str, padding: str) -> str:
        query, key, value = (by_head(linear(x, f"{name}.self.{part}")) for part in ("query", "key", "value"))
        scale = graph.constant(1 / np.sqrt(hidden // heads))
        scores = graph.add(
            "MatMul", graph.add("Mul", query, scale), graph.add("Transpose", key, perm=[0, 1, 3, 2])
        )
        shares = graph.add("Softmax", graph.add("Add", scores, padding), axis=-1)
        mixed = graph.add("Transpose", graph.add("MatMul", shares, value), perm=[0, 2, 1, 3])
        joined = graph.add("Reshape", mixed, graph.constant([0, 0, hidden], np.int64))
        return norm(graph.add("Add", linear(joined, f"{name}.output.dense"), x), f"{name}.output.LayerNorm")

    def gelu(x: str) -> str:
        error = graph.add("Erf", graph.add("Div", x, graph.constant(np.sqrt(2))))
        return graph.add(
            "Mul", graph.add("Mul", x, graph.add("Add", error, graph.constant(1))), graph.constant(0.5)
        )

    ids, mask, types = TOKENS
    count = graph.add("Squeeze", graph.add("Shape", ids, start=1))
    places = graph.add("Range", graph.constant(0, np.int64), count, graph.constant(1, np.int64))
    words = graph.add("Add", table("word", ids), table("token_type", types))
    x = norm(graph.add("Add", words, table("position", places)), "embeddings.LayerNorm")
    absent = graph.add("Sub", graph.constant(1), graph.add("Cast", mask, to=TensorProto.FLOAT))
    padding = graph.add(
        "Unsqueeze", graph.add("Mul", absent, graph.constant(_PADDING)), graph.constant([1, 2], np.int64)
    )
    for i in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{i}"
        x = attention(x, f"{layer}.attention", padding)
        inner = gelu(linear(x, f"{layer}.intermediate.dense"))
        x = norm(graph.add("Add", linear(inner, f"{layer}.output.dense"), x), f"{layer}.output.LayerNorm")
    graph.nodes.append(helper.make_node("Identity", [x], [HIDDEN]))
    made = helper.make_graph(
        graph.nodes,
        "bert",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"]) for name in TOKENS],
        [helper.make_tensor_value_info(HIDDEN, TensorProto.FLOAT, ["n", "t", hidden])],
        list(graph.constants.values()),
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)


def pooled(model: Any, width: int) -> Any:
    """Have an encoder answer one vector for each text instead: the tokens' mean, of length 1, FP32 [n, h].

    Args:
        model: An ONNX model with the output :data:`HIDDEN`; it is changed.
        width: h.
    """
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [f"encoder/{name}" if name == EMBEDDING else name for name in names]
    graph = _Graph()
    mask = graph.add("Cast", TOKENS[1], to=TensorProto.FLOAT)
    last, tokens = graph.constant([-1], np.int64), graph.constant([1], np.int64)
    kept = graph.add("Mul", HIDDEN, graph.add("Unsqueeze", mask, last))
    count = graph.add("Max", graph.add("ReduceSum", mask, tokens), graph.constant(_LEAST_COUNT))
    mean = graph.add("Div", graph.add("ReduceSum", kept, tokens, keepdims=0), count)
    square = graph.add("ReduceSum", graph.add("Mul", mean, mean), tokens)
    norm = graph.add("Max", graph.add("Sqrt", square), graph.constant(_LEAST_NORM))
    graph.nodes.append(helper.make_node("Div", [mean, norm], [EMBEDDING]))
    for node in graph.nodes:
        # names of its own beside those of the encoder
        node.input[:] = [name if name in (HIDDEN, *TOKENS) else f"pool/{name}" for name in node.input]
        node.output[:] = [name if name == EMBEDDING else f"pool/{name}" for name in node.output]
    for name, tensor in graph.constants.items():
        tensor.name = f"pool/{name}"
    model.graph.node.extend(graph.nodes)
    model.graph.initializer.extend(graph.constants.values())
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(EMBEDDING, TensorProto.FLOAT, ["n", width]))
    return model
