"""How many GPUs a process may use, without a driver call: CUDA must not start in a process that only asks.

The driver makes one device node for each GPU, a container sees only its own, and ``CUDA_VISIBLE_DEVICES``
narrows that. Sources: NVIDIA driver README (device files); CUDA C++ Programming Guide, "CUDA Environment
Variables".
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["available_gpus"]

_NODE = re.compile(r"nvidia[0-9]+")
_ID = re.compile(r"(?:GPU|MIG)-[0-9A-Za-z/-]+")


def available_gpus(root: Path = Path("/"), environ: Mapping[str, str] = os.environ) -> int:
    """Return how many GPUs CUDA would show to a process with this environment.

    Args:
        root: Where ``dev`` is.
        environ: The environment.
    """
    try:
        nodes = sum(bool(_NODE.fullmatch(entry.name)) for entry in (root / "dev").iterdir())
    except OSError:
        return 0
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if not nodes or visible is None:
        return nodes
    return _visible(visible, nodes)


def _visible(text: str, nodes: int) -> int:
    """Count a list's devices; as in CUDA, the first that does not exist ends it and a repetition voids it."""
    counted: list[str] = []
    for word in map(str.strip, text.split(",")):
        if not (_ID.fullmatch(word) or (word.isdecimal() and int(word) < nodes)):
            break
        if word in counted:
            return 0
        counted.append(word)
    return len(counted)
