"""A real KServe model server, and with its environment the interpreter for KServe's Python client."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.peers.environment import environment
from bench.peers.server import reserved_port, serving
from workers.model.repository import models

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.peers.server import Peer

__all__ = ["serve_kserve"]

SCRIPT = Path(__file__).with_name("kserve_onnx.py")


@contextmanager
def serve_kserve(repository: Path, *, log: Path) -> Iterator[Peer]:
    """Serve a repository with KServe's Python model server, which listens on every interface.

    Args:
        repository: A repository as ``for_kserve`` writes it.
        log: The file that its output goes to.

    Raises:
        NotInstalled: If its environment cannot be created.
        PeerFailed: If it does not start, with what its log says of it.
    """
    python = environment("kserve").python
    with reserved_port() as port:
        command: list[str | Path] = [python, "-P", SCRIPT, f"--grpc_port={port}", "--http_port=0", repository]
        with serving("KServe", command, port=port, log=log, models=models(repository)) as peer:
            yield peer
