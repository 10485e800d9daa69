"""A worker's gRPC server: the service's methods, health and reflection on one address.

Health (``grpc.health.v1``) is NOT_SERVING for the server and for the model until the server has started, and
again from the moment it drains. Reflection tells anyone who asks what the server offers, so it is on only
where nobody but this host can ask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from protos.address import AddressError
from protos.health import Health
from protos.oip import SERVICE, messages, raws_apart, unoffered
from protos.rpc import SERVER_OPTIONS, handlers
from protos.service import Method, Stream

if TYPE_CHECKING:
    from protos.address import Address
    from protos.oip import LogService
    from workers.control import Control
    from workers.service import Service

__all__ = ["Server"]


class Server:
    """A bound gRPC server; :meth:`start` makes it serve.

    Args:
        service: What it serves.
        log: What it logs.
        control: What changes it; None where callers may change nothing, not even what is logged.
        model: The model's name, for the health service.
        address: Where to listen.

    Raises:
        AddressError: If the address cannot be bound.
    """

    def __init__(
        self, service: Service, log: LogService, control: Control | None, model: str, address: Address
    ) -> None:
        self._service = service
        self._model = model
        self._health = Health([model])
        self._server = grpc.aio.server(options=SERVER_OPTIONS)
        self._server.add_generic_rpc_handlers((_handlers(service, log, control),))
        self._server.add_generic_rpc_handlers((self._health.handlers(),))
        if address.is_local:
            names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self._server)
        self.address = self._bind(address)

    async def start(self) -> None:
        """Serve; what is ready is for :meth:`show_health` to say."""
        await self._server.start()

    def show_health(self, *, ready: bool) -> None:
        """Say by the health service whether the model takes requests."""
        self._health.show({"": ready, self._model: ready})

    async def stop(self, drain_s: float) -> None:
        """Take no more calls, finish those under way, and end after ``drain_s`` at the latest."""
        self._service.drain()
        self._health.close()
        await self._server.stop(drain_s)

    def _bind(self, address: Address) -> Address:
        try:
            bound = address.with_port(self._server.add_insecure_port(address.text))
        except RuntimeError:
            raise AddressError(
                f"cannot listen on {address.text!r}; is it in use, or its directory missing?"
            ) from None
        if bound.socket_path is not None:
            bound.socket_path.chmod(0o600)
        return bound


def _handlers(service: Service, log: LogService, control: Control | None) -> Any:
    methods: dict[str, Method | Stream] = {
        "ServerLive": Method(messages.ServerLiveRequest, service.server_live),
        "ServerReady": Method(messages.ServerReadyRequest, service.server_ready),
        "ServerMetadata": Method(messages.ServerMetadataRequest, service.server_metadata),
        "ModelReady": Method(messages.ModelReadyRequest, service.model_ready),
        "ModelMetadata": Method(messages.ModelMetadataRequest, service.model_metadata),
        "ModelConfig": Method(messages.ModelConfigRequest, service.model_config),
        "ModelStatistics": Method(messages.ModelStatisticsRequest, service.model_statistics),
        "ModelInfer": Method(messages.ModelInferRequest, service.model_infer, raws_apart),
        "ModelStreamInfer": Stream(messages.ModelInferRequest, service.model_stream_infer),
        "TraceSetting": Method(messages.TraceSettingRequest, service.trace_setting),
        "LogSettings": Method(messages.LogSettingsRequest, log.method(may_update=control is not None)),
    }
    if control is not None:
        methods |= {
            "RepositoryIndex": Method(messages.RepositoryIndexRequest, control.repository_index),
            "RepositoryModelLoad": Method(messages.RepositoryModelLoadRequest, control.repository_model_load),
            "RepositoryModelUnload": Method(
                messages.RepositoryModelUnloadRequest, control.repository_model_unload
            ),
        }
    return handlers(SERVICE, methods, unsupported=unoffered(methods.keys()))
