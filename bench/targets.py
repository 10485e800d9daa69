"""Servers that are measured, each in processes of its own, for as long as a block lasts."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from bench import BenchFailed
from deploy.ghz.server import Server, ServerFailed, serving
from gateway.config import ConfigError, load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Target", "echo", "gateway", "module", "owned", "worker"]


@dataclass(frozen=True, slots=True)
class Target:
    """A running server.

    Args:
        address: Where it listens.
        processes: All that it consists of.
        server: Its handle, where it is a gateway.
    """

    address: str
    processes: frozenset[psutil.Process]
    server: Server | None = None

    def cpu_s(self) -> float:
        """Return the CPU time that it has taken so far, in seconds.

        Raises:
            BenchFailed: If one of its processes is gone.
        """
        try:
            times = [process.cpu_times() for process in self.processes]
        except psutil.NoSuchProcess:
            raise BenchFailed("a process of the server ended under load") from None
        return sum(time.user + time.system for time in times)

    def front(self) -> list[psutil.Process]:
        """Return the processes that clients are connected to: of a gateway, neither parent nor workers."""
        if self.server is None:
            return list(self.processes)
        return [process for process in self.processes if "gateway.app" in process.cmdline()]

    def memory(self) -> int:
        """Return the memory of the processes that clients are connected to, resident, in bytes."""
        return sum(process.memory_info().rss for process in self.front())


@contextmanager
def gateway(config: Path, folder: Path) -> Iterator[Target]:
    """Serve a configuration.

    Args:
        config: The configuration.
        folder: Where its log goes.

    Raises:
        BenchFailed: If the configuration is refused or the server does not start.
    """
    try:
        load(config)
    except ConfigError as error:
        raise BenchFailed(f"accord check refuses the configuration: {error.complaints[0].problem}") from None
    folder.mkdir(parents=True, exist_ok=True)
    before = owned()
    try:
        with serving(config, folder) as server:
            yield Target(server.address, owned() - before, server)
    except ServerFailed as error:
        raise BenchFailed(str(error)) from None


@contextmanager
def echo(reply: bytes, folder: Path) -> Iterator[Target]:
    """Serve a bare echo that answers everything with one reply."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{len(reply)}.reply"
    path.write_bytes(reply)
    with module("bench.echo", str(path), log=folder / "echo.log") as target:
        yield target


@contextmanager
def worker(repository: Path, model: str, folder: Path) -> Iterator[Target]:
    """Serve one model with a worker of ours, as the gateway starts it, but on TCP."""
    folder.mkdir(parents=True, exist_ok=True)
    arguments = ("--repository", str(repository), "--model", model, "--threads", "1")
    with module("workers.main", *arguments, log=folder / f"{model}.log") as target:
        yield target


@contextmanager
def module(name: str, *arguments: str, log: Path) -> Iterator[Target]:
    """Run a module that prints its address once it listens; it ends with this process at the latest.

    Raises:
        BenchFailed: If it ends before.
    """
    before = owned()
    with (
        log.open("wb") as stream,
        subprocess.Popen(  # noqa: S603 - our own interpreter, our own module
            [sys.executable, "-m", "gateway.tether", name, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stream,
        ) as process,
    ):
        assert process.stdout is not None  # noqa: S101 - it is a pipe, see above
        try:
            address = process.stdout.readline().decode().strip()
            if not address:
                raise BenchFailed(f"{name} ended before it listened:\n{log.read_text('utf-8')[-2000:]}")
            yield Target(address, owned() - before)
        finally:
            process.terminate()


def owned() -> frozenset[psutil.Process]:
    """Return all processes that descend from this one."""
    return frozenset(psutil.Process().children(recursive=True))
