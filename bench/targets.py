"""Who is asked: an echo, one member's worker and the whole gateway, each in processes of its own."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from bench import BenchFailed
from bench.answers import MEMBER
from examples.demo.server import serve

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CONFIG", "DATA", "ROOT", "Target", "running"]

ROOT = Path(__file__).parents[1]
CONFIG, MODELS, DATA = (ROOT / p for p in ("examples/digits.yaml", "build/models", "build/data/digits.npz"))

#: As the configuration starts it, but on TCP, as the echo and the gateway are.
WORKER = ("workers.main", "--repository", str(MODELS), "--model", MEMBER, "--threads", "1")


@dataclass(frozen=True, slots=True)
class Target:
    """A running server.

    Args:
        address: Where it listens.
        processes: All that it consists of.
    """

    address: str
    processes: tuple[psutil.Process, ...]

    def cpu_s(self) -> float:
        """Return the CPU time that it has taken so far, in seconds."""
        times = [process.cpu_times() for process in self.processes]
        return sum(time.user + time.system for time in times)


@contextmanager
def running(out: Path) -> Iterator[dict[str, Target]]:
    """Start all targets, yield them by name in the order of measurement, and stop them.

    Args:
        out: Where their logs go.

    Raises:
        BenchFailed: If the echo or the worker does not start.
        ExampleError: If the gateway does not.
    """
    with ExitStack() as stack:
        targets = {}
        for name, server in {
            "echo": _listening(out / "echo.log", "bench.echo"),
            "worker": _listening(out / "worker.log", *WORKER),
            "gateway": _serving(out),
        }.items():
            others = set(psutil.Process().children(recursive=True))
            address = stack.enter_context(server)
            own = set(psutil.Process().children(recursive=True)) - others
            targets[name] = Target(address, tuple(own))
        yield targets


@contextmanager
def _serving(out: Path) -> Iterator[str]:
    with serve(CONFIG, out) as server:
        yield server.address


@contextmanager
def _listening(log: Path, *module: str) -> Iterator[str]:
    """Run a module that prints its address once it listens; it ends with this process at the latest."""
    with (
        log.open("wb") as stream,
        subprocess.Popen(  # noqa: S603 - our own interpreter, our own module
            [sys.executable, "-m", "gateway.tether", *module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stream,
        ) as process,
    ):
        assert process.stdout is not None  # noqa: S101 - it is a pipe, see above
        try:
            address = process.stdout.readline().decode().strip()
            if not address:
                raise BenchFailed(f"{module[0]} ended before it listened:\n{log.read_text('utf-8')}")
            yield address
        finally:
            process.terminate()
