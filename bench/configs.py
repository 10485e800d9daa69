"""Writes the gateway's configurations that the bench measures."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["BACKENDS", "write_config", "write_example"]

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
    models = sorted({name for members in ensembles.values() for name in members})
    return _write(
        path,
        {
            "server": _SERVER,
            "models": {name: _model(backend, repository) for name in models},
            "ensembles": {
                name: {"strategy": dict(strategy), "members": [{"model": member} for member in members]}
                for name, members in ensembles.items()
            },
        },
    )


def write_example(path: Path, example: Path, backend: str) -> Path:
    """Write an example's configuration anew, with another backend and without quorums, and return its path.

    Without a quorum an ensemble needs all of its members: an answer that lacks one is cheaper.
    """
    config: dict[str, Any] = YAML(typ="safe").load(example.read_text("utf-8"))
    models = {
        name: _model(backend, example.parent / model["worker"]["repository"])
        for name, model in config["models"].items()
    }
    ensembles = {
        name: {key: value for key, value in ensemble.items() if key not in ("quorum", "deadline_s")}
        for name, ensemble in config["ensembles"].items()
    }
    return _write(path, {"server": _SERVER, "models": models, "ensembles": ensembles})


def _model(backend: str, repository: Path) -> dict[str, Any]:
    section = {"repository": str(repository.resolve()), **({"threads": 1} if backend == "worker" else {})}
    return {backend: section}


def _write(path: Path, config: Mapping[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config, indent=2), "utf-8")
    return path
