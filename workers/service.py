"""One model as an Open Inference Protocol service, without a transport.

Each method takes a request message and the call's context and returns a response message or raises an
:class:`AccordError`; ``workers.servicer`` joins them to gRPC.
"""

from __future__ import annotations

import logging
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from protos import oip
from protos.errors import AccordError, Reason
from protos.oip import messages
from workers.batcher import Job

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence

    from protos.oip import Parameter
    from protos.service import CallContext, Received
    from workers.lifecycle import Lifecycle, Served

__all__ = ["Service"]

_log = logging.getLogger(__name__)


class Service:
    """The methods of ``inference.GRPCInferenceService`` that ask one model or ask about it.

    Args:
        model: The model's versions.
        extensions: Further extensions of the protocol that the same server offers.
        clock: Source of monotonic time, the same as the deadlines'.
    """

    def __init__(
        self,
        model: Lifecycle,
        *,
        extensions: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model = model
        self._extensions = extensions
        self._clock = clock
        self._draining = False

    def drain(self) -> None:
        """Refuse requests from now on; those that came before are finished."""
        self._draining = True

    async def server_live(self, _request: Any, _context: CallContext) -> Any:
        """Tell that the process answers."""
        return messages.ServerLiveResponse(live=True)

    async def server_ready(self, _request: Any, _context: CallContext) -> Any:
        """Tell whether requests are taken."""
        return messages.ServerReadyResponse(ready=self._model.ready and not self._draining)

    async def model_ready(self, request: Any, _context: CallContext) -> Any:
        """Tell whether requests for the model are taken.

        Raises:
            AccordError: MODEL_NOT_FOUND or VERSION_NOT_FOUND.
        """
        try:
            self._served(request.name, request.version)
        except AccordError as error:
            if error.reason is not Reason.MODEL_NOT_READY:
                raise
            return messages.ModelReadyResponse(ready=False)
        return messages.ModelReadyResponse(ready=not self._draining)

    async def server_metadata(self, _request: Any, _context: CallContext) -> Any:
        """Name the server and the extensions that work."""
        return messages.ServerMetadataResponse(
            name="accord-worker",
            version=version("accord-gateway"),
            extensions=sorted((*oip.EXTENSIONS, *self._extensions)),
        )

    async def model_metadata(self, request: Any, _context: CallContext) -> Any:
        """Describe the model's tensors.

        Raises:
            AccordError: MODEL_NOT_FOUND, VERSION_NOT_FOUND or MODEL_NOT_READY.
        """
        spec = self._served(request.name, request.version).session.spec
        return oip.model_metadata(spec.name, self._model.versions, spec.platform, spec.inputs, spec.outputs)

    async def model_config(self, request: Any, _context: CallContext) -> Any:
        """Return the model's config with all that its file left out filled in.

        Raises:
            AccordError: MODEL_NOT_FOUND, VERSION_NOT_FOUND or MODEL_NOT_READY.
        """
        return messages.ModelConfigResponse(config=self._served(request.name, request.version).session.config)

    async def model_statistics(self, request: Any, _context: CallContext) -> Any:
        """Tell what the model did since the worker started; without a name, of all that there is.

        Raises:
            AccordError: MODEL_NOT_FOUND, VERSION_NOT_FOUND or MODEL_NOT_READY.
        """
        if request.name:
            self._served(request.name, request.version)
        return oip.statistics_response(
            (self._model.name, number, statistics)
            for number, statistics in self._model.statistics.items()
            if request.version in ("", number)
        )

    async def trace_setting(self, request: Any, _context: CallContext) -> Any:
        """Tell the trace settings.

        Raises:
            AccordError: MODEL_NOT_FOUND, or UNSUPPORTED for an update.
        """
        if request.model_name:
            self._model.check_name(request.model_name)
        return oip.trace_settings(request)

    async def model_infer(
        self, request: Any, context: CallContext, answered: list[bytes | memoryview] | None = None
    ) -> Any:
        """Compute the wanted outputs.

        Args:
            request: The message.
            context: Its call's context.
            answered: Where the answer's raw contents go, uncopied; None = into the message.

        Raises:
            AccordError: Any reason that is the request's, the queue's or the model's.
        """
        try:
            served = self._served(request.model_name, request.model_version)
            try:
                return await self._infer(served, request, context, answered)
            except BaseException:  # a caller who goes away is one who got no answer
                served.statistics.failed(self._clock() - context.arrived)
                raise
        except AccordError as error:
            error.metadata.setdefault("model", self._model.name)
            if error.__cause__ is not None:
                facts = {**error.metadata, "request_id": request.id[:128], "reason": error.reason.name}
                _log.warning("the model failed a request", exc_info=error.__cause__, extra=facts)
            raise

    def model_stream_infer(
        self, received: AsyncIterator[Received], context: CallContext
    ) -> AsyncGenerator[Any, None]:
        """Answer the requests of a stream."""
        return oip.stream_infer(received, context, self.model_infer)

    async def _infer(
        self, served: Served, request: Any, context: CallContext, answered: list[bytes | memoryview] | None
    ) -> Any:
        spec = served.session.spec
        if self._draining:
            raise AccordError(Reason.SHUTTING_DOWN, "the worker is shutting down; retry")
        parameters = oip.read_parameters(request.parameters)
        oip.refuse_sequences(parameters)
        deadline = self._deadline(parameters, context)
        tensors = oip.read_inputs(request, context.raws)
        rows = oip.check_inputs(
            tensors, spec.inputs, model=spec.name, batches=spec.batches, max_rows=spec.max_rows
        )
        wanted, classes = oip.read_requested(request.outputs)
        oip.check_wanted(wanted, [output.name for output in spec.outputs], model=spec.name)
        job = Job(
            inputs=tensors,
            rows=rows,
            wanted=wanted,
            deadline=deadline,
            priority=oip.priority(parameters),
            timeout_s=oip.timeout_s(parameters),
            gathered=oip.gathered(parameters),
        )
        ran = await served.batcher.run(job)
        run = ran.execution
        outputs = oip.classify_all(ran.outputs, classes, spec.outputs, batches=spec.batches)
        response = messages.ModelInferResponse(
            model_name=spec.name, model_version=spec.version, id=request.id
        )
        times = {"accord_queue_us": round(ran.queue_s * 1e6), "accord_compute_us": round(run.infer_s * 1e6)}
        oip.write_parameters(response.parameters, times)
        oip.write_outputs(response, outputs, typed=oip.typed_contents(parameters), raws=answered)
        served.statistics.succeeded(
            rows,
            total_s=self._clock() - context.arrived,
            queue_s=ran.queue_s,
            input_s=run.input_s,
            infer_s=run.infer_s,
            output_s=run.output_s,
        )
        return response

    def _deadline(self, parameters: Mapping[str, Parameter], context: CallContext) -> float | None:
        """Return the earlier of the call's deadline and the one that its ``timeout`` parameter sets."""
        budget_s = oip.timeout_s(parameters)
        ends = [context.deadline] if context.deadline is not None else []
        if budget_s is not None:
            ends.append(context.arrived + budget_s)
        deadline = min(ends, default=None)
        if deadline is not None and self._clock() >= deadline:
            raise AccordError(Reason.DEADLINE_AT_ADMISSION, "the deadline had passed on arrival")
        return deadline

    def _served(self, name: str, version_wanted: str) -> Served:
        self._model.check_name(name)
        return self._model.get(version_wanted)
