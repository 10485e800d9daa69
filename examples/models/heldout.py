"""Held-out rows on disk: one ``.npz`` of plain arrays without pickles, texts as UTF-8 bytes and offsets."""

from __future__ import annotations

import os
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from examples import ExampleError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["load", "pack", "save", "stamp_of", "unpack"]


def pack(name: str, texts: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return texts as two arrays: ``<name>_utf8`` uint8 [bytes] and ``<name>_offsets`` int64 [n + 1]."""
    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    return {f"{name}_utf8": np.frombuffer(b"".join(encoded), np.uint8), f"{name}_offsets": offsets}


def unpack(name: str, arrays: Mapping[str, NDArray[Any]]) -> list[str]:
    """Return the texts that :func:`pack` made into arrays.

    Example:
        >>> unpack("text", pack("text", ["né", "", "x"]))
        ['né', '', 'x']
    """
    raw, offsets = arrays[f"{name}_utf8"].tobytes(), arrays[f"{name}_offsets"].tolist()
    return [raw[start:stop].decode() for start, stop in pairwise(offsets)]


def save(path: Path, stamp: str, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays and the stamp of what made them; an older file stays until the new one is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, scratch = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".npz", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, stamp=np.array(stamp), **arrays)
        Path(scratch).replace(path)
    finally:
        Path(scratch).unlink(missing_ok=True)


def load(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of a file that :func:`save` wrote.

    Raises:
        ExampleError: If it is not there or damaged.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise ExampleError(
            f"{path}: cannot be read ({error}); make it with: python -m examples.models"
        ) from None


def stamp_of(path: Path) -> str:
    """Return the stamp of a file, empty where there is none."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return str(file["stamp"])
    except (OSError, ValueError, EOFError, KeyError, BadZipFile):
        return ""
