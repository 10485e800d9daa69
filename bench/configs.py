"""Writes the gateway's configurations that the bench measures."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["BACKENDS", "write_config"]

#: How the gateway reaches its models, by the name that the target has in tables.
BACKENDS = ("worker", "inprocess")
#: No limit of the gateway's own may end a run: one of the cases has a call on each of 4,000 connections.
_SERVER = {"max_in_flight": 10_000, "max_bytes_in_flight": 2 * 1024**3}


def write_config(
    path: Path,
    repository: Path,
    backend: str,
    ensembles: Mapping[str, Sequence[str]],
    *,
    strategy: Mapping[str, str],
) -> Path:
    """Write a configuration of ensembles that need all of their members, and return its path.

    Args:
        path: The file; JSON, which YAML contains.
        repository: The models' repository.
        backend: One of :data:`BACKENDS`.
        ensembles: Members' names by ensemble.
        strategy: How answers merge.
    """
    section = {"repository": str(repository.resolve()), **({"threads": 1} if backend == "worker" else {})}
    models = sorted({name for members in ensembles.values() for name in members})
    config = {
        "server": _SERVER,
        "models": {name: {backend: section} for name in models},
        "ensembles": {
            name: {"strategy": dict(strategy), "members": [{"model": member} for member in members]}
            for name, members in ensembles.items()
        },
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config, indent=2), "utf-8")
    return path
