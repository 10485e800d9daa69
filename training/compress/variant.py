"""A variant of a trained model, and the folder that keeps it.

The folder is ``variants/<name>`` of the run, written whole: ``model.onnx``; ``variant.json`` with all that
was measured of that very file; ``predictions.npz``, its scores of validation and test rows, laid out as the
run's own. The trained model itself is the variant ``fp32``. To read them takes neither torch nor a runtime.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from training.data.dataset import Kind
from training.errors import TrainingError
from training.export.interface import Head
from training.files import filled, read_object, replaced, sound
from training.run import PREDICTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["ABOUT", "FP32", "VARIANTS", "Variant", "described", "read", "write"]

Array = np.ndarray[Any, np.dtype[Any]]

FP32, VARIANTS = "fp32", "variants"
ABOUT, _ONNX = "variant.json", "model.onnx"
#: What others read there.
_KEYS = ("made_by", "bytes", "ms_1", "ms_8", "invariance")
_AGAIN = "remove its folder, and make the variant again: accord compress"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A variant.

    Args:
        name: Its name.
        onnx: Its file.
        heads: Its tasks.
        facts: What was measured of it, fit for JSON.
    """

    name: str
    onnx: bytes
    heads: tuple[Head, ...]
    facts: Mapping[str, Any]


def read(run: Path, name: str) -> Variant:
    """Read a variant of a run.

    Raises:
        TrainingError: If it is not there, or its file is not the one that was measured.
    """
    folder = run / VARIANTS / name
    facts = described(folder, "onnx_sha256", "tasks", "metrics")
    with sound(folder / _ONNX, _AGAIN):
        onnx = (folder / _ONNX).read_bytes()
    with sound(folder / ABOUT, _AGAIN):
        heads = _heads(facts["tasks"])
    if sha256(onnx).hexdigest() != facts["onnx_sha256"]:
        raise TrainingError(
            str(folder / _ONNX),
            f"is not the file whose parity and figures {ABOUT} tells",
            _AGAIN,
        )
    return Variant(name=name, onnx=onnx, heads=heads, facts=facts)


def described(folder: Path, *keys: str) -> dict[str, Any]:
    """Read what was measured of a variant, but not its file.

    Raises:
        TrainingError: If that is not there, or cannot be read.
    """
    if not (folder / ABOUT).exists():
        raise TrainingError(str(folder), "holds no variant", "make it: accord compress")
    return read_object(folder / ABOUT, *_KEYS, *keys, remedy=_AGAIN)


def write(run: Path, variant: Variant, predictions: Mapping[str, Array]) -> None:
    """Keep a variant in its run's folder, whole or not at all.

    Args:
        run: The run's folder.
        variant: The variant.
        predictions: ``rows``, and each task's scores of them.

    Raises:
        TrainingError: If there is no room, or no right to write there.
    """
    buffer = io.BytesIO()
    np.savez(buffer, **predictions)  # type: ignore[arg-type]
    about = json.dumps(variant.facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    files = {_ONNX: variant.onnx, ABOUT: about.encode(), PREDICTIONS: buffer.getvalue()}
    place = run / VARIANTS / variant.name
    try:
        with replaced(place) as new:
            filled(new, files)
    except OSError as error:
        raise TrainingError(
            str(place), f"cannot be written ({error.strerror})", "make room, and compress again"
        ) from error


def _heads(tasks: Mapping[str, Any]) -> tuple[Head, ...]:
    return tuple(
        Head(
            task=task,
            kind=Kind(each["kind"]),
            classes=tuple(each["classes"]),
            temperature=each["temperature"],
        )
        for task, each in tasks.items()
    )
