"""MiniLM's parts at a small size: the weights' file, the graph, the pooling, the pinned archives."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest

from examples import ExampleError
from examples.models.minilm import bert
from examples.models.minilm.__main__ import main
from examples.models.minilm.export import INT8
from examples.models.minilm.safetensors import tensors
from training.data import minilm

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = {
    "hidden_size": 8,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 16,
    "layer_norm_eps": 1e-12,
}


def weights() -> dict[str, np.ndarray]:
    """Return random weights under the names of Hugging Face's BertModel."""
    random = np.random.default_rng(3)
    shapes: dict[str, tuple[int, ...]] = {
        f"embeddings.{name}_embeddings.weight": (count, 8)
        for name, count in (("word", 30), ("position", 12), ("token_type", 2))
    }
    for i in range(2):
        layer = f"encoder.layer.{i}"
        for name, out, into in (
            *((f"attention.self.{part}", 8, 8) for part in ("query", "key", "value")),
            ("attention.output.dense", 8, 8),
            ("intermediate.dense", 16, 8),
            ("output.dense", 8, 16),
        ):
            shapes |= {f"{layer}.{name}.weight": (out, into), f"{layer}.{name}.bias": (out,)}
    norms = ["embeddings"] + [
        f"encoder.layer.{i}.{part}output" for i in (0, 1) for part in ("attention.", "")
    ]
    for name in norms:
        shapes |= {f"{name}.LayerNorm.{part}": (8,) for part in ("weight", "bias")}
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def stored(arrays: dict[str, np.ndarray]) -> bytes:
    """Return arrays as a safetensors file."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, array in arrays.items():
        offsets = [at, at + array.nbytes]
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": offsets}  # type: ignore[dict-item]
        at += array.nbytes
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"".join(array.tobytes() for array in arrays.values())


def ask(model: bytes, ids: list[list[int]], mask: list[list[int]]) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids).tolist()}
    (answer,) = session.run(None, {name: np.array(value, np.int64) for name, value in feed.items()})
    return np.asarray(answer)


def test_the_weights_are_read_as_they_were_stored() -> None:
    """Name by name, in every shape; what is cut short or of another kind is refused in our own words."""
    arrays = weights()
    read = tensors(stored(arrays))
    assert set(read) == set(arrays)
    assert all(np.array_equal(read[name], array) for name, array in arrays.items())
    for broken in (b"", stored(arrays)[:-4], stored(arrays)[:100], stored(arrays).replace(b"F32", b"F16")):
        with pytest.raises(ExampleError, match="no safetensors file that is read here"):
            tensors(broken)


def test_the_encoder_sees_no_padding() -> None:
    """A text has one embedding, of length 1, whatever stands behind its mask; unmasked it has another."""
    model = bert.pooled(bert.encoder(weights(), CONFIG), 8)
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString()
    alone = ask(content, [[2, 7, 9, 3]], [[1, 1, 1, 1]])
    padded = ask(content, [[2, 7, 9, 3, 0, 5], [2, 4, 4, 4, 4, 3]], [[1, 1, 1, 1, 0, 0], [1] * 6])
    assert alone.shape == (1, 8)
    assert np.linalg.norm(alone) == pytest.approx(1.0)
    np.testing.assert_allclose(padded[:1], alone, rtol=0, atol=1e-6)
    unmasked = ask(content, [[2, 7, 9, 3, 0, 5]], [[1] * 6])
    assert np.abs(unmasked - alone).max() > 0.01


def test_only_the_pinned_archives_are_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of the right name and wrong content stops the command with the remedy, and leaves no model."""
    for archive in (minilm.ARCHIVE, INT8):
        (tmp_path / archive.name).write_bytes(b"something else")
    assert main(["--downloads", str(tmp_path), "--out", str(tmp_path / "models")]) == 1
    error = capsys.readouterr().err
    assert minilm.ARCHIVE.sha256 in error
    assert "remove it and try again" in error
    assert not (tmp_path / "models").exists()
