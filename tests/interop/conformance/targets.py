"""The servers that the suite asks: the same models in workers, behind a gateway and in a real Triton."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import psutil

from bench.peers.environment import ROOT
from bench.peers.repository import for_triton
from bench.peers.triton import serve_triton
from tests import models
from tests.interop.conformance.case import ADMIN, ENSEMBLE, GATEWAY, WORKER
from tests.serving import eventually, serve

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = [
    "DATATYPES",
    "DIGITS",
    "NOT_FOR_TRITON",
    "RAW_ONLY",
    "Target",
    "link_digits",
    "names",
    "serve_accord",
    "serve_real_triton",
    "write_fixed",
    "write_models",
]

#: The datatypes that have a typed form, and those that do not.
DATATYPES = (
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP32", "FP64", "BYTES",
)  # fmt: skip
RAW_ONLY = ("FP16", "BF16")
WEIGHTS = np.array([[1, 2], [3, 4]], np.float32)
#: Triton's configs have no scalars, so one model is ours alone.
NOT_FOR_TRITON = ("scalar",)
#: Trained models that are members of one ensemble.
DIGITS = ("digits-linear", "digits-svm", "digits-forest")

START_TIMEOUT_S = 90.0

_EIGHT = "max_batch_size: 8"
_LABELLED = """
max_batch_size: 8
input [ {name: "x" data_type: TYPE_FP32 dims: [3]} ]
output [
  {name: "probabilities" data_type: TYPE_FP32 dims: [3] label_filename: "labels.txt"},
  {name: "label" data_type: TYPE_INT64 dims: [1] reshape { shape: [] }}
]
"""
_STAND_IN = """
max_batch_size: 64
input [ {name: "pixels" data_type: TYPE_FP32 dims: [64]} ]
output [
  {name: "probabilities" data_type: TYPE_FP32 dims: [64]},
  {name: "label" data_type: TYPE_INT64 dims: [1] reshape { shape: [] }}
]
"""
_QUEUED = """
max_batch_size: 0
dynamic_batching { default_queue_policy {
  max_queue_size: 1 default_timeout_microseconds: 10000000 allow_timeout_override: true
} }
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
        pid: The server's process, where a test needs it.
    """

    address: str | Mapping[str, str]
    suffix: str = ""
    pid: int | None = None

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
    write_fixed(folder)
    write("grid", models.identity(("FP32", "INT32"), ("n", 2, 3)), _EIGHT)
    write("tape", models.identity(("UINT8",), ("any",)), "max_batch_size: 0")
    write("bias", models.with_default(), _OPTIONAL)
    write("labelled", models.classifier(), _LABELLED, labels_txt="plum\npear\nfig\n")
    for version in (1, 3):
        write("versions", models.linear(version * WEIGHTS), "version_policy { all {} }", version=version)
    write("slow", models.slow())
    write("queued", models.slow(), _QUEUED)
    write("picky", models.picky())
    write("parked", models.linear(WEIGHTS))
    return folder


def names(repository: Path) -> list[str]:
    """Return the models of a repository."""
    return sorted(path.name for path in repository.iterdir())


def write_fixed(folder: Path) -> Path:
    """Write the model that does not batch into a repository."""
    return models.write_model(folder, "fixed", models.identity(("FP32", "BYTES"), (2, 3)))


def link_digits(folder: Path) -> Path:
    """Make a repository of trained models, or where they are not made, of others with the same inputs."""
    folder.mkdir()
    for name in DIGITS:
        trained = ROOT / "build" / "models" / name
        if trained.is_dir():
            (folder / name).symlink_to(trained)
        else:
            models.write_model(folder, name, models.classifier(64, "pixels"), config=_STAND_IN)
    return folder


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
    served = serve(config, folder, ready=False)
    try:
        eventually(served.announce.exists, within_s=START_TIMEOUT_S, what="so many workers are ready")
        yield {
            WORKER: Target({model: _listens(served.pids(model)[0]) for model in found}),
            GATEWAY: Target(served.address),
            ENSEMBLE: Target(served.address, "-ensemble"),
            ADMIN: Target(f"unix:{folder}/admin"),
        }
    finally:
        served.stop()


@contextmanager
def serve_real_triton(repositories: Sequence[Path], folder: Path) -> Iterator[Target]:
    """Serve repositories with one Triton, which takes calls to load and unload."""
    converted = folder / "models"
    for repository in repositories:
        for_triton(repository, converted)
    found = [model for model in names(converted) if model not in NOT_FOR_TRITON]
    with serve_triton(converted, log=folder / "log", explicit=True, load=found) as peer:
        yield Target(peer.address, pid=peer.pid)


def _listens(pid: int) -> str:
    """Return the address that a worker of the gateway was told to listen on."""
    command = psutil.Process(pid).cmdline()
    return command[command.index("--address") + 1]
