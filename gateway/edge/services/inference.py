"""The Open Inference Protocol: every ensemble and every exposed model looks like a model."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from gateway.edge.convert import from_model_infer, to_model_infer
from protos import oip
from protos.model import INDEPENDENT, ModelSpec
from protos.service import Method, Stream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from gateway.edge.accounts import Accounts
    from gateway.edge.ask import Asker
    from gateway.engine.plan import Plan
    from gateway.observe.statistics import Ledger
    from gateway.siblings import Siblings
    from protos.service import CallContext, Received, Rpc

__all__ = ["InferenceService"]

PLATFORM = "accord"
#: What Triton calls its own: never said here, because clients would then ask us for each of its steps.
ENSEMBLE = "ensemble"
#: How long another process of the server may take to tell its statistics, in seconds.
TELL_S = 1.0


class InferenceService:
    """Serves ``inference.GRPCInferenceService``, but for what changes the server.

    Args:
        asker: Answers queries.
        accounts: Counts them.
        ledger: What was done so far.
        siblings: Who else does it.
    """

    def __init__(self, asker: Asker, accounts: Accounts, ledger: Ledger, siblings: Siblings) -> None:
        self._asker = asker
        self._accounts = accounts
        self._catalog = asker.catalog
        self._ledger = ledger
        self._siblings = siblings

    def methods(self, extensions: Sequence[str] = ()) -> dict[str, Rpc]:
        """Return the methods by name.

        Args:
            extensions: Further extensions of the protocol that the same listener offers.
        """
        m = oip.messages
        return {
            "ServerLive": Method(m.ServerLiveRequest, self.server_live),
            "ServerReady": Method(m.ServerReadyRequest, self.server_ready),
            "ServerMetadata": Method(
                m.ServerMetadataRequest, partial(self.server_metadata, extensions=extensions)
            ),
            "ModelReady": Method(m.ModelReadyRequest, self.model_ready),
            "ModelMetadata": Method(m.ModelMetadataRequest, self.model_metadata),
            "ModelConfig": Method(m.ModelConfigRequest, self.model_config),
            "ModelStatistics": Method(m.ModelStatisticsRequest, self.model_statistics),
            "ModelInfer": Method(m.ModelInferRequest, self.model_infer, oip.raws_apart),
            "ModelStreamInfer": Stream(m.ModelInferRequest, self.model_stream_infer),
            "TraceSetting": Method(m.TraceSettingRequest, self.trace_setting),
        }

    async def server_live(self, _request: Any, _context: CallContext) -> Any:
        """Tell that the server is alive."""
        return oip.messages.ServerLiveResponse(live=True)

    async def server_ready(self, _request: Any, _context: CallContext) -> Any:
        """Tell whether the server as a whole is ready."""
        ready = self._catalog.server_ready() and not self._asker.admission.draining
        return oip.messages.ServerReadyResponse(ready=ready)

    async def server_metadata(
        self, _request: Any, _context: CallContext, *, extensions: Sequence[str] = ()
    ) -> Any:
        """Tell name, version and the extensions that work."""
        return oip.messages.ServerMetadataResponse(
            name="accord",
            version=version("accord-gateway"),
            extensions=sorted((*oip.EXTENSIONS, *extensions)),
        )

    async def model_ready(self, request: Any, _context: CallContext) -> Any:
        """Tell whether a model can be answered now.

        Raises:
            AccordError: MODEL_NOT_FOUND or VERSION_NOT_FOUND.
        """
        plan = self._catalog.plan(request.name, request.version)
        ready = self._catalog.ready(plan) and not self._asker.admission.draining
        return oip.messages.ModelReadyResponse(ready=ready)

    async def model_metadata(self, request: Any, _context: CallContext) -> Any:
        """Describe a model.

        Raises:
            AccordError: MODEL_NOT_FOUND, VERSION_NOT_FOUND, or MODEL_NOT_READY while nothing is known of it.
        """
        plan = self._asker.known(request.name, request.version)
        spec = self._spec(plan)
        return oip.model_metadata(spec.name, spec.versions, spec.platform, spec.inputs, spec.outputs)

    async def model_config(self, request: Any, _context: CallContext) -> Any:
        """Return a model's own config under the name that it has here; an ensemble's says how it merges.

        Raises:
            AccordError: As :meth:`model_metadata`.
        """
        plan = self._asker.known(request.name, request.version)
        spec = self._spec(plan)
        if spec.config is None:
            config = oip.model_config_of(spec, backend=PLATFORM, parameters=_policy(plan))
        else:
            config = oip.model_config.ModelConfig()
            config.CopyFrom(spec.config)
            config.name, config.max_batch_size = spec.name, spec.max_rows
            if config.platform == ENSEMBLE:
                config.platform, config.backend = PLATFORM, PLATFORM
                config.ClearField("ensemble_scheduling")
        return oip.messages.ModelConfigResponse(config=config)

    async def model_statistics(self, request: Any, _context: CallContext) -> Any:
        """Tell what a model did since the gateway started; without a name, what all of them did.

        Each process of the server is asked for its own; one that does not answer in time is left out.

        Raises:
            AccordError: MODEL_NOT_FOUND or VERSION_NOT_FOUND.
        """
        if request.name:
            plan = self._catalog.plan(request.name, request.version)
            self._ledger.know(plan.name, plan.version)
        told = await self._siblings.ask("statistics", within_s=TELL_S)
        responses = [oip.messages.ModelStatisticsResponse.FromString(response) for response in told]
        own = oip.statistics_response(self._ledger.entries())
        return oip.sum_statistics([own, *responses], request.name, request.version)

    async def trace_setting(self, request: Any, _context: CallContext) -> Any:
        """Tell the trace settings.

        Raises:
            AccordError: MODEL_NOT_FOUND, or UNSUPPORTED for an update.
        """
        if request.model_name:
            self._catalog.plan(request.model_name)
        return oip.trace_settings(request)

    async def model_infer(self, request: Any, context: CallContext) -> Any:
        """Answer one request.

        Raises:
            AccordError: Any reason a caller can be told.
        """
        name, number = request.model_name, request.model_version
        account = self._accounts.request("ModelInfer", context, name=name, version=number, own_id=request.id)
        with account as answered, self._asker.admission.receive(context.request_bytes):
            query = from_model_infer(request, context.raws)
            plan, reply = await self._asker.ask(query, context)
            response = to_model_infer(plan, query, reply)
            answered(plan, reply)
            return response

    def model_stream_infer(
        self, received: AsyncIterator[Received], context: CallContext
    ) -> AsyncGenerator[Any, None]:
        """Answer the requests of a stream."""
        return oip.stream_infer(received, context, self.model_infer)

    def _spec(self, plan: Plan) -> ModelSpec:
        """Return what the plan looks like as a model."""
        seen = ModelSpec(
            name=plan.name,
            version=plan.version,
            versions=(plan.version,),
            platform=PLATFORM,
            inputs=plan.inputs,
            outputs=plan.outputs,
            max_rows=plan.max_rows,
        )
        own = None if plan.kind else self._catalog.spec(plan.name)
        if own is None:
            return seen
        platform = PLATFORM if own.platform == ENSEMBLE else own.platform
        return replace(seen, versions=own.versions or seen.versions, platform=platform, config=own.config)


def _policy(plan: Plan) -> dict[str, str]:
    """Return what makes an ensemble's answer, as a config's parameters; a model has none."""
    if not plan.kind:
        return {}
    quorum = plan.merge.quorum
    need = "all" if quorum is None else str(quorum.count or f"{quorum.weight} of the weight")
    members = ",".join(seat.name for seat in plan.merge.seats)
    independent = str(all(call.mixes for call in plan.calls)).lower()
    return {
        "accord_strategy": plan.kind,
        "accord_quorum": need,
        "accord_members": members,
        INDEPENDENT: independent,
    }
