"""Real servers for tests: ``accord serve`` as a child process, and ways to speak to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from accord.v1 import errors_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

__all__ = ["Failed", "Served", "eventually", "failed", "listening", "serve"]

ANY_PORT = {"ACCORD_SERVER__ADDRESS": "127.0.0.1:0", "ACCORD_SERVER__METRICS": "127.0.0.1:0"}


def eventually(condition: Callable[[], Any], *, within_s: float, what: str) -> Any:
    """Wait until a condition about other processes holds; fail when it does not in time."""
    until = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < until, f"not within {within_s} s: {what}"
        time.sleep(0.02)


@dataclass(frozen=True)
class Served:
    """A running ``accord serve``.

    Args:
        process: The parent process.
        log: File that its log goes to.
        announce: File that it keeps true.
    """

    process: subprocess.Popen[bytes]
    log: Path
    announce: Path

    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(self.announce.read_text())
        return facts

    @property
    def address(self) -> str:
        return str(self.facts()["address"])

    def events(self) -> list[dict[str, Any]]:
        """Return the log so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def listening(self) -> str:
        """Return the gateway's address as its log tells it, for a server that is not ready."""
        found = eventually(
            lambda: [e["address"] for e in self.events() if e["event"] == "gateway listens"],
            within_s=30,
            what="the gateway listens",
        )
        return str(found[-1])

    @property
    def metrics(self) -> str:
        return str(self.facts()["metrics"])

    def pids(self, model: str) -> list[int]:
        return [w["pid"] for w in self.facts()["workers"] if w["model"] == model and w["pid"]]

    def everyone(self) -> list[int]:
        facts = self.facts()
        return [*filter(None, facts["gateway_pids"]), *(w["pid"] for w in facts["workers"] if w["pid"])]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


def serve(config: Path, folder: Path, *, ready: bool = True, **environment: str) -> Served:
    """Start a server and wait until it is ready."""
    announce, log = folder / "announce.json", folder / "log"
    announce.unlink(missing_ok=True)
    arguments = [sys.executable, "-m", "accord.cli", "serve", str(config), "--announce", str(announce)]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*arguments, "--log-format", "json"],
            stderr=stream,
            stdout=subprocess.DEVNULL,
            env={**os.environ, **ANY_PORT, **environment},
        )
    served = Served(process, log, announce)
    if ready:
        try:
            eventually(
                lambda: announce.exists() or process.poll() is not None,
                within_s=30,
                what="the server is ready",
            )
        except AssertionError:
            served.stop()  # nobody else could
            raise
        assert process.poll() is None, log.read_text()
    return served


@contextmanager
def listening(command: Sequence[str], log: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a process that prints the address where it listens; it does not outlive the block."""
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stream, text=True)
    with process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address, log.read_text()
            yield process, address
        finally:
            process.kill()


@dataclass(frozen=True)
class Failed:
    """What a failed call told its caller."""

    code: str
    message: str
    info: error_details_pb2.ErrorInfo
    members: list[errors_pb2.MemberError]
    field: str
    retry: bool
    trailer_bytes: int


def failed(call: Callable[[], Any]) -> Failed:
    """Make a call that must fail, and decode what it says."""
    try:
        call()
    except grpc.RpcError as error:
        return decode(error)
    raise AssertionError("the call succeeded")


def decode(error: Any) -> Failed:
    """Decode the trailers of a failed call."""
    trailers = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailers.get("grpc-status-details-bin", b""))
    info, members, field, retry = error_details_pb2.ErrorInfo(), [], "", False
    for detail in status.details:
        member, bad = errors_pb2.MemberError(), error_details_pb2.BadRequest()
        if detail.Is(member.DESCRIPTOR):
            detail.Unpack(member)
            members.append(member)
        elif detail.Is(bad.DESCRIPTOR):
            detail.Unpack(bad)
            field = bad.field_violations[0].field
        elif detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
        retry = retry or detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR)
    size = sum(len(k) + len(v) for k, v in trailers.items())
    return Failed(error.code().name, error.details(), info, members, field, retry, size)
