"""Writing finished models into a model repository in Triton's layout, whole or not at all.

``<repository>/<name>/config.pbtxt``, ``1/model.onnx``, ``labels.txt`` where classes have names, and
``card.json``: where the model comes from. The card's *stamp* is a hash of everything that made the model,
so that a model is made again exactly when something of that has changed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any

from google.protobuf import text_format

from protos.oip import model_config
from training.files import replaced

if TYPE_CHECKING:
    from collections.abc import Mapping

    from protos.tensor import TensorSpec

__all__ = ["CARD_FILE", "Export", "is_current", "libraries", "stamp", "write_model"]

CARD_FILE = "card.json"
LABELS_FILE = "labels.txt"
MODEL_FILE = "1/model.onnx"

#: Those whose version may change a model.
_LIBRARIES = ("numpy", "scipy", "scikit-learn", "skl2onnx", "onnx", "onnxruntime")

#: What examples share with training; the data's pinned hash is in it.
_DATA = tuple(
    Path(__file__).parents[2] / "training" / "data" / name for name in ("download.py", "split.py", "vader.py")
)

_CONFIG_TYPES = {"FP32": "TYPE_FP32", "INT64": "TYPE_INT64", "BYTES": "TYPE_STRING"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """A finished model.

    Args:
        name: The model's name.
        onnx: The serialised model.
        source: Its input.
        outputs: Its outputs; labels become the label file.
        max_rows: Most rows of one call.
        card: Facts for ``card.json``.
    """

    name: str
    onnx: bytes
    source: TensorSpec
    outputs: tuple[TensorSpec, ...]
    max_rows: int
    card: Mapping[str, Any]


def libraries() -> dict[str, str]:
    """Return the versions of Python and of every library that may change a model."""
    return {"python": python_version(), **{name: version(name) for name in _LIBRARIES}}


@cache
def stamp(folder: Path = Path(__file__).parent) -> str:
    """Return the hash of a folder's code, of the reading and splitting of data, and of the libraries."""
    digest = sha256(json.dumps(libraries(), sort_keys=True).encode())
    for path in (*sorted(folder.glob("*.py")), *_DATA):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def is_current(repository: Path, name: str, wanted: str = "") -> bool:
    """Tell whether a model is there, unharmed and made by the present code, data and libraries.

    Args:
        repository: Where it is to be.
        name: The model's name.
        wanted: The stamp of what makes it; empty for that of this package.
    """
    try:
        card = json.loads((repository / name / CARD_FILE).read_bytes())
        onnx = (repository / name / MODEL_FILE).read_bytes()
    except (OSError, ValueError):
        return False
    return bool(
        card.get("stamp") == (wanted or stamp()) and card.get("onnx_sha256") == sha256(onnx).hexdigest()
    )


def write_model(repository: Path, export: Export) -> None:
    """Write a model; one that was there before is replaced as a whole."""
    files = {
        "config.pbtxt": text_format.MessageToString(_config(export)).encode(),
        MODEL_FILE: export.onnx,
        CARD_FILE: _card(export),
    }
    for spec in export.outputs:
        if spec.labels:
            files[LABELS_FILE] = "".join(f"{label}\n" for label in spec.labels).encode()
    with replaced(repository / export.name) as new:
        for name, content in files.items():
            path = new / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def _config(export: Export) -> Any:
    config = model_config.ModelConfig(
        name=export.name,
        platform="onnxruntime_onnx",
        backend="onnxruntime",
        max_batch_size=export.max_rows,
    )
    for entries, specs in ((config.input, (export.source,)), (config.output, export.outputs)):
        for spec in specs:
            data_type = model_config.DataType.Value(_CONFIG_TYPES[spec.datatype])
            entry = entries.add(name=spec.name, data_type=data_type, dims=spec.shape[1:] or (1,))
            if len(spec.shape) == 1:
                entry.reshape.SetInParent()  # Triton knows no tensor of rows alone: [rows, 1] outside
            if spec.labels:
                entry.label_filename = LABELS_FILE
    return config


def _card(export: Export) -> bytes:
    card = {
        "name": export.name,
        **export.card,
        "onnx_sha256": sha256(export.onnx).hexdigest(),
        "onnx_bytes": len(export.onnx),
        "libraries": libraries(),
        "stamp": stamp(),
    }
    return (json.dumps(card, indent=2, ensure_ascii=False) + "\n").encode()
