"""Sentence embeddings by a model of the repository, without a server, for what is trained on them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from examples import ExampleError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["ENCODER", "embed"]

ENCODER = "minilm"
#: Rows of one run; what it takes at most in tokens is in its ``config.pbtxt``.
BATCH, MAX_TOKENS = 32, 256


def embed(repository: Path, texts: Sequence[str]) -> NDArray[Any]:
    """Return the embeddings of texts, FP32 [n, 384]; texts of like length are computed together.

    Raises:
        ExampleError: If the encoder is not there.
    """
    folder = repository / ENCODER / "1"
    if not (folder / "model.onnx").exists():
        raise ExampleError(f"{folder} holds no model; make it with: python -m examples.models.minilm")
    tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = os.cpu_count() or 1
    run = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    order = np.argsort([len(text) for text in texts], kind="stable")
    parts = []
    for start in range(0, len(order), BATCH):
        encoded = tokenizer.encode_batch([texts[i] for i in order[start : start + BATCH]])
        feeds = {
            "input_ids": np.array([one.ids for one in encoded], np.int64),
            "attention_mask": np.array([one.attention_mask for one in encoded], np.int64),
            "token_type_ids": np.array([one.type_ids for one in encoded], np.int64),
        }
        parts.append(run.run(["embedding"], feeds)[0])
    embeddings = np.empty((len(texts), parts[0].shape[1]), np.float32)
    embeddings[order] = np.concatenate(parts)
    return embeddings
