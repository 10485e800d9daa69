"""The read-only HTTP port: ``/metrics``, ``/healthz``, ``/readyz``."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, TypeVar

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, generate_latest

from gateway.observe.merge import merge, parse, render, total

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.observe.merge import Counted

__all__ = ["MetricsPort", "ServerStatus"]

T = TypeVar("T")

#: A client that sends nothing is let go after this, in seconds.
_IDLE_S = 5.0
_TEXT = "text/plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """How the server is.

    Args:
        ready: Whether it is ready to answer.
        counted: What each gateway process has counted, by name.
        restarts: How often each process was started again, by name.
        running: Whether each process runs, by name.
    """

    ready: bool
    counted: Mapping[str, Counted]
    restarts: Mapping[str, int]
    running: Mapping[str, bool]

    def exposition(self) -> str:
        """Return all metrics: those of the gateway processes in one, and what is known of each process."""
        living = {name: parse(counted.living) for name, counted in self.counted.items()}
        past = {name: parse(counted.past) for name, counted in self.counted.items()}
        registry = CollectorRegistry()
        requests = Counter(
            "accord_process_requests",
            "Requests answered, by gateway process.",
            ["process"],
            registry=registry,
        )
        in_flight = Gauge(
            "accord_process_in_flight", "Calls in flight, by gateway process.", ["process"], registry=registry
        )
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
        for name in self.counted:
            requests.labels(name).inc(total([*living[name], *past[name]], "accord_requests_total"))
            if living[name]:
                in_flight.labels(name).set(total(living[name], "accord_in_flight"))
        return render(merge(living.values(), past.values())) + generate_latest(registry).decode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent about clients that leave in the middle of an answer."""


class MetricsPort:
    """Serves the port from a thread of its own, so that a busy loop does not look like a dead server.

    Args:
        address: ``host:port``; port 0 takes a free one.
        ready: Asks whether the server is ready; runs, like the next, in the loop that starts this object.
        status: Asks for all that is known of the server.

    Raises:
        OSError: If the address cannot be bound.
    """

    def __init__(
        self,
        address: str,
        *,
        ready: Callable[[], Awaitable[bool]],
        status: Callable[[], Awaitable[ServerStatus]],
    ) -> None:
        host, _, port = address.rpartition(":")
        handler = _handler(lambda: self._ask(ready), lambda: self._ask(status))
        try:
            self._server = _Server((host.strip("[]"), int(port)), handler)
        except OSError as error:
            raise OSError(f"server.metrics: cannot listen on {address}: {error.strerror}") from None
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

    def _ask(self, question: Callable[[], Awaitable[T]]) -> T:
        async def ask() -> T:
            return await question()

        assert self._loop is not None  # noqa: S101 - requests come only after start()
        return asyncio.run_coroutine_threadsafe(ask(), self._loop).result(_IDLE_S)


def _handler(
    is_ready: Callable[[], bool], status: Callable[[], ServerStatus]
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _IDLE_S
        server_version = "accord"
        sys_version = ""

        def do_GET(self) -> None:
            try:
                answer = self._answer()
            except TimeoutError:
                answer = 503, _TEXT, "the supervisor does not respond\n"
            self._send(*answer)

        def _answer(self) -> tuple[int, str, str]:
            match self.path.partition("?")[0]:
                case "/metrics":
                    return 200, CONTENT_TYPE_LATEST, status().exposition()
                case "/healthz":
                    is_ready()  # whatever it says: that it says something is health
                    return 200, _TEXT, "ok\n"
                case "/readyz":
                    return (200, _TEXT, "ready\n") if is_ready() else (503, _TEXT, "not ready\n")
                case _:
                    return 404, _TEXT, "try /metrics, /healthz or /readyz\n"

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
