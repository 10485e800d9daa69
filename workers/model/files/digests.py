"""The digests of a model version: an optional file ``SHA256SUMS`` in its directory.

It is what ``sha256sum model.onnx weights.bin > SHA256SUMS`` writes and ``sha256sum --check SHA256SUMS``
reads: 64 hexadecimal digits, two spaces (or a space and an asterisk), a path relative to the directory. Every
file that it lists must match; whoever calls decides which files it must list. Digests find damage and
mix-ups; against whoever can write to the directory they help only if ``SHA256SUMS`` comes from elsewhere.

Source: GNU coreutils manual, "md5sum invocation" and "sha2 utilities".
"""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from workers.model.errors import ModelError
from workers.model.files.confined import is_plain, open_inside

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["DIGESTS_FILE", "read_digests", "verify"]

DIGESTS_FILE = "SHA256SUMS"

_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")
#: Thousands of files; a version has a handful.
_MAX_BYTES = 1 << 20
_SHOWN = 12


def read_digests(directory: Path) -> Mapping[str, str] | None:
    """Return the digests of a version by file, or None if it has none.

    Raises:
        ModelError: If they cannot be read.
    """
    path = directory / DIGESTS_FILE
    if not path.exists() and not path.is_symlink():
        return None
    with open_inside(path, directory) as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ModelError(path, f"is larger than {_MAX_BYTES} bytes; list the files of this version only")
    try:
        return _parsed(path, content.decode())
    except UnicodeDecodeError as error:
        raise ModelError(path, f"is not UTF-8 text (byte {error.start})") from None


def verify(directory: Path, digests: Mapping[str, str], *, within: Path) -> None:
    """Compare files with their digests.

    Args:
        directory: Where the names begin.
        digests: Expected digests by name.
        within: The directory that no file may lead out of.

    Raises:
        ModelError: Naming the first file that differs.
    """
    for name, expected in digests.items():
        path = directory / name
        with open_inside(path, within) as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
        if actual != expected:
            raise ModelError(
                path,
                f"has SHA-256 {actual[:_SHOWN]}..., but {DIGESTS_FILE} says {expected[:_SHOWN]}...; "
                f"copy the file again, or renew {DIGESTS_FILE} if the change is meant",
            )


def _parsed(path: Path, text: str) -> dict[str, str]:
    digests: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            raise ModelError(
                path, f"line {number}: is not a digest, two spaces and a file; write it with sha256sum"
            )
        name = PurePosixPath(found[2])
        if not is_plain(found[2]):
            raise ModelError(path, f"line {number}: {found[2][:128]!r} is not a path inside the directory")
        if str(name) in digests:
            raise ModelError(path, f"line {number}: {found[2][:128]!r} is listed twice; list it once")
        digests[str(name)] = found[1].lower()
    return digests
