"""Where a run stands: everything that decides how it goes on, in one file that is whole or not there.

The file is a line with the hash of what follows, and what torch writes of tensors and plain values: reading
it runs no code.
"""

from __future__ import annotations

import io
import random
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from training.errors import TrainingError
from training.files import written

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["load", "randomness", "restore_randomness", "save"]

_MARK = b"accord-checkpoint 1 "
_DIGITS = 64


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint; a former one stays until the new one is whole.

    Raises:
        TrainingError: If there is no room.
    """
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    content = buffer.getbuffer()
    written(path, _MARK + sha256(content).hexdigest().encode() + b"\n" + content)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint.

    Raises:
        TrainingError: If it is missing or broken.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TrainingError(
            str(path), f"cannot be read: {error.strerror}", "start again without --resume"
        ) from None
    begin = len(_MARK) + _DIGITS + 1
    told = content[len(_MARK) : begin - 1]
    if not content.startswith(_MARK) or sha256(content[begin:]).hexdigest().encode() != told:
        raise TrainingError(
            str(path),
            f"is broken: {len(content)} bytes that are not what was written",
            "remove the run and start again",
        )
    state: dict[str, Any] = torch.load(io.BytesIO(content[begin:]), map_location="cpu", weights_only=True)
    return state


def randomness() -> dict[str, Any]:
    """Return the state of every generator: Python's, numpy's, torch's, and the GPU's where there is one."""
    kind, key, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(key, np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def restore_randomness(state: Mapping[str, Any]) -> None:
    """Set every generator to where :func:`randomness` found it."""
    random.setstate(state["python"])
    kind, key, *rest = state["numpy"]
    np.random.set_state((kind, key.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
