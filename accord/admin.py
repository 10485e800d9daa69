"""A client for a server's admin address: what there is to serve, loading it again, taking it out.

Source: Triton "Model Repository" extension. Any client of it works as well, tritonclient's for one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from accord.client import call_error
from accord.connection import Connection
from protos.oip import SERVICE, messages

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Admin", "ModelState"]


@dataclass(frozen=True, slots=True)
class ModelState:
    """One version of a model, or an ensemble, as the server's index tells it.

    Args:
        name: Its name.
        version: Its version; empty while none is known.
        state: ``READY``, ``LOADING``, ``UNLOADING`` or ``UNAVAILABLE``.
        reason: Why it is not ready; may be empty.
    """

    name: str
    version: str
    state: str
    reason: str


class Admin(Connection):
    """A connection to one admin address; usable as a context manager.

    Args:
        address: ``unix:PATH`` or ``host:port``.
        token: The token that a port asks for; empty where there is none.
        timeout_s: Deadline of a call in seconds.

    Example:
        .. code-block:: python

            with Admin("unix:admin.sock") as admin:
                admin.load("digits-svm")
                print(admin.index())
    """

    def __init__(self, address: str, *, token: str = "", timeout_s: float = 600.0) -> None:
        super().__init__(address)
        self._metadata = (("authorization", f"Bearer {token}"),) if token else None
        self._timeout_s = timeout_s

    def index(self) -> Sequence[ModelState]:
        """List ensembles and models, those that are not exposed included.

        Raises:
            CallError: If the call fails.
        """
        response = self._call("RepositoryIndex", messages.RepositoryIndexRequest())
        return [ModelState(m.name, m.version, m.state, m.reason) for m in response.models]

    def load(self, name: str) -> None:
        """Load a model, or the models of an ensemble, and return when they serve.

        Args:
            name: The model's or ensemble's name.

        Raises:
            CallError: If it cannot be loaded; what was served before is served on.
        """
        self._call("RepositoryModelLoad", messages.RepositoryModelLoadRequest(model_name=name))

    def unload(self, name: str, *, with_members: bool = False) -> None:
        """Take a model or an ensemble out; calls under way are finished.

        Args:
            name: The model's or ensemble's name.
            with_members: Whether the models that an ensemble is made of are taken out as well.

        Raises:
            CallError: If the call fails.
        """
        request = messages.RepositoryModelUnloadRequest(model_name=name)
        if with_members:
            request.parameters["unload_dependents"].bool_param = True
        self._call("RepositoryModelUnload", request)

    def _call(self, method: str, request: Any) -> Any:
        call = self._channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=getattr(messages, f"{method}Response").FromString,
        )
        try:
            return call(request, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise call_error(error) from None
