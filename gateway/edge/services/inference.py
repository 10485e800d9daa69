"""The Open Inference Protocol: every ensemble and every exposed model looks like a model."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from gateway.edge.convert import from_model_infer, to_model_infer
from protos import oip

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.edge.ask import Asker
    from protos.rpc import CallContext

__all__ = ["InferenceService"]

PLATFORM = "accord"


class InferenceService:
    """Serves ``inference.GRPCInferenceService``.

    Args:
        asker: Answers queries.
    """

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._catalog = asker.catalog

    def methods(self) -> Mapping[str, tuple[Any, Any]]:
        """Return request type and method for each name."""
        m = oip.messages
        return {
            "ServerLive": (m.ServerLiveRequest, self.server_live),
            "ServerReady": (m.ServerReadyRequest, self.server_ready),
            "ModelReady": (m.ModelReadyRequest, self.model_ready),
            "ServerMetadata": (m.ServerMetadataRequest, self.server_metadata),
            "ModelMetadata": (m.ModelMetadataRequest, self.model_metadata),
            "ModelInfer": (m.ModelInferRequest, self.model_infer),
        }

    async def server_live(self, _request: Any, _context: CallContext) -> Any:
        """Tell that the server is alive."""
        return oip.messages.ServerLiveResponse(live=True)

    async def server_ready(self, _request: Any, _context: CallContext) -> Any:
        """Tell whether the server as a whole is ready."""
        ready = self._catalog.server_ready() and not self._asker.admission.draining
        return oip.messages.ServerReadyResponse(ready=ready)

    async def model_ready(self, request: Any, _context: CallContext) -> Any:
        """Tell whether a model can be answered now; NOT_FOUND if there is none of the name."""
        plan = self._catalog.plan(request.name, request.version)
        return oip.messages.ModelReadyResponse(ready=self._catalog.ready(plan))

    async def server_metadata(self, _request: Any, _context: CallContext) -> Any:
        """Tell name, version and the extensions that work."""
        return oip.messages.ServerMetadataResponse(
            name="accord", version=version("accord-gateway"), extensions=["parameters", "binary_tensor_data"]
        )

    async def model_metadata(self, request: Any, _context: CallContext) -> Any:
        """Describe a model; MODEL_NOT_READY as long as nothing is known of its members."""
        plan = self._asker.known(request.name, request.version)
        return oip.model_metadata(plan.name, [plan.version], PLATFORM, plan.inputs, plan.outputs)

    async def model_infer(self, request: Any, context: CallContext) -> Any:
        """Answer one request."""
        self._asker.admission.check_size(context.request_bytes)
        query = from_model_infer(request)
        plan, reply = await self._asker.ask(query, context)
        return to_model_infer(plan, query, reply)
