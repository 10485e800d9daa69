"""The one error of a model that cannot be served."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ModelError"]


class ModelError(Exception):
    """A model that cannot be served. Expected: the message is for the operator.

    Args:
        path: The file or directory at fault.
        cause: What is wrong with it and how to mend it, in one sentence.
    """

    def __init__(self, path: Path, cause: str) -> None:
        super().__init__(f"{path}: {cause}")
        self.path = path
        self.cause = cause
