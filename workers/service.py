"""One model as an Open Inference Protocol service, without a transport.

Each method takes a request message and the call's context and returns a response message or raises an
:class:`AccordError`; ``workers.servicer`` joins them to gRPC.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from protos import oip
from protos.errors import AccordError, Reason
from protos.oip import messages
from protos.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from protos.rpc import CallContext
    from workers.model.session import Abort, Session
    from workers.runner import Runner

__all__ = ["Service"]

_log = logging.getLogger(__name__)

#: Of the protocol's extensions, those that work here. Source: Triton "Protocol extensions".
_EXTENSIONS = ("binary_tensor_data", "model_configuration")

#: Parameters of a wanted output that ask for another answer than its tensor.
_REFUSED_OUTPUT_PARAMETERS = ("classification", "shared_memory_region")


class Service:
    """The methods of ``inference.GRPCInferenceService`` for one model.

    Args:
        session: The model, loaded and warm.
        runner: Where it computes.
        clock: Source of monotonic time, the same as the deadlines'.
    """

    def __init__(
        self, session: Session, runner: Runner, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._session = session
        self._spec = session.spec
        self._runner = runner
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
        return messages.ServerReadyResponse(ready=not self._draining)

    async def model_ready(self, request: Any, _context: CallContext) -> Any:
        """Tell whether requests for the model are taken.

        Raises:
            AccordError: MODEL_NOT_FOUND or VERSION_NOT_FOUND.
        """
        self._check_model(request.name, request.version)
        return messages.ModelReadyResponse(ready=not self._draining)

    async def server_metadata(self, _request: Any, _context: CallContext) -> Any:
        """Name the server and the extensions that work."""
        return messages.ServerMetadataResponse(
            name="accord-worker", version=version("accord-gateway"), extensions=_EXTENSIONS
        )

    async def model_metadata(self, request: Any, _context: CallContext) -> Any:
        """Describe the model's tensors.

        Raises:
            AccordError: MODEL_NOT_FOUND or VERSION_NOT_FOUND.
        """
        self._check_model(request.name, request.version)
        spec = self._spec
        return oip.model_metadata(spec.name, [spec.version], spec.platform, spec.inputs, spec.outputs)

    async def model_config(self, request: Any, _context: CallContext) -> Any:
        """Return the model's config with all that its file left out filled in.

        Raises:
            AccordError: MODEL_NOT_FOUND or VERSION_NOT_FOUND.
        """
        self._check_model(request.name, request.version)
        return messages.ModelConfigResponse(config=self._session.config)

    async def model_infer(self, request: Any, context: CallContext) -> Any:
        """Compute the wanted outputs.

        Raises:
            AccordError: Any reason that is the request's, the queue's or the model's.
        """
        try:
            return await self._infer(request, context)
        except AccordError as error:
            error.metadata.setdefault("model", self._spec.name)
            if error.__cause__ is not None:
                facts = {**error.metadata, "request_id": request.id[:128], "reason": error.reason.name}
                _log.warning("the model failed a request", exc_info=error.__cause__, extra=facts)
            raise

    async def _infer(self, request: Any, context: CallContext) -> Any:
        spec = self._spec
        self._check_model(request.model_name, request.model_version)
        if self._draining:
            raise AccordError(Reason.SHUTTING_DOWN, "the worker is shutting down; retry")
        deadline = self._deadline(request, context)
        tensors = oip.read_inputs(request)
        oip.check_inputs(tensors, spec.inputs, model=spec.name, batches=spec.batches, max_rows=spec.max_rows)
        wanted = self._wanted(request)
        ran = await self._runner.run(partial(self._compute, tensors, wanted), deadline=deadline)
        response = messages.ModelInferResponse(
            model_name=spec.name, model_version=spec.version, id=request.id
        )
        times = {"accord_queue_us": round(ran.queue_s * 1e6), "accord_compute_us": round(ran.compute_s * 1e6)}
        oip.write_parameters(response.parameters, times)
        oip.write_outputs(response, ran.value)
        return response

    def _compute(
        self, tensors: Mapping[str, Tensor], wanted: Sequence[str], abort: Abort
    ) -> dict[str, Tensor]:
        arrays = {name: tensor.array() for name, tensor in tensors.items()}
        outputs = self._session.run(arrays, wanted, abort=abort)
        return {name: Tensor.from_array(array) for name, array in outputs.items()}

    def _deadline(self, request: Any, context: CallContext) -> float | None:
        """Return the earlier of the call's deadline and the one that its ``timeout`` parameter sets."""
        budget_s = oip.timeout_s(oip.read_parameters(request.parameters))
        ends = [context.deadline] if context.deadline is not None else []
        if budget_s is not None:
            ends.append(context.arrived + budget_s)
        deadline = min(ends, default=None)
        if deadline is not None and self._clock() >= deadline:
            raise AccordError(Reason.DEADLINE_AT_ADMISSION, "the deadline had passed on arrival")
        return deadline

    def _wanted(self, request: Any) -> list[str]:
        for i, output in enumerate(request.outputs):
            refused = [key for key in _REFUSED_OUTPUT_PARAMETERS if key in output.parameters]
            if refused:
                raise AccordError(
                    Reason.UNSUPPORTED,
                    f"{refused[0]} is not offered; ask for the output as a tensor",
                    field=f"outputs[{i}].parameters[{refused[0]!r}]",
                )
        wanted = [output.name for output in request.outputs]
        oip.check_wanted(wanted, [spec.name for spec in self._spec.outputs], model=self._spec.name)
        return wanted

    def _check_model(self, name: str, version_wanted: str) -> None:
        if name != self._spec.name:
            raise AccordError(
                Reason.MODEL_NOT_FOUND,
                f"no model {name[:128]!r} here; this worker serves {self._spec.name!r}",
                metadata={"model": name[:128]},
            )
        if version_wanted not in ("", self._spec.version):
            raise AccordError(
                Reason.VERSION_NOT_FOUND,
                f"no version {version_wanted[:32]!r} of {name!r} here; "
                f"this worker serves version {self._spec.version}",
                metadata={"model": name},
            )
