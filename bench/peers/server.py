"""Starts a foreign server, waits until it and its models are ready, and stops it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import grpc

from bench.peers import PeerFailed
from bench.peers.environment import ROOT
from protos.oip import SERVICE, messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["Peer", "reserved_port", "serving"]

START_TIMEOUT_S, STOP_TIMEOUT_S = 120.0, 15.0
_PROBE_TIMEOUT_S, _POLL_S = 2.0, 0.1
_EXCERPT = 30
_FAILURE = re.compile(r"error|fail|exception|traceback", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Peer:
    """A running foreign server.

    Args:
        address: Where its gRPC port listens.
        pid: Its first process.
        log: Where it writes what it does.
    """

    address: str
    pid: int
    log: Path


@contextmanager
def reserved_port() -> Iterator[int]:
    """Hold a free port that only a server that shares ports, as gRPC's do, can listen on meanwhile."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@contextmanager
def serving(
    name: str,
    command: Sequence[str | Path],
    *,
    port: int,
    log: Path,
    models: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    ready: Callable[[], bool] | None = None,
) -> Iterator[Peer]:
    """Run a server for as long as the block lasts; it ends with this process at the latest.

    Args:
        name: What people call it.
        command: Its program, as an absolute path, and its arguments.
        port: The gRPC port that the arguments or variables name, from :func:`reserved_port`.
        log: The file that its output goes to.
        models: The models to wait for: some servers are ready before their models are.
        variables: What to add to its environment variables.
        ready: Tells whether it can be asked, if not by the protocol's own calls.

    Raises:
        PeerFailed: If it ends or is not ready in time, with what its log says of it.
    """
    with (
        log.open("wb") as stream,
        subprocess.Popen(  # noqa: S603 - our own interpreter, a program that we installed
            [sys.executable, "-m", "gateway.tether", "bench.peers.command", *map(str, command)],
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(variables or {})},
            cwd=ROOT,
            start_new_session=True,
        ) as process,
    ):
        peer = Peer(f"127.0.0.1:{port}", process.pid, log)
        try:
            with grpc.insecure_channel(peer.address) as channel:
                _await_ready(name, peer, process, ready or partial(_ready, channel, models))
            yield peer
        finally:
            _stop(process)


def _await_ready(name: str, peer: Peer, process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while not ready():
        if process.poll() is not None:
            raise PeerFailed(f"{name} ended with exit code {process.returncode}:\n{_excerpt(peer.log)}")
        if time.monotonic() > until:
            raise PeerFailed(f"{name} was not ready within {START_TIMEOUT_S:.0f} s:\n{_excerpt(peer.log)}")
        time.sleep(_POLL_S)


def _ready(channel: grpc.Channel, models: Sequence[str]) -> bool:
    probes = [
        ("ServerReady", messages.ServerReadyRequest(), messages.ServerReadyResponse),
        *(("ModelReady", messages.ModelReadyRequest(name=m), messages.ModelReadyResponse) for m in models),
    ]
    try:
        return all(
            channel.unary_unary(
                f"/{SERVICE}/{method}",
                request_serializer=type(request).SerializeToString,
                response_deserializer=answer.FromString,
            )(request, timeout=_PROBE_TIMEOUT_S, wait_for_ready=True).ready
            for method, request, answer in probes
        )
    except grpc.RpcError:  # not there yet, or does not know the model yet
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
    # a server that died left its own children behind: Triton's stubs, for one
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _excerpt(log: Path) -> str:
    """Return the lines that speak of a failure, since much may follow them, or else the last ones."""
    lines = log.read_text("utf-8", "replace").splitlines()
    return "\n".join(([line for line in lines if _FAILURE.search(line)] or lines)[-_EXCERPT:])
