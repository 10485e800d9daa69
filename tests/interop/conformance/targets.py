"""The servers that the suite asks: the same models in workers, behind a gateway and in a real Triton."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import psutil

from bench.peers.repository import for_triton
from bench.peers.triton import serve_triton
from tests import models
from tests.interop.conformance.case import ADMIN, ENSEMBLE, GATEWAY, TRITON, WORKER
from tests.serving import serve

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["DATATYPES", "RAW_ONLY", "WEIGHTS", "Target", "serve_accord", "serve_real_triton", "write_models"]

#: The datatypes that have a typed form, and those that do not.
DATATYPES = (
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP32", "FP64", "BYTES",
)  # fmt: skip
RAW_ONLY = ("FP16", "BF16")
WEIGHTS = np.array([[1, 2], [3, 4]], np.float32)
#: Triton's configs have no scalars, so one model is ours alone.
NOT_FOR_TRITON = ("scalar",)

_EIGHT = "max_batch_size: 8"
_LABELLED = """
max_batch_size: 8
input [ {name: "x" data_type: TYPE_FP32 dims: [3]} ]
output [
  {name: "probabilities" data_type: TYPE_FP32 dims: [3] label_filename: "labels.txt"},
  {name: "label" data_type: TYPE_INT64 dims: [1] reshape { shape: [] }}
]
"""
_OPTIONAL = 'max_batch_size: 0 input [ { name: "x" }, { name: "bias" optional: true } ]'

_CONFIG = """
server: {{max_request_bytes: 33554432, admin: "unix:{folder}/admin"}}
models:
{models}
ensembles:
{ensembles}
"""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to ask one kind of server, and under which names.

    Args:
        address: The server's, or one for each model.
        suffix: What the models' names end with there.
    """

    address: str | Mapping[str, str]
    suffix: str = ""

    def where(self, model: str) -> str:
        """Return the address to ask for a model."""
        if isinstance(self.address, str):
            return self.address
        return self.address[model] if model in self.address else next(iter(self.address.values()))

    def name(self, model: str) -> str:
        """Return the model's name there."""
        return f"{model}{self.suffix}" if model else ""


def write_models(folder: Path) -> Path:
    """Write the models of the suite into a repository."""

    def write(name: str, data: bytes, config: str = "", version: int = 1, **files: str) -> None:
        named = {path.replace("_", "."): text for path, text in files.items()}
        models.write_model(folder, name, data, config=config, version=version, files=named)

    write("every", models.identity(DATATYPES), _EIGHT)
    write("half", models.identity((*RAW_ONLY, "FP32")), _EIGHT)
    write("scalar", models.identity(("FP32",), ()))
    write("deep", models.identity(("FP32",), (*(1,) * 15, 2)))
    write("fixed", models.identity(("FP32", "BYTES"), (2, 3)))
    write("grid", models.identity(("FP32", "INT32"), ("n", 2, 3)), _EIGHT)
    write("tape", models.identity(("UINT8",), ("any",)), "max_batch_size: 0")
    write("bias", models.with_default(), _OPTIONAL)
    write("labelled", models.classifier(), _LABELLED, labels_txt="plum\npear\nfig\n")
    for version in (1, 3):
        write("versions", models.linear(version * WEIGHTS), "version_policy { all {} }", version=version)
    write("slow", models.slow())
    write("picky", models.picky())
    write("parked", models.linear(WEIGHTS))
    return folder


def names(repository: Path) -> list[str]:
    """Return the models of a repository."""
    return sorted(path.name for path in repository.iterdir())


@contextmanager
def serve_accord(repository: Path, folder: Path) -> Iterator[dict[str, Target]]:
    """Serve a repository with a gateway and its workers."""
    found = names(repository)
    config = folder / "accord.yaml"
    config.write_text(
        _CONFIG.format(
            folder=folder,
            models="\n".join(f"  {m}: {{worker: {{repository: {repository}, threads: 1}}}}" for m in found),
            ensembles="\n".join(
                f"  {m}-ensemble: {{strategy: {{kind: first}}, members: [{{model: {m}}}]}}" for m in found
            ),
        )
    )
    served = serve(config, folder)
    try:
        yield {
            WORKER: Target({model: _listens(served.pids(model)[0]) for model in found}),
            GATEWAY: Target(served.address),
            ENSEMBLE: Target(served.address, "-ensemble"),
            ADMIN: Target(f"unix:{folder}/admin"),
        }
    finally:
        served.stop()


@contextmanager
def serve_real_triton(repository: Path, folder: Path) -> Iterator[Target]:
    """Serve a repository with Triton, which takes calls to load and unload."""
    converted = for_triton(repository, folder / "models")
    found = [model for model in names(converted) if model not in NOT_FOR_TRITON]
    with serve_triton(converted, log=folder / "log", explicit=True, load=found) as peer:
        yield Target(peer.address)


def _listens(pid: int) -> str:
    """Return the address that a worker of the gateway was told to listen on."""
    command = psutil.Process(pid).cmdline()
    return command[command.index("--address") + 1]
