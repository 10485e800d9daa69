"""What changes a worker while it runs: loading and unloading its model.

Offered only where the worker was started for it (``--control explicit``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protos import oip
from protos.errors import AccordError, Reason
from protos.oip import messages
from workers.model.errors import ModelError

if TYPE_CHECKING:
    from protos.service import CallContext
    from workers.lifecycle import Lifecycle

__all__ = ["Control"]


class Control:
    """The methods of ``inference.GRPCInferenceService`` that manage a worker.

    Args:
        model: The model's versions.
    """

    def __init__(self, model: Lifecycle) -> None:
        self._model = model

    async def repository_index(self, request: Any, _context: CallContext) -> Any:
        """List the model's versions."""
        return oip.index_response(request, [(self._model.name, self._model.index())])

    async def repository_model_load(self, request: Any, _context: CallContext) -> Any:
        """Load the model again, all versions of it; return when they serve.

        Raises:
            AccordError: MODEL_NOT_FOUND, MODEL_LOAD_FAILED or UNSUPPORTED.
        """
        oip.check_load(request)
        self._model.check_name(request.model_name)
        try:
            await self._model.refresh(force=True)
        except ModelError:
            raise AccordError(
                Reason.MODEL_LOAD_FAILED,
                f"model {self._model.name!r} could not be loaded; the worker's log names file and cause",
                metadata={"model": self._model.name},
            ) from None
        return messages.RepositoryModelLoadResponse()

    async def repository_model_unload(self, request: Any, _context: CallContext) -> Any:
        """Take the model out; what it is computing is finished.

        Raises:
            AccordError: MODEL_NOT_FOUND, PARAMETER_INVALID or UNSUPPORTED.
        """
        oip.unloads_dependents(request)  # a worker's model is made of nothing else
        self._model.check_name(request.model_name)
        await self._model.unload()
        return messages.RepositoryModelUnloadResponse()
