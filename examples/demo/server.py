"""``accord serve`` as a child process, for as long as a ``with`` block lasts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from accord.client import CallError, Client
from examples import ExampleError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from accord.v1.ensemble_pb2 import EnsembleSummary

__all__ = ["Server", "serve"]

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Server:
    """A running gateway.

    Args:
        address: Where its gRPC port listens.
        workers: The process id of each model's first worker.
        started_s: Seconds from the command to the first moment when all its members were ready.
    """

    address: str
    workers: Mapping[str, int]
    started_s: float


# a tethered process cannot outlive this one; the end of its standard input tells it
_TETHERED = (sys.executable, "-m", "gateway.tether")


@contextmanager
def serve(config: Path, out: Path) -> Iterator[Server]:
    """Start a gateway on free ports, yield it when all members are ready, and stop it.

    Args:
        config: The configuration file.
        out: Where its log goes.

    Raises:
        ExampleError: If it does not become ready.
    """
    announce, log = out / f"{config.stem}.announce.json", out / f"{config.stem}.log"
    announce.unlink(missing_ok=True)
    started = time.monotonic()
    with log.open("wb") as stream:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter, our own module
            [*_TETHERED, "accord.cli", "serve", str(config), "--announce", str(announce)],
            stdin=subprocess.PIPE,
            env={
                **os.environ,
                "ACCORD_SERVER__ADDRESS": "127.0.0.1:0",
                "ACCORD_SERVER__METRICS": "127.0.0.1:0",
            },
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        facts = _await_ready(process, announce, log, started + START_TIMEOUT_S)
        _await_members(facts["address"], log, started + START_TIMEOUT_S)
        workers = {worker["model"]: worker["pid"] for worker in reversed(facts["workers"])}
        yield Server(facts["address"], workers, time.monotonic() - started)
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()


def _await_ready(
    process: subprocess.Popen[bytes], announce: Path, log: Path, deadline: float
) -> dict[str, Any]:
    while not announce.exists():
        if process.poll() is not None:
            raise ExampleError(f"accord serve ended with exit code {process.returncode}:\n{_tail(log)}")
        if time.monotonic() > deadline:
            raise ExampleError(f"accord serve was not ready within {START_TIMEOUT_S:.0f} s:\n{_tail(log)}")
        time.sleep(_POLL_S)
    facts: dict[str, Any] = json.loads(announce.read_bytes())
    return facts


def _await_members(address: str, log: Path, deadline: float) -> None:
    """A gateway is ready when quorums can be met; here every member is to be measured."""
    with Client(address) as client:
        while any(ensemble.members_ready < ensemble.members for ensemble in _listed(client)):
            if time.monotonic() > deadline:
                raise ExampleError(f"not every model was ready within {START_TIMEOUT_S:.0f} s:\n{_tail(log)}")
            time.sleep(_POLL_S)


def _listed(client: Client) -> Sequence[EnsembleSummary]:
    try:
        return client.list()
    except CallError as error:
        raise ExampleError(f"the gateway did not list its ensembles: {error}") from error


def _tail(log: Path) -> str:
    return "\n".join(log.read_text("utf-8", "replace").splitlines()[-8:])
