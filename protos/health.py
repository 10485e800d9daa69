"""``grpc.health.v1``, told what to say.

Differs from the stock servicer of ``grpcio-health-checking`` twice: watches end when the server drains
instead of holding it up, and several watchers of one service all hear of a change.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Health"]

_Response = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # generated without types
    """The health of the server, named "", and of the services it offers; nothing serves at first.

    Args:
        services: Names that may be asked for, beside "".
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._serving = dict.fromkeys(["", *services], False)
        self._closed = False
        self._changed = asyncio.Event()

    def show(self, serving: dict[str, bool]) -> None:
        """Say which services take requests; nothing is said after :meth:`close`."""
        if not self._closed and self._serving | serving != self._serving:
            self._serving |= serving
            self._tell()

    def close(self) -> None:
        """Say NOT_SERVING of everything for good and end all watches."""
        self.show(dict.fromkeys(self._serving, False))
        self._closed = True
        self._tell()

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        """Answer the status now; NOT_FOUND for an unknown service."""
        if request.service not in self._serving:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return _Response(status=self._status(request.service))

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802 - the protocol's name
        """Answer the status now and at each change."""
        sent = None
        while True:
            changed, status, last = self._changed, self._status(request.service), self._closed
            if status != sent:
                await context.write(_Response(status=status))
                sent = status
            if last:
                return
            await changed.wait()

    def _status(self, service: str) -> int:
        if service not in self._serving:
            return int(_Response.SERVICE_UNKNOWN)
        return int(_Response.SERVING if self._serving[service] else _Response.NOT_SERVING)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
