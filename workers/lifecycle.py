"""Which versions of the model are served: load, warm, swap, drain.

Rules:

- A version becomes visible when it is loaded and warm, in one step; until then, and if it never is, what was
  served before is served on.
- A version that is replaced or taken out finishes the requests that it has, and takes no more.
- What failed to load is tried again when its files change, or when somebody asks for it.
- Statistics belong to the version's number: they survive its being loaded again.
- Whoever asked for a load may go away; the load is finished.

Everything but the loading itself happens on the event loop; one load, unload or refresh runs at a time.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protos.errors import AccordError, Reason
from protos.oip import Entry, State, Statistics
from workers.model.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from workers.batcher import Batcher
    from workers.model.repository import Fingerprint, ModelFiles
    from workers.model.session import Session

__all__ = ["Lifecycle", "Served"]

_log = logging.getLogger(__name__)

_FAILED = "could not be loaded; the worker's log names file and cause"
_UNLOADED = "unloaded"
_GONE = "no longer in the repository, or not allowed by version_policy"


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """One version that takes requests.

    Args:
        session: The model, loaded and warm.
        batcher: Where its requests wait and run.
        statistics: What it did so far.
    """

    session: Session
    batcher: Batcher
    statistics: Statistics


class Lifecycle:
    """The versions of one model.

    Args:
        name: The model's name.
        find: Lists the versions that are to be served, lowest first: their files, or what is wrong with them.
        load: Loads a version and warms it up; runs in a thread.
        batch: Makes the batcher of a loaded version, given where to record its runs.
    """

    def __init__(
        self,
        name: str,
        *,
        find: Callable[[], Mapping[str, ModelFiles | ModelError]],
        load: Callable[[ModelFiles], Session],
        batch: Callable[[Session, Statistics], Batcher],
    ) -> None:
        self.name = name
        self._find = find
        self._load = load
        self._batch = batch
        self._on_change: Callable[[], None] = lambda: None
        self._served: dict[str, Served] = {}
        self._statistics: dict[str, Statistics] = {}
        self._entries: dict[str, Entry] = {}
        self._tried: dict[str, Fingerprint | None] = {}
        self._draining: set[asyncio.Task[None]] = set()
        self._refreshing: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()

    @property
    def ready(self) -> bool:
        """Whether any version takes requests."""
        return bool(self._served)

    @property
    def versions(self) -> list[str]:
        """The versions that take requests, lowest first."""
        return list(self._served)

    @property
    def statistics(self) -> Mapping[str, Statistics]:
        """What each version did since the worker started."""
        return self._statistics

    def watch(self, on_change: Callable[[], None]) -> None:
        """Call ``on_change`` now, and whenever a version becomes visible or is taken out."""
        self._on_change = on_change
        on_change()

    def check_name(self, name: str) -> None:
        """Refuse another model's name.

        Raises:
            AccordError: MODEL_NOT_FOUND.
        """
        if name != self.name:
            raise AccordError(
                Reason.MODEL_NOT_FOUND,
                f"no model {name[:128]!r} here; this worker serves {self.name!r}",
                metadata={"model": name[:128]},
            )

    def get(self, version: str = "") -> Served:
        """Return the version asked for; empty for the highest.

        Raises:
            AccordError: VERSION_NOT_FOUND, or MODEL_NOT_READY for one that should be served.
        """
        served = self._served.get(version or next(reversed(self._served), ""))
        if served is not None:
            return served
        meta = {"model": self.name}
        # a retry would wait in vain for what has left the repository
        expected = [entry.version for entry in self._entries.values() if entry.reason != _GONE]
        if version and version not in expected:
            known = ", ".join(expected) or "none"
            raise AccordError(
                Reason.VERSION_NOT_FOUND,
                f"{self.name!r} has no version {version[:32]!r}; it has {known}",
                metadata=meta,
            )
        which = f"version {version} of {self.name!r}" if version else f"{self.name!r}"
        raise AccordError(Reason.MODEL_NOT_READY, f"{which} is not ready", metadata=meta)

    def index(self) -> list[Entry]:
        """Return all versions that are served, were served, or should be."""
        return sorted(self._entries.values(), key=lambda entry: int(entry.version))

    async def refresh(self, *, force: bool = False) -> None:
        """Bring what is served up to what the repository holds.

        Args:
            force: Load every version again, changed or not.

        Raises:
            ModelError: The first thing that is wrong; all that is right is served nevertheless. It is logged.
        """
        # a thread cannot be cancelled: a load that nobody follows would end unseen, beside the next one
        task = asyncio.create_task(self._refresh(force=force))
        self._refreshing.add(task)
        task.add_done_callback(self._refreshing.discard)
        await asyncio.shield(task)

    async def _refresh(self, *, force: bool) -> None:
        async with self._turn:
            try:
                found = await asyncio.to_thread(self._find)
            except ModelError as error:
                self._complain(error)
                raise
            errors = []
            for version, files in found.items():
                try:
                    await self._refresh_version(version, files, force=force)
                except ModelError as error:
                    self._complain(error)
                    errors.append(error)
            # the old ones leave when all that is to take their place is there
            if found.keys() <= self._served.keys():
                for version in self._entries.keys() - found.keys():
                    self._retire(version, _GONE)
            if errors:
                raise errors[0]

    async def unload(self) -> None:
        """Take every version out; what they are computing is finished."""
        async with self._turn:
            for version in list(self._entries):
                self._retire(version, _UNLOADED)

    async def close(self) -> None:
        """Take every version out, and return when all requests are finished."""
        await self.unload()
        while self._draining:
            await asyncio.wait(self._draining)

    async def _refresh_version(self, version: str, files: ModelFiles | ModelError, *, force: bool) -> None:
        mark = None if isinstance(files, ModelError) else files.fingerprint
        if version in self._tried and self._tried[version] == mark and not force:
            return
        self._tried[version] = mark
        if version not in self._served:
            self._enter(version, State.LOADING)
        try:
            loaded = await self._loaded(version, files)
        except Exception:
            if version not in self._served:
                self._enter(version, State.UNAVAILABLE, _FAILED)
            raise
        self._show(version, loaded)

    async def _loaded(self, version: str, files: ModelFiles | ModelError) -> Served:
        if isinstance(files, ModelError):
            raise files
        session = await asyncio.to_thread(self._load, files)
        statistics = self._statistics.setdefault(version, Statistics())
        return Served(session, self._batch(session, statistics), statistics)

    def _show(self, version: str, served: Served) -> None:
        former = self._served.get(version)
        # one assignment: there is no moment without a version, and the highest one is the last
        self._served = dict(sorted({**self._served, version: served}.items(), key=lambda item: int(item[0])))
        self._enter(version, State.READY)
        if former is not None:
            self._drain(version, former)
        self._on_change()

    def _retire(self, version: str, reason: str) -> None:
        self._tried.pop(version, None)
        served = self._served.pop(version, None)
        if served is None:
            if self._entries[version].state is not State.UNLOADING:
                self._enter(version, State.UNAVAILABLE, reason)
            return
        self._enter(version, State.UNLOADING, reason)
        self._drain(version, served)
        self._on_change()

    def _drain(self, version: str, served: Served) -> None:
        async def finish() -> None:
            await served.batcher.close()
            if self._entries[version].state is State.UNLOADING:
                self._enter(version, State.UNAVAILABLE, self._entries[version].reason)
            _log.info("version drained", extra={"model": self.name, "version": version})

        task = asyncio.create_task(finish())
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)

    def _enter(self, version: str, state: State, reason: str = "") -> None:
        self._entries[version] = Entry(version, state, reason)

    def _complain(self, error: ModelError) -> None:
        facts = {"model": self.name, "path": str(error.path), "cause": error.cause, "serving": self.versions}
        _log.error("model cannot be served", extra=facts)
