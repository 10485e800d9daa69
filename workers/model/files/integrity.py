"""What must hold for a model's files before the ONNX runtime opens any of them.

Rules for links: the version's directory and the ONNX file may be links inside the model's directory, external
data inside the version's; all above may be whatever the operator mounted. External data has one name only: a
hard link could show a file from elsewhere, and no path would tell.

Source: the CVEs of ONNX external data (2022-25882, 2024-27318, 2024-5187, 2026-34446, 2026-34447).
"""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from workers.model.errors import ModelError
from workers.model.files.confined import open_inside
from workers.model.files.digests import DIGESTS_FILE, read_digests, verify
from workers.model.files.onnxfile import inspect

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from workers.model.files.onnxfile import Outline
    from workers.model.repository import ModelFiles

__all__ = ["check"]

#: Where protobuf ends.
_MAX_FILE_BYTES = (1 << 31) - 1
#: How much tensors may take beyond what the files hold: sparse and shared weights, generated constants.
_MAX_EXPANSION_BYTES = 1 << 31


def check(files: ModelFiles, *, require_digests: bool = False) -> Outline:
    """Check a version's files: their digests, the ONNX file's structure, and the external data that it names.

    Returns:
        What the ONNX file asks for.

    Args:
        files: The model on disk.
        require_digests: Refuse a version without ``SHA256SUMS``.

    Raises:
        ModelError: Naming the file at fault and the cause.
    """
    directory = files.path.parent
    digests = read_digests(directory)
    if digests is None and require_digests:
        raise ModelError(
            directory / DIGESTS_FILE, "does not exist, but digests are required; write it with sha256sum"
        )
    if digests is not None:
        _require_listed(directory, files.path.name, digests)
        if files.has_tokenizer:
            _require_listed(directory, files.tokenizer_path.name, digests)
        verify(directory, digests, within=files.directory)
    outline, size = _inspected(files)
    sizes = {found.location: _external_size(directory, found.location) for found in outline.external}
    for found in outline.external:
        if found.end > sizes[found.location]:
            raise ModelError(
                directory / found.location,
                f"has {sizes[found.location]} bytes, but tensor {found.tensor!r} ends at byte {found.end}; "
                "copy the file again",
            )
    _check_expansion(files.path, outline, size + sum(sizes.values()))
    if digests is not None:
        for location in sizes:
            _require_listed(directory, location, digests)
    return outline


def _inspected(files: ModelFiles) -> tuple[Outline, int]:
    with open_inside(files.path, files.directory) as file:
        size = os.fstat(file.fileno()).st_size
        if size > _MAX_FILE_BYTES:
            raise ModelError(
                files.path,
                f"has {size} bytes, but an ONNX file ends at 2 GiB; save the weights as external data",
            )
        return inspect(files.path, file), size


def _external_size(directory: Path, location: str) -> int:
    path = directory / location
    with open_inside(path, directory) as file:
        status = os.fstat(file.fileno())
    if status.st_nlink > 1:
        raise ModelError(
            path, "has a second name somewhere (a hard link), which may be another's file; put a copy there"
        )
    return status.st_size


def _check_expansion(path: Path, outline: Outline, stored: int) -> None:
    if outline.declared > stored + _MAX_EXPANSION_BYTES:
        raise ModelError(
            path,
            f"declares {outline.declared} bytes of tensors, most of them in {outline.largest!r}, but its "
            f"files hold {stored}; export it without generated, sparse or shared weights of that size",
        )


def _require_listed(directory: Path, name: str, digests: Mapping[str, str]) -> None:
    if str(PurePosixPath(name)) not in digests:
        raise ModelError(directory / DIGESTS_FILE, f"does not list {name!r}; write it again with sha256sum")
