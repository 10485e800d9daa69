"""The reference edge: joins the services to grpc.aio. Simple rather than clever; always there."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
import time
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from gateway.edge.services.ensemble import EnsembleService
from gateway.edge.services.inference import InferenceService
from protos import oip
from protos.errors import AccordError, Reason
from protos.health import Health
from protos.rpc import SERVER_OPTIONS, Method, handlers, internal_error

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from gateway.edge.ask import Asker
    from gateway.observe.metrics import Metrics
    from protos.rpc import CallContext, Serve

__all__ = ["GrpcEdge", "is_local"]

_log = logging.getLogger(__name__)

ENSEMBLE_SERVICE = "accord.v1.EnsembleService"


class GrpcEdge:
    """A grpc.aio server with all services.

    Args:
        asker: Answers queries.
        metrics: Counts requests.
        reflection_enabled: Whether reflection is served.
    """

    def __init__(self, asker: Asker, metrics: Metrics, *, reflection_enabled: bool) -> None:
        self._asker = asker
        self._metrics = metrics
        self._server = grpc.aio.server(options=SERVER_OPTIONS)
        self._health = Health(plan.name for plan in asker.catalog.plans())
        inference, ensemble = InferenceService(asker).methods(), EnsembleService(asker).methods()
        self._server.add_generic_rpc_handlers(
            [
                handlers(oip.SERVICE, self._methods(inference), unsupported=oip.METHODS - inference.keys()),
                handlers(ENSEMBLE_SERVICE, self._methods(ensemble)),
            ]
        )
        self._server.add_generic_rpc_handlers((self._health.handlers(),))
        if reflection_enabled:
            names = [oip.SERVICE, ENSEMBLE_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME]
            reflection.enable_server_reflection(names, self._server)

    async def start(self, address: str) -> str:
        """Listen, and return the bound address; port 0 takes a free one.

        Raises:
            OSError: If the address cannot be bound.
        """
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError:
            raise OSError(f"cannot listen on {address}; is it in use?") from None
        await self._server.start()
        return f"{address.rpartition(':')[0]}:{port}"

    def show_health(self) -> None:
        """Publish the readiness of the server and of everything served to grpc.health.v1."""
        catalog = self._asker.catalog
        ready = {plan.name: catalog.ready(plan) for plan in catalog.plans()}
        self._health.show({"": catalog.server_ready(), **ready})

    async def stop(self, drain_s: float) -> None:
        """Refuse new calls, let those in flight finish, then close."""
        self._asker.admission.draining = True
        self._health.close()
        await self._server.stop(drain_s)

    def _methods(self, methods: Any) -> dict[str, Method]:
        return {
            name: Method(request, self._counted(name, serve) if name in ("ModelInfer", "Infer") else serve)
            for name, (request, serve) in methods.items()
        }

    def _counted(self, method: str, serve: Serve) -> Serve:
        """Count a method's calls and log those that fail; label values are names we serve, never others."""

        async def counted(request: Any, context: CallContext, /) -> Message:
            name = request.model_name if method == "ModelInfer" else request.ensemble
            code, reason = "OK", ""
            try:
                return await serve(request, context)
            except asyncio.CancelledError:
                code, reason = "CANCELLED", "CLIENT_CANCELLED"
                raise
            except Exception as error:  # noqa: BLE001 - counted and named here, answered by the caller
                told = error if isinstance(error, AccordError) else internal_error()
                code, reason = told.reason.code.name, told.reason.name
                told.metadata["request_id"] = request.id[:128] or secrets.token_hex(8)
                level = logging.ERROR if told.reason is Reason.INTERNAL else logging.INFO
                facts = {"model": name[:128], "reason": reason, "peer": context.peer, **told.metadata}
                _log.log(
                    level,
                    "request failed: %s",
                    told.message[:512],
                    extra=facts,
                    exc_info=error if told is not error else None,
                )
                raise told from None
            finally:
                known = name if self._asker.catalog.serves(name) else ""
                self._metrics.request(known, method, code, reason, time.monotonic() - context.arrived)

        return counted


def is_local(address: str) -> bool:
    """Tell whether an address can only be reached from this machine.

    Example:
        >>> is_local("127.0.0.1:8001"), is_local("0.0.0.0:8001"), is_local("localhost:0")
        (True, False, True)
    """
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
