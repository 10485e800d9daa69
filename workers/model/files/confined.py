"""Opening a file that must lie inside a directory, whatever links, names and kinds of file stand in the way.

Rules:

- The directory itself, and all above it, may be links: that is the operator's layout.
- Links below it are followed only as far as they stay inside (Kubernetes mounts a ConfigMap that way), and
  the resolved path is then opened part by part without following any, so that none can be slipped in.
- Only a regular file is opened; a pipe or a device neither blocks nor is read.
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from workers.model.errors import ModelError

if TYPE_CHECKING:
    from io import BufferedReader
    from pathlib import Path

__all__ = ["is_plain", "open_inside"]

_PART = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def is_plain(name: str) -> bool:
    """Tell whether a file's relative name, read as text, stays below where it begins.

    Example:
        >>> is_plain("weights/1.bin"), is_plain("../1.bin"), is_plain("/1.bin")
        (True, False, False)
    """
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name


def open_inside(path: Path, directory: Path) -> BufferedReader:
    """Open a file for reading.

    Args:
        path: The file.
        directory: Where it must be.

    Raises:
        ModelError: If it leads out of the directory, is not a regular file or cannot be read.
    """
    try:
        root = directory.resolve(strict=True)
        parts = path.resolve(strict=True).relative_to(root).parts
        file = _open_parts(root, parts)
    except OSError as error:
        raise ModelError(path, f"cannot be read ({error.strerror})") from None
    except RuntimeError:  # how pathlib reports a loop of links
        raise ModelError(path, "cannot be read (it is a loop of links)") from None
    except ValueError:  # neither below the root nor, with a NUL in it, anywhere
        raise ModelError(path, f"leads out of {directory}; put a copy of the file there") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ModelError(path, "is not a regular file; put a plain copy of the file there")
    return file


def _open_parts(root: Path, parts: tuple[str, ...]) -> BufferedReader:
    with ExitStack() as opened:
        at = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in parts:
            opened.callback(os.close, at)
            at = os.open(part, _PART, dir_fd=at)
    return open(at, "rb")  # noqa: PTH123 - a descriptor, not a path
