"""The server under load: ``accord serve`` as a child process, or one that runs already."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Server", "ServerFailed", "serving", "total"]

#: Loading takes seconds; a machine that is busy with other things may take many.
READY_WITHIN_S = 120.0
#: The server's own drain and grace periods end before this.
STOP_WITHIN_S = 30.0
_POLL_S = 0.05


class ServerFailed(RuntimeError):  # noqa: N818 - what happened, as its message tells
    """The server did not start, or stopped; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that this program started.

    Args:
        announce: File in which it keeps addresses and process ids.
    """

    announce: Path

    def facts(self) -> dict[str, Any]:
        """Return what it announces now."""
        facts: dict[str, Any] = json.loads(self.announce.read_bytes())
        return facts

    @property
    def address(self) -> str:
        """Where it serves gRPC."""
        return str(self.facts()["address"])

    def metrics(self) -> str:
        """Return its metrics in Prometheus' text format."""
        connection = http.client.HTTPConnection(self.facts()["metrics"], timeout=10.0)
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()
        finally:
            connection.close()


def total(exposition: str, sample: str, **labels: str) -> float:
    r"""Add up the samples of one name whose labels have the given values.

    Example:
        >>> text = '# TYPE a counter\na_total{x="1",y="2"} 3.0\na_total{x="1",y="3"} 4.0\n'
        >>> total(text, "a_total", x="1"), total(text, "a_total", y="3"), total(text, "b_total")
        (7.0, 4.0, 0.0)
    """
    return sum(
        (
            found.value
            for family in text_string_to_metric_families(exposition)
            for found in family.samples
            if found.name == sample and labels.items() <= found.labels.items()
        ),
        0.0,
    )


@contextmanager
def serving(config: Path, folder: Path) -> Iterator[Server]:
    """Serve a configuration on free ports of the loopback address, and stop it at the end.

    Args:
        config: The server's configuration.
        folder: Where its log and its announcement go.

    Raises:
        ServerFailed: If it is not ready in time.
    """
    announce, log = folder / "announce.json", folder / "server.log"
    announce.unlink(missing_ok=True)
    # tethered: not even a killed load test leaves a server behind
    arguments = [sys.executable, "-m", "gateway.tether", "accord.cli", "serve", str(config)]
    ports = {"ACCORD_SERVER__ADDRESS": "127.0.0.1:0", "ACCORD_SERVER__METRICS": "127.0.0.1:0"}
    with log.open("wb") as stream:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [*arguments, "--announce", str(announce)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=stream,
            env={**os.environ, **ports},
        )
    try:
        _wait_ready(process, announce, log)
        yield Server(announce)
    finally:
        _stop(process)


def _wait_ready(process: subprocess.Popen[bytes], announce: Path, log: Path) -> None:
    until = time.monotonic() + READY_WITHIN_S
    while not announce.exists():
        if process.poll() is not None:
            raise ServerFailed(f"the server ended with exit code {process.returncode}:\n{_tail(log)}")
        if time.monotonic() > until:
            raise ServerFailed(f"the server was not ready within {READY_WITHIN_S:.0f} s:\n{_tail(log)}")
        time.sleep(_POLL_S)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert process.stdin is not None  # noqa: S101 - it is a pipe, see above
    process.stdin.close()


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text("utf-8", "replace").splitlines()[-lines:])
