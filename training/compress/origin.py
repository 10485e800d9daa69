"""What a variant follows from: where any of it changes, the variant is another, and made anew.

- of every one: the step, the file that it starts from, the trained weights, the rows, and the versions of
  the libraries that make and measure it;
- of one whose rows are drawn: the seed;
- of one that is trained: how the run trains, and how much its tasks weigh.

What decides only how fast it goes (threads, processes) and when it is saved is left out.
"""

from __future__ import annotations

import json
from hashlib import sha256
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from training.config import Distil, Half, Int8, Prune

if TYPE_CHECKING:
    from training.config import Compression, Config
    from training.data import Dataset
    from training.models.model import Model

__all__ = ["data_hash", "origin", "weights_hash"]

_FILES = ("numpy", "onnx", "onnxruntime")
_MODELS = ("accelerate", "onnxscript", "torch", "transformers")
_NO_MATTER = ("threads", "processes", "checkpoint_every")


def origin(
    step: Compression | None,
    config: Config,
    *,
    weights: str,
    data: str,
    source: str = "",
) -> dict[str, Any]:
    """Return what a variant follows from, fit for JSON.

    Args:
        step: What makes it; None: it is the trained model itself.
        config: The run's.
        weights: The hash of the trained weights.
        data: The hash of the rows and their labels.
        source: The hash of the file that the step starts from.
    """
    found: dict[str, Any] = {"weights": weights, "data": data}
    found |= {"kind": "fp32"} if step is None else step.model_dump(mode="json") | {"source": source}
    if isinstance(step, Int8) and step.mode == "static":
        found["seed"] = config.train.seed
    if isinstance(step, Prune | Distil):
        found |= config.model_dump(mode="json", include={"tasks", "train"})
        for name in _NO_MATTER:
            found["train"].pop(name)
    names = _FILES if isinstance(step, Int8 | Half) else _FILES + _MODELS
    return found | {"libraries": {name: version(name) for name in names}}


def weights_hash(model: Model) -> str:
    """Return a hash of a model's weights."""
    digest = sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def data_hash(model: Model, dataset: Dataset) -> str:
    """Return a hash of the rows as a model reads them, of their labels, and of what each is for."""
    digest = sha256(model.feed(dataset).digest.encode())
    for array in (dataset.parts, dataset.groups, dataset.domains):
        digest.update(array.tobytes())
    for task, labels in dataset.labels.items():
        about = [task, labels.kind.value, labels.classes, labels.accepted]
        digest.update(json.dumps(about).encode() + labels.learned)
    return digest.hexdigest()
