"""The reference edge: joins the services to grpc.aio. Simple rather than clever; always there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from protos import oip
from protos.rpc import SERVER_OPTIONS, SHARED_PORT_OPTIONS, handlers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from protos.address import Address
    from protos.health import Health
    from protos.service import CallContext, Rpc

__all__ = ["COMPRESSIONS", "GrpcEdge"]

#: How answers may be compressed, where the client takes it; requests may come in any of these ways.
COMPRESSIONS = {
    "none": grpc.Compression.NoCompression,
    "gzip": grpc.Compression.Gzip,
    "deflate": grpc.Compression.Deflate,
}


class GrpcEdge:
    """A grpc.aio server on one address.

    Args:
        services: Methods by name, by full name of the service.
        health_service: ``grpc.health.v1``.
        reflection_enabled: Whether reflection is served.
        compression: How answers are compressed, a key of :data:`COMPRESSIONS`.
        guard: Raises an AccordError for callers who may not call; health and reflection are for all.
        shared_port: Whether other processes of the server listen on the same port.
    """

    def __init__(
        self,
        services: Mapping[str, Mapping[str, Rpc]],
        health_service: Health,
        *,
        reflection_enabled: bool,
        compression: str = "none",
        guard: Callable[[CallContext], None] | None = None,
        shared_port: bool = False,
    ) -> None:
        options = SHARED_PORT_OPTIONS if shared_port else SERVER_OPTIONS
        self._server = grpc.aio.server(options=options, compression=COMPRESSIONS[compression])
        for name, methods in services.items():
            unsupported = oip.unoffered(methods) if name == oip.SERVICE else {}
            self._server.add_generic_rpc_handlers(
                (handlers(name, methods, unsupported=unsupported, guard=guard),)
            )
        self._server.add_generic_rpc_handlers((health_service.handlers(),))
        if reflection_enabled:
            names = [*services, health.SERVICE_NAME, reflection.SERVICE_NAME]
            reflection.enable_server_reflection(names, self._server)

    async def start(self, address: Address) -> Address:
        """Listen, and return the bound address; port 0 takes a free one, a socket is its owner's alone.

        Raises:
            OSError: If the address cannot be bound.
        """
        mask = os.umask(0o177)
        try:
            bound = address.with_port(self._server.add_insecure_port(address.text))
        except RuntimeError:
            raise OSError(
                f"cannot listen on {address.text}; is it in use, or its directory missing?"
            ) from None
        finally:
            os.umask(mask)
        await self._server.start()
        return bound

    async def stop(self, drain_s: float) -> None:
        """Let the calls in flight finish, then close."""
        await self._server.stop(drain_s)
