"""Turns requests into batches. A batch holds one request for now; the engine does not know that."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gateway.values import Batch, Reply, Rider

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.engine.engine import Engine
    from gateway.engine.plan import Plan
    from protos.tensor import Tensor

__all__ = ["Coalescer"]

_log = logging.getLogger(__name__)


class Coalescer:
    """Hands each request to the engine and waits for its reply.

    Args:
        engine: Runs the batches.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._running: set[asyncio.Task[None]] = set()

    async def ask(
        self,
        plan: Plan,
        inputs: Mapping[str, Tensor],
        *,
        n: int,
        wanted: Sequence[str],
        rider: Rider,
        keep_members: bool,
    ) -> Reply:
        """Return the rider's final reply; a cancelled caller leaves its batch."""
        batch = Batch(
            route=plan, n=n, inputs=inputs, wanted=wanted, riders=[rider], keep_members=keep_members
        )
        answered: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def deliver(reply: Reply) -> None:
            if not answered.done():
                answered.set_result(reply)

        # the batch outlives the answer: losers are cancelled and awaited without the caller waiting
        task = asyncio.create_task(self._engine.run(batch, deliver))
        self._running.add(task)
        task.add_done_callback(lambda done: self._ended(done, answered))
        try:
            return await answered
        except asyncio.CancelledError:
            batch.leave(rider)
            raise

    async def drain(self) -> None:
        """Wait until every batch has ended."""
        while self._running:
            await asyncio.wait(self._running)

    def _ended(self, task: asyncio.Task[None], answered: asyncio.Future[Reply]) -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if answered.done():
            if error is not None:
                _log.error("a batch failed after it was answered", exc_info=error)
        else:
            answered.set_exception(error or RuntimeError("the engine ended a batch without a reply"))
