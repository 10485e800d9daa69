"""A model inside the gateway process: loaded, warmed up and asked without a process in between.

Rules:

- It is loaded in a thread when the gateway starts, and until that succeeds again and again; the log says why
  it did not. Nothing else looks at the files: a change is taken over by a load.
- A load that fails leaves what was served; one that nobody waits for any more is finished.
- One version is served: the one that the configuration names, or the highest that may be.
- What takes the process down, takes the gateway down: a model that is not trusted belongs into a worker.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.members.causes import Kind, diagnose
from gateway.members.hosted import Hosted
from gateway.policies.backoff import Backoff
from gateway.values import Answer, Failure, Question
from protos.errors import AccordError, Cause, Reason
from workers.model import repository
from workers.model.errors import ModelError
from workers.model.ready import make_ready
from workers.model.session import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.config.schema import InProcess
    from protos.model import ModelSpec
    from workers.model.session import Session

__all__ = ["InProcessMember"]

_log = logging.getLogger(__name__)

#: How soon a model that could not be loaded is tried again.
_RETRY = Backoff(first_s=0.5, most_s=10.0)


class InProcessMember:
    """A model that this process hosts.

    Args:
        name: The model's name in the configuration.
        backend: Its section there.
        declared: What its files say of it, before it was ever loaded.
        on_change: Called when readiness or the specification changes.
        retry: How soon a model that could not be loaded is tried again.
        clock: Source of monotonic time, the same as the deadlines'.
    """

    def __init__(
        self,
        *,
        name: str,
        backend: InProcess,
        declared: ModelSpec | None = None,
        on_change: Callable[[], None],
        retry: Backoff = _RETRY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._backend = backend
        self._spec = declared
        self._on_change = on_change
        self._retry = retry
        self._clock = clock
        self._hosted: Hosted | None = None
        self._turn = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None
        self._loads: set[asyncio.Task[None]] = set()
        self._told = ""

    def start(self) -> None:
        """Begin to load the model."""
        self._keeper = asyncio.create_task(self._keep_trying())

    async def close(self) -> None:
        """Let the model go when what it computes is finished."""
        tasks = [*self._loads, *([self._keeper] if self._keeper else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._take_out()

    @property
    def ready(self) -> bool:
        """Whether the model is loaded."""
        return self._hosted is not None

    @property
    def replicas_ready(self) -> int:
        """How many replicas are ready: it has one."""
        return int(self.ready)

    @property
    def spec(self) -> ModelSpec | None:
        """What the model says of itself; None until its files told."""
        return self._spec

    async def ask(self, question: Question) -> Answer | Failure:
        """Run the model once; see :class:`gateway.members.member.Member`."""
        if question.deadline <= self._clock():
            return Failure(Cause.MEMBER_TIMEOUT, attempts=0)
        hosted = self._hosted
        if hosted is None:
            return Failure(Cause.MEMBER_NOT_READY, attempts=0)
        version = hosted.session.spec.version
        if question.version not in ("", version):
            return Failure(Cause.MEMBER_NOT_FOUND)
        try:
            computed = await hosted.run(question.inputs, question.outputs, question.deadline)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this member's failure
            return self._failure(question, error)
        return Answer(
            outputs=computed.outputs,
            version=version,
            queue_s=computed.queue_s,
            compute_s=computed.compute_s,
        )

    async def load(self) -> None:
        """Load the model again, and serve it when it is ready.

        Raises:
            AccordError: MODEL_LOAD_FAILED; what was served is served on.
        """
        # a thread cannot be cancelled: a load that nobody follows would end unseen, beside the next one
        task = asyncio.create_task(self._load_in_turn())
        self._loads.add(task)
        task.add_done_callback(self._loads.discard)
        try:
            await asyncio.shield(task)
        except ModelError:
            raise AccordError(
                Reason.MODEL_LOAD_FAILED,
                f"model {self.name!r} could not be loaded; the gateway's log names file and cause",
                metadata={"model": self.name},
            ) from None

    async def unload(self) -> None:
        """Take the model out; what it computes is finished."""
        async with self._turn:
            if self._keeper is not None:
                self._keeper.cancel()
            await self._take_out()

    def _failure(self, question: Question, error: Exception) -> Failure:
        if isinstance(error, TimeoutError):
            return Failure(Cause.MEMBER_TIMEOUT)
        cause = Cause.MEMBER_INTERNAL
        told: BaseException | None = error
        if isinstance(error, AccordError):
            cause = diagnose(Kind.ACCORD, error.reason.code, "", error.reason.name).cause
            told = error.__cause__
        facts = {"model": self.name, "request_id": question.id[:128], "cause": cause.name}
        _log.warning("a model in process failed: %s", error, exc_info=told, extra=facts)
        return Failure(cause)

    async def _keep_trying(self) -> None:
        failures = 0
        while not self.ready:
            try:
                await self._load_in_turn(unless_ready=True)
            except ModelError:
                failures += 1
                await asyncio.sleep(self._retry.delay_s(failures))

    async def _load_in_turn(self, *, unless_ready: bool = False) -> None:
        async with self._turn:
            if unless_ready and self.ready:
                return
            try:
                session = await asyncio.to_thread(self._opened)
            except ModelError as error:
                self._complain(error)
                raise
            former, self._hosted = self._hosted, Hosted(session, clock=self._clock)
            self._told = ""
            version = session.spec.version
            self._spec = replace(session.spec, name=self.name, versions=(version,), config=session.config)
            self._on_change()
            if former is not None:
                await former.close()

    def _opened(self) -> Session:
        """Return the model, ready to serve.

        Raises:
            ModelError: If it cannot be served.
        """
        backend = self._backend
        try:
            files = repository.find(backend.repository, backend.model or self.name, backend.version)
            session = load(
                files,
                wanted=backend.providers,
                threads=str(backend.threads),
                require_digests=backend.require_digests,
            )
            make_ready(session)
        except ModelError:
            raise
        except Exception as error:
            _log.exception("loading model %s failed", self.name)
            raise ModelError(backend.repository, "loading a model failed in an unexpected way") from error
        return session

    def _complain(self, error: ModelError) -> None:
        """Say what is wrong, once for as long as it stays the same."""
        if str(error) != self._told:
            self._told = str(error)
            facts = {"model": self.name, "path": str(error.path), "cause": error.cause, "serving": self.ready}
            _log.error("model cannot be served", extra=facts)

    async def _take_out(self) -> None:
        former, self._hosted = self._hosted, None
        if former is not None:
            self._on_change()
            await former.close()
