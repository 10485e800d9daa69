"""The read-only HTTP port: ``/metrics``, ``/healthz``, ``/readyz``."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, generate_latest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

__all__ = ["MetricsPort", "ServerStatus"]

#: A client that sends nothing is let go after this, in seconds.
_IDLE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """How the server is.

    Args:
        ready: Whether it is ready to answer.
        gateway_metrics: The gateway process's metrics in Prometheus' text format; empty = it did not answer.
        restarts: How often each process was started again, by name.
        running: Whether each process runs, by name.
    """

    ready: bool
    gateway_metrics: str
    restarts: Mapping[str, int]
    running: Mapping[str, bool]

    def exposition(self) -> str:
        """Return all metrics: the gateway's and those of the processes."""
        registry = CollectorRegistry()
        restarts = Counter(
            "accord_process_restarts", "Starts after the first.", ["process"], registry=registry
        )
        running = Gauge("accord_process_up", "Whether the process runs.", ["process"], registry=registry)
        ready = Gauge("accord_ready", "Whether the server is ready.", registry=registry)
        for name, count in self.restarts.items():
            restarts.labels(name).inc(count)
        for name, up in self.running.items():
            running.labels(name).set(up)
        ready.set(self.ready)
        return self.gateway_metrics + generate_latest(registry).decode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent about clients that leave in the middle of an answer."""


class MetricsPort:
    """Serves the port from a thread of its own, so that a busy loop does not look like a dead server.

    Args:
        address: ``host:port``; port 0 takes a free one.
        status: Asks how the server is; runs in the event loop that constructs this object.
    """

    def __init__(self, address: str, status: Callable[[], Awaitable[ServerStatus]]) -> None:
        host, _, port = address.rpartition(":")
        self._server = _Server((host.strip("[]"), int(port)), _handler(self._ask))
        self._status = status
        self._loop: asyncio.AbstractEventLoop | None = None
        self.address = f"{host}:{self._server.server_address[1]}"

    def start(self) -> None:
        """Begin to serve."""
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    def stop(self) -> None:
        """Stop serving and free the port."""
        if self._loop is not None:
            self._server.shutdown()
        self._server.server_close()

    def _ask(self) -> ServerStatus:
        async def ask() -> ServerStatus:
            return await self._status()

        assert self._loop is not None  # noqa: S101 - requests come only after start()
        return asyncio.run_coroutine_threadsafe(ask(), self._loop).result(_IDLE_S)


def _handler(ask: Callable[[], ServerStatus]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _IDLE_S
        server_version = "accord"
        sys_version = ""

        def do_GET(self) -> None:
            try:
                status = ask()
            except TimeoutError:
                self._send(503, "text/plain", "the supervisor does not respond\n")
                return
            match self.path.partition("?")[0]:
                case "/metrics":
                    self._send(200, CONTENT_TYPE_LATEST, status.exposition())
                case "/healthz":
                    self._send(200, "text/plain", "ok\n")
                case "/readyz":
                    self._send(
                        200 if status.ready else 503,
                        "text/plain",
                        "ready\n" if status.ready else "not ready\n",
                    )
                case _:
                    self._send(404, "text/plain", "try /metrics, /healthz or /readyz\n")

        def _send(self, code: int, kind: str, text: str) -> None:
            body = text.encode()
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Stay silent: probes come every second."""

    return Handler
