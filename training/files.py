"""Writing files and folders whole or not at all, and reading them back as what was written."""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from zipfile import BadZipFile

from training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["filled", "read_object", "replaced", "sound", "whole", "written"]


@contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file that takes the place of ``path`` when it is whole, and vanishes on failure.

    Raises:
        OSError: If there is no room, or no right to write there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with scratch.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def written(path: Path, content: bytes | str) -> None:
    """Give a file this content; one that was there before stays until the new one is whole.

    Raises:
        TrainingError: If there is no room, or no right to write there.
    """
    try:
        with whole(path) as file:
            file.write(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        before = "what was there before is whole" if path.exists() else "nothing is there"
        raise TrainingError(
            str(path),
            f"cannot be written: {error.strerror}, {before}",
            "make room or name another folder, and resume",
        ) from None


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a fresh directory that takes the place of ``path`` on success and vanishes on failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
        new = Path(scratch) / "new"
        new.mkdir()
        yield new
        if path.exists():
            path.rename(Path(scratch) / "old")
        new.rename(path)


def filled(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder and onto the disk: what is renamed before that may be empty after a crash."""
    for name, content in files.items():
        with (folder / name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def sound(path: Path, remedy: str) -> Iterator[None]:
    """Complain about a file that cannot be read as what it was written as: lost, cut off, or another's.

    Raises:
        TrainingError: In place of whatever its reader trips over.
    """
    try:
        yield
    except FileNotFoundError:
        raise TrainingError(str(path), "is missing", remedy) from None
    except (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, BadZipFile) as error:
        raise TrainingError(str(path), f"cannot be read ({error})", remedy) from None


def read_object(path: Path, *keys: str, remedy: str) -> dict[str, Any]:
    """Return what a file of JSON says, an object with these keys at least.

    Raises:
        TrainingError: If it is none.
    """
    with sound(path, remedy):
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        lacking = [key for key in keys if key not in found]
        if lacking or not isinstance(found, dict):
            raise ValueError(f"it says nothing of {', '.join(lacking) or 'anything'}")
        return found
