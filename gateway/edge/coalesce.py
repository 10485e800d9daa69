"""Turns requests into batches. A batch holds one request for now; the engine does not know that."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from gateway.engine.engine import Engine
    from gateway.values import Batch, Reply

__all__ = ["Coalescer"]

_log = logging.getLogger(__name__)


class Coalescer:
    """Hands each request to the engine and waits for its replies.

    Args:
        engine: Runs the batches.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._running: set[asyncio.Task[None]] = set()

    async def ask(self, batch: Batch) -> Reply:
        """Return the final reply to a batch of one rider; a cancelled caller leaves it."""
        replies = self._start(batch)
        try:
            return await replies.take()
        except asyncio.CancelledError:
            _leave(batch)
            raise

    async def stream(self, batch: Batch) -> AsyncGenerator[Reply, None]:
        """Yield the replies to a batch of one rider, the last of them final.

        Interim replies that a slow reader has not taken give way to newer ones. Who closes this generator
        leaves the batch.
        """
        replies = self._start(batch)
        try:
            while not (reply := await replies.take()).final:
                yield reply
            yield reply
        finally:
            _leave(batch)

    async def drain(self) -> None:
        """Wait until every batch has ended."""
        while self._running:
            await asyncio.wait(self._running)

    def _start(self, batch: Batch) -> _Latest:
        replies = _Latest()
        # the batch outlives the answer: losers are cancelled and awaited without the caller waiting
        task = asyncio.create_task(self._engine.run(batch, replies.put))
        self._running.add(task)
        task.add_done_callback(lambda done: self._ended(done, replies))
        return replies

    def _ended(self, task: asyncio.Task[None], replies: _Latest) -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if not replies.complete:
            replies.fail(error or RuntimeError("the engine ended a batch without a reply"))
        elif error is not None:
            _log.error("a batch failed after it was answered", exc_info=error)


class _Latest:
    """The newest reply that nobody has taken yet: room for one, and nothing follows the final one."""

    def __init__(self) -> None:
        self._reply: Reply | None = None
        self._error: BaseException | None = None
        self._news = asyncio.Event()
        self.complete = False

    def put(self, reply: Reply) -> None:
        if not self.complete:
            self._reply = reply
            self.complete = reply.final
            self._news.set()

    def fail(self, error: BaseException) -> None:
        self._error = error
        self._news.set()

    async def take(self) -> Reply:
        await self._news.wait()
        self._news.clear()
        if self._error is not None:
            raise self._error
        assert self._reply is not None  # noqa: S101 - there is news, and it is no error
        return self._reply


def _leave(batch: Batch) -> None:
    for rider in batch.riders:
        batch.leave(rider)
