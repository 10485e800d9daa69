"""Tiny text models: a tokenizer of few words, and graphs that answer what a test can compute by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from tests.models import ONNX_TYPES, write_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
WORDS = (
    *SPECIAL,
    *(f"w{i}" for i in range(60)),
    *("the", "film", "was", "never", "really", "good", "but", "not", "quite", "dull"),
)
#: One row for each word; that of the padding is so large that it would show in any mean.
TABLE = np.random.default_rng(5).normal(size=(len(WORDS), 4)).astype(np.float32)
TABLE[0] = 1e6
#: Positions that the models know.
POSITIONS = 300


def tokenizer(*, longest: int | None = None, left: bool = False, pads: bool = True) -> str:
    """Return a ``tokenizer.json`` of words, with ``[CLS]`` before and ``[SEP]`` behind.

    Args:
        longest: What it cuts texts to.
        left: Whether padding stands before the words.
        pads: Whether it says how to pad.
    """
    ids = {word: i for i, word in enumerate(WORDS)}
    made = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(word, ids[word]) for word in ("[CLS]", "[SEP]")]
    )
    made.add_special_tokens(list(SPECIAL))
    if longest is not None:
        made.enable_truncation(longest)
    if pads:
        made.enable_padding(direction="left" if left else "right", pad_id=0)
    return str(made.to_str())


def embeds(
    *,
    datatype: str = "INT64",
    inputs: Sequence[str] = ("input_ids", "attention_mask", "token_type_ids"),
    rows: int | str = "n",
    tokens: int | str = "t",
) -> bytes:
    """Return a model whose output ``embedding`` FP32 [n, 4] is the mean of its words' rows of :data:`TABLE`.

    Words further back than :data:`POSITIONS` are refused, as by any model with a table of positions.
    """
    dims = (rows, tokens)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["words"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=ONNX_TYPES["FP32"]),
        helper.make_node("Shape", ["input_ids"], ["count"], start=1),
        helper.make_node("Squeeze", ["count"], ["stop"]),
        helper.make_node("Range", ["zero", "stop", "one"], ["places"]),
        helper.make_node("Gather", ["positions", "places"], ["place"]),
        helper.make_node("Add", ["words", "place"], ["placed"]),
        helper.make_node("Unsqueeze", ["mask", "last"], ["mask_3"]),
        helper.make_node("Mul", ["placed", "mask_3"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "axis"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["mask", "axis"], ["counted"], keepdims=1),
        helper.make_node("Div", ["sum", "counted"], ["embedding"]),
    ]
    constants = {
        "table": TABLE,
        "positions": np.zeros((POSITIONS, 1), np.float32),
        "zero": np.array(0, np.int64),
        "one": np.array(1, np.int64),
        "last": np.array([2], np.int64),
        "axis": np.array([1], np.int64),
    }
    if "attention_mask" not in inputs:
        # of all tokens, padding included
        nodes[1:2] = [
            helper.make_node("Equal", ["input_ids", "input_ids"], ["same"]),
            helper.make_node("Cast", ["same"], ["mask"], to=ONNX_TYPES["FP32"]),
        ]
    return _model(nodes, dict.fromkeys(inputs, (datatype, dims)), ("embedding", "FP32", (rows, 4)), constants)


def echoes() -> bytes:
    """Return a model whose output ``ids`` INT64 [n, t] is its ``input_ids``."""
    return _model(
        [helper.make_node("Identity", ["input_ids"], ["ids"])],
        {"input_ids": ("INT64", ("n", "t"))},
        ("ids", "INT64", ("n", "t")),
        {},
    )


def picks(datatype: str = "INT64") -> bytes:
    """Return a model whose output ``label`` [n] is its input ``x`` [n], of an integer datatype."""
    return _model(
        [helper.make_node("Identity", ["x"], ["label"])],
        {"x": (datatype, ("n",))},
        ("label", datatype, ("n",)),
        {},
    )


def mean_of(text: str, *, longest: int = 256) -> np.ndarray:
    """Return what :func:`embeds` answers to a text alone, computed here."""
    known = {word: i for i, word in enumerate(WORDS)}
    ids = [known.get(word, 1) for word in text.lower().split()][: longest - 2]
    return np.asarray(TABLE[[2, *ids, 3]].astype(np.float64).mean(axis=0))


def write_text_model(
    repository: Path,
    name: str,
    model: bytes | None = None,
    *,
    config: str = "",
    tokens: str | None = None,
    files: Mapping[str, str] | None = None,
) -> Path:
    """Add a text model to a repository; return the repository."""
    more = {"1/tokenizer.json": tokenizer() if tokens is None else tokens, **(files or {})}
    return write_model(repository, name, model or embeds(), config=config, files=more)


def _model(nodes, inputs, output, constants) -> bytes:  # type: ignore[no-untyped-def]
    graph = helper.make_graph(
        nodes,
        "text",
        [helper.make_tensor_value_info(name, ONNX_TYPES[of], dims) for name, (of, dims) in inputs.items()],
        [helper.make_tensor_value_info(output[0], ONNX_TYPES[output[1]], output[2])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", 18)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())
