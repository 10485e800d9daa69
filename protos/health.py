"""``grpc.health.v1``, told what to say.

Differs from the stock servicer of ``grpcio-health-checking``: a malformed request is INVALID_ARGUMENT and
not UNKNOWN, watches end when the server drains instead of holding it up, and several watchers of one
service all hear of a change.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Health"]

_Response = health_pb2.HealthCheckResponse


class Health:
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

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return what a server needs to serve it; like ours, it reads raw bytes and names malformed ones."""
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Check": grpc.unary_unary_rpc_method_handler(self._check),
            "Watch": grpc.unary_stream_rpc_method_handler(self._watch),
        }
        return grpc.method_handlers_generic_handler(health.SERVICE_NAME, methods)

    async def _check(self, data: bytes, context: Any) -> bytes:
        service = await _service(data, context)
        if service not in self._serving:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return _answer(self._status(service))

    async def _watch(self, data: bytes, context: Any) -> None:
        service, sent = await _service(data, context), None
        while True:
            changed, status, last = self._changed, self._status(service), self._closed
            if status != sent:
                await context.write(_answer(status))
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


async def _service(data: bytes, context: Any) -> str:
    try:
        return str(health_pb2.HealthCheckRequest.FromString(data).service)
    except DecodeError:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the request is not a HealthCheckRequest")
        raise


def _answer(status: int) -> bytes:
    return bytes(_Response(status=status).SerializeToString())
