"""Triton's repository extension, for the admin listener: what is served, loading it again, taking it out.

- A model of our own workers is loaded and unloaded there, one instance after the other, so that the others
  serve on. A model that follows its files, and one of another server, is not ours to load.
- Loading an ensemble loads the models that it is made of; unloading it takes the ensemble out, and with
  ``unload_dependents`` its models as well.

Source: Triton "Model Repository" extension.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from protos import oip
from protos.errors import AccordError, Reason
from protos.oip import Entry, State, messages
from protos.service import Method

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from gateway.config.schema import Model
    from gateway.engine.catalog import Catalog
    from protos.service import CallContext, Rpc

__all__ = ["Loadable", "RepositoryService"]


class Loadable(Protocol):
    """A member whose model we may load and unload; a failure is an AccordError."""

    async def load(self) -> None:
        """Load the model again on every instance."""
        ...

    async def unload(self) -> None:
        """Take the model out on every instance."""
        ...


class RepositoryService:
    """Serves the part of ``inference.GRPCInferenceService`` that changes what is served.

    Args:
        catalog: What is served.
        loadable: The models that can be loaded, by name.
        on_change: Awaited whenever something was taken in or out, before that is confirmed.
    """

    def __init__(
        self, catalog: Catalog, loadable: Mapping[str, Loadable], *, on_change: Callable[[], Awaitable[None]]
    ) -> None:
        self._catalog = catalog
        self._loadable = loadable
        self._on_change = on_change

    def methods(self) -> dict[str, Rpc]:
        """Return the methods by name."""
        m = messages
        return {
            "RepositoryIndex": Method(m.RepositoryIndexRequest, self.repository_index),
            "RepositoryModelLoad": Method(m.RepositoryModelLoadRequest, self.repository_model_load),
            "RepositoryModelUnload": Method(m.RepositoryModelUnloadRequest, self.repository_model_unload),
        }

    async def repository_index(self, request: Any, _context: CallContext) -> Any:
        """List ensembles and models, those that are not exposed included."""
        return oip.index_response(request, self._index())

    async def repository_model_load(self, request: Any, _context: CallContext) -> Any:
        """Load a model, or the models of an ensemble; return when they serve.

        Raises:
            AccordError: MODEL_NOT_FOUND, MODEL_LOAD_FAILED, CONFIG_REJECTED or UNSUPPORTED.
        """
        oip.check_load(request)
        models = self._local(request.model_name)
        try:
            for model in models:
                await model.load()
            self._catalog.take_in(request.model_name)
        finally:  # of several models, or instances, some may have been loaded
            await self._on_change()
        return messages.RepositoryModelLoadResponse()

    async def repository_model_unload(self, request: Any, _context: CallContext) -> Any:
        """Take a model or an ensemble out; calls under way are finished.

        Raises:
            AccordError: MODEL_NOT_FOUND, CONFIG_REJECTED, PARAMETER_INVALID or UNSUPPORTED.
        """
        deep = oip.unloads_dependents(request)
        name = request.model_name
        models = self._local(name) if deep or name not in self._catalog.config.ensembles else []
        self._catalog.take_out(name)
        await self._on_change()
        try:
            for model in models:
                await model.unload()
        finally:
            if models:
                await self._on_change()
        return messages.RepositoryModelUnloadResponse()

    def _index(self) -> Iterator[tuple[str, list[Entry]]]:
        config = self._catalog.config
        for name, ensemble in config.ensembles.items():
            yield name, [self._entry(name, ensemble.version, self._catalog.ready(self._catalog.plan(name)))]
        for name in config.models:
            spec = self._catalog.spec(name)
            versions = (spec.versions or (spec.version,)) if spec is not None else ("",)
            yield (
                name,
                [self._entry(name, version, self._catalog.model_ready(name)) for version in versions],
            )

    def _entry(self, name: str, version: str, ready: bool) -> Entry:
        if self._catalog.is_out(name):
            return Entry(version, State.UNAVAILABLE, "unloaded")
        return Entry(version, State.READY) if ready else Entry(version, State.UNAVAILABLE, "not ready")

    def _local(self, name: str) -> list[Loadable]:
        """Return the models of our own that a name stands for.

        Raises:
            AccordError: MODEL_NOT_FOUND, or CONFIG_REJECTED for a model that is not ours to load.
        """
        config = self._catalog.config
        if name in config.ensembles:
            found = self._catalog.models_of(name)
            return [self._loadable[model] for model in found if model in self._loadable]
        if name not in config.models:
            raise AccordError(
                Reason.MODEL_NOT_FOUND, f"there is no model {name[:128]!r}", metadata={"model": name[:128]}
            )
        if name not in self._loadable:
            raise AccordError(
                Reason.CONFIG_REJECTED,
                f"model {name!r} {_why_not_loadable(config.models[name])}",
                metadata={"model": name},
            )
        return [self._loadable[name]]


def _why_not_loadable(model: Model) -> str:
    if model.worker:
        return "follows its files (poll_s); change them, or leave poll_s out"
    if model.inprocess:
        return "is in each of several gateway processes; restart the server, or host it in a worker"
    return "is served by another server; load and unload it there"
