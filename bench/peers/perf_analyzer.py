"""NVIDIA's load generator for Triton, as its client package carries it.

The program needs two libraries that its package lacks and that of the server has, under names with a hash.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from bench.peers import PeerFailed
from bench.peers.environment import environment

__all__ = ["perf_analyzer"]

_LIBRARIES = {"libb64.so.0d": "libb64-*.so.0d", "libcudart.so.12": "libcudart-*.so.12.*"}


def perf_analyzer(address: str, model: str, *arguments: str, timeout_s: float = 120.0) -> str:
    """Measure a model over gRPC and return the report.

    Args:
        address: The server.
        model: The model.
        *arguments: Further arguments of the program.
        timeout_s: How long it may take.

    Raises:
        NotInstalled: If its environment cannot be created.
        PeerFailed: If it fails, with its own words.
    """
    installed = environment("triton")
    libraries = installed.packages / "nvidia_pytriton.libs"
    with tempfile.TemporaryDirectory(prefix="perf-") as folder:
        for name, pattern in _LIBRARIES.items():
            (Path(folder) / name).symlink_to(next(libraries.glob(pattern)))
        done = subprocess.run(  # noqa: S603 - a program of our own environment
            [installed.home / "bin" / "perf_analyzer", "-i", "grpc", "-u", address, "-m", model, *arguments],
            env={"LD_LIBRARY_PATH": folder},
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
    if done.returncode:
        raise PeerFailed(f"perf_analyzer failed:\n{done.stdout}\n{done.stderr}")
    return done.stdout
