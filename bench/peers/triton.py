"""A real Triton server, from the one that the ``nvidia-pytriton`` package carries.

The package ships the server and its Python backend, but not the ONNX one: ``onnx_backend/model.py`` stands
in for that, see :mod:`bench.peers.repository`. Figures of this server are those of the Python backend, which
copies every tensor to another process and back, so they say little of Triton's own ONNX backend.
"""

from __future__ import annotations

import os
import sysconfig
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.peers import PeerFailed
from bench.peers.environment import environment
from bench.peers.server import reserved_port, serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.peers.environment import Environment
    from bench.peers.server import Peer

__all__ = ["serve_triton"]

_EXIT_TIMEOUT_S = 5


@contextmanager
def serve_triton(
    repository: Path, *, log: Path, explicit: bool = False, load: Sequence[str] = ()
) -> Iterator[Peer]:
    """Serve a model repository with Triton.

    Args:
        repository: A repository that Triton can serve as it is, as ``for_triton`` writes it.
        log: The file that its output goes to.
        explicit: Whether models are loaded and unloaded by calls instead of all at the start.
        load: The models to load at the start nevertheless.

    Raises:
        NotInstalled: If its environment cannot be created.
        PeerFailed: If it does not start, with what its log says of it.

    Example:
        ``with serve_triton(for_triton(source, target), log=folder / "log") as triton: ask(triton.address)``
    """
    installed = environment("triton")
    server = installed.packages / "pytriton" / "tritonserver"
    with tempfile.TemporaryDirectory(prefix="triton-") as folder, reserved_port() as port:
        command: list[str | Path] = [
            server / "bin" / "tritonserver",
            f"--model-repository={repository}",
            f"--backend-directory={_backends(server, Path(folder))}",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={port}",
            "--reuse-grpc-port=true",
            "--allow-http=false",
            "--allow-metrics=false",
            f"--exit-timeout-secs={_EXIT_TIMEOUT_S}",
            f"--model-control-mode={'explicit' if explicit else 'none'}",
            *(f"--load-model={model}" for model in load),
        ]
        variables = _variables(installed)
        with serving("Triton", command, port=port, log=log, models=load, variables=variables) as peer:
            yield peer


def _backends(server: Path, folder: Path) -> Path:
    """Join the Python backend with the stub for our interpreter, which the package keeps apart."""
    stub = server / "python_backend_stubs" / sysconfig.get_python_version() / "triton_python_backend_stub"
    if not stub.is_file():
        raise PeerFailed(
            f"Triton brings no stub for Python {sysconfig.get_python_version()}; use Python 3.11"
        )
    backend = folder / "python"
    backend.mkdir()
    for file in (*(server / "backends" / "python").iterdir(), stub):
        (backend / file.name).symlink_to(file)
    return folder


def _variables(installed: Environment) -> dict[str, str]:
    """Return what the server and its stubs need to find their libraries and the environment's packages."""
    libraries = (installed.packages / "nvidia_pytriton.libs", sysconfig.get_config_var("LIBDIR"))
    return {
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
        "PATH": f"{installed.python.parent}{os.pathsep}{os.environ['PATH']}",
    }
