"""Several models and their mean, in the way that each foreign server has for it.

- Triton: an ensemble of the models and a step in Python, with batching switched on for every model.
- MLServer and KServe have no ensembles in the server: one model of theirs runs all files.
- Ray Serve: a deployment for each model, and one that asks them and takes the mean, behind Ray's gRPC proxy.
- LitServe: one program with all models that batches by itself; HTTP with JSON.
"""

from __future__ import annotations

import json
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.peers.environment import environment
from bench.peers.kserve import serve_kserve
from bench.peers.mlserver import serve_mlserver
from bench.peers.repository import for_kserve, for_mlserver, for_triton
from bench.peers.server import reserved_port, serving
from bench.peers.triton import serve_triton
from workers.model import repository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from bench.peers.server import Peer

__all__ = ["PEERS", "Ensemble"]

HERE = Path(__file__).parent
_LITSERVE_BATCH = 64
_CONNECT_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class Ensemble:
    """What is to be served.

    Args:
        name: The ensemble's name.
        source: The members' repository, in Triton's layout.
        members: Their names.
        input: Their input, FP32 of rank 2.
        output: Their output, FP32 of rank 2.
        columns: Elements of an input's row.
        width: Elements of an output's row.
    """

    name: str
    source: Path
    members: tuple[str, ...]
    input: str
    output: str
    columns: int
    width: int

    def files(self) -> list[str]:
        """Return the members' ONNX files."""
        return [str(repository.find(self.source, member).path.resolve()) for member in self.members]


@contextmanager
def _triton(what: Ensemble, folder: Path) -> Iterator[Peer]:
    models = for_triton(what.source, folder / "models")
    for member in what.members:
        with (models / member / repository.CONFIG_FILE).open("a") as file:
            file.write("dynamic_batching { }\n")
    seats = [f"{what.output}{i}" for i in range(len(what.members))]
    _step(models / f"{what.name}-step", what, seats)
    _plan(models / what.name, what, seats)
    with serve_triton(models, log=folder / "log") as peer:
        yield peer


def _step(folder: Path, what: Ensemble, seats: list[str]) -> None:
    version = folder / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text((HERE / "mean_backend" / "model.py").read_text("utf-8"), "utf-8")
    inputs = ", ".join(_tensor(seat, what.width) for seat in seats)
    (folder / repository.CONFIG_FILE).write_text(
        f"""backend: "python"
max_batch_size: 256
input [ {inputs} ]
output [ {_tensor(what.output, what.width)} ]
""",
        "utf-8",
    )


def _plan(folder: Path, what: Ensemble, seats: list[str]) -> None:
    (folder / "1").mkdir(parents=True)
    steps = [
        f'{{ model_name: "{member}" model_version: -1 '
        f'input_map {{ key: "{what.input}" value: "{what.input}" }} '
        f'output_map {{ key: "{what.output}" value: "{seat}" }} }}'
        for member, seat in zip(what.members, seats, strict=True)
    ]
    mapped = " ".join(f'input_map {{ key: "{seat}" value: "{seat}" }}' for seat in seats)
    steps.append(
        f'{{ model_name: "{what.name}-step" model_version: -1 {mapped} '
        f'output_map {{ key: "{what.output}" value: "{what.output}" }} }}'
    )
    (folder / repository.CONFIG_FILE).write_text(
        f"""platform: "ensemble"
max_batch_size: 256
input [ {_tensor(what.input, what.columns)} ]
output [ {_tensor(what.output, what.width)} ]
ensemble_scheduling {{ step [ {", ".join(steps)} ] }}
""",
        "utf-8",
    )


def _tensor(name: str, width: int) -> str:
    return f'{{ name: "{name}" data_type: TYPE_FP32 dims: [{width}] }}'


@contextmanager
def _mlserver(what: Ensemble, folder: Path) -> Iterator[Peer]:
    model = for_mlserver(what.source, folder / "all") / what.members[0]
    target = (folder / "models").resolve() / what.name
    target.parent.mkdir()
    model.rename(target)
    path = target / "model-settings.json"
    settings = json.loads(path.read_text("utf-8"))
    settings["name"] = what.name
    settings["parameters"]["extra"]["members"] = what.files()
    path.write_text(json.dumps(settings), "utf-8")
    with serve_mlserver(target.parent, log=folder / "log") as peer:
        yield peer


@contextmanager
def _kserve(what: Ensemble, folder: Path) -> Iterator[Peer]:
    model = for_kserve(what.source, folder / "all") / what.members[0]
    target = (folder / "models").resolve() / what.name
    target.parent.mkdir()
    model.rename(target)
    path = target / "model.json"
    facts = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**facts, "files": what.files()}), "utf-8")
    with serve_kserve(target.parent, log=folder / "log") as peer:
        yield peer


@contextmanager
def _ray(what: Ensemble, folder: Path) -> Iterator[Peer]:
    python = environment("ray").python
    # Ray pickles messages, and pickle looks for them in the module that they say they are from
    (folder / "grpc_service_pb2.py").write_text("from tritonclient.grpc.service_pb2 import *\n", "utf-8")
    variables = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
        "PYTHONPATH": str(folder.resolve()),
    }
    with reserved_port() as port:
        arguments = (str(port), str(_free_port()), what.output)
        command: list[str | Path] = [python, "-P", HERE / "ray_mean.py", *arguments, *what.files()]
        with serving("Ray Serve", command, port=port, log=folder / "log", variables=variables) as peer:
            yield peer


@contextmanager
def _litserve(what: Ensemble, folder: Path) -> Iterator[Peer]:
    python = environment("litserve").python
    port = _free_port()

    def ready() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), _CONNECT_TIMEOUT_S) as probe:
                probe.sendall(b"GET /health HTTP/1.0\r\n\r\n")
                return b" 200 " in probe.recv(100)
        except OSError:
            return False

    arguments = (str(port), str(_LITSERVE_BATCH), what.input, what.output)
    command: list[str | Path] = [python, "-P", HERE / "litserve_mean.py", *arguments, *what.files()]
    with serving("LitServe", command, port=port, log=folder / "log", ready=ready) as peer:
        yield peer


def _free_port() -> int:
    """Return a port that is free now, for a server that does not share ports as gRPC's do."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port: int = holder.getsockname()[1]
        return port


PEERS: dict[str, Callable[[Ensemble, Path], AbstractContextManager[Peer]]] = {
    "Triton": _triton,
    "MLServer": _mlserver,
    "KServe": _kserve,
    "Ray Serve": _ray,
    "LitServe": _litserve,
}
