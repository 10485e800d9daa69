"""A real MLServer."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.peers.environment import environment
from bench.peers.server import reserved_port, serving
from workers.model.repository import models

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.peers.server import Peer

__all__ = ["serve_mlserver"]


#: Metrics need a port of their own, so they are off; a port 0 is any.
_SETTINGS = {
    "MLSERVER_HOST": "127.0.0.1",
    "MLSERVER_HTTP_PORT": "0",
    "MLSERVER_METRICS_ENDPOINT": "",
    "MLSERVER_PARALLEL_WORKERS": "0",
    "MLSERVER_DEBUG": "false",
}


@contextmanager
def serve_mlserver(repository: Path, *, log: Path) -> Iterator[Peer]:
    """Serve a repository with MLServer.

    It runs models in its own process, instead of in pools of workers as it does by default.

    Args:
        repository: A repository as ``for_mlserver`` writes it.
        log: The file that its output goes to.

    Raises:
        NotInstalled: If its environment cannot be created.
        PeerFailed: If it does not start, with what its log says of it.
    """
    home = environment("mlserver").home
    with reserved_port() as port:
        command: list[str | Path] = [home / "bin" / "mlserver", "start", repository]
        variables = {**_SETTINGS, "MLSERVER_GRPC_PORT": str(port)}
        found = models(repository)
        with serving("MLServer", command, port=port, log=log, models=found, variables=variables) as peer:
            yield peer
