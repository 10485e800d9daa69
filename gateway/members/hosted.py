"""A model in this process: how its runs are made, one at a time.

Rules:

- A run that is expected to be short (:mod:`workers.model.pace`) is made in the event loop, if the model is
  idle: a thread costs more than it. Nothing ends it early, and its answer comes though a deadline passes
  meanwhile, by a fraction of a millisecond.
- Any other run is made in the model's one thread, in order of arrival. What waits for it is bounded.
- Whoever is late is told so at once; the run is told to end, which it does between two operators. Whoever
  goes away waits for that end.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protos import oip
from protos.errors import AccordError, Reason
from protos.tensor import Tensor
from workers.model.pace import size_of
from workers.model.session import Abort

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from workers.model.session import Session

__all__ = ["MAX_QUEUED", "Computed", "Hosted"]

#: The most runs that may wait for the thread, as in a worker.
MAX_QUEUED = 128


@dataclass(frozen=True, slots=True)
class Computed:
    """What a run gave: its outputs, the seconds until it began, and those that it took."""

    outputs: Mapping[str, Tensor]
    queue_s: float
    compute_s: float


class Hosted:
    """Runs a loaded model.

    Args:
        session: The model, ready to serve.
        max_queued: The most runs that may wait.
        clock: Source of monotonic time, the same as the deadlines'.
    """

    def __init__(
        self,
        session: Session,
        *,
        max_queued: int = MAX_QUEUED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.session = session
        self._max_queued = max_queued
        self._clock = clock
        # it starts its thread with the first run that needs one
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"model {session.spec.name}")
        self._under_way = 0

    async def run(self, inputs: Mapping[str, Tensor], wanted: Sequence[str], deadline: float) -> Computed:
        """Run the model, or wait for its being idle and then run it.

        Args:
            inputs: Its input tensors by name; the plan that they were made for may be older than the model.
            wanted: The outputs to compute; empty for all.
            deadline: When nobody waits any more.

        Raises:
            AccordError: The request's or the model's fault, or QUEUE_FULL.
            TimeoutError: If the deadline passes first.
        """
        asked, spec = self._clock(), self.session.spec
        oip.check_inputs(inputs, spec.inputs, model=spec.name, batches=spec.batches, max_rows=spec.max_rows)
        oip.check_wanted(wanted, [output.name for output in spec.outputs], model=spec.name)
        size = size_of([inputs])
        if not self._under_way and self.session.pace.is_short(size):
            try:
                return self._run(inputs, wanted, Abort(), asked, deadline)
            finally:
                self.session.pace.observe(size, self._clock() - asked)
        computed = await self._run_in_thread(inputs, wanted, asked, deadline)
        self.session.pace.observe(size, computed.compute_s)
        return computed

    async def close(self) -> None:
        """Finish what is under way, then end the thread; nothing may be asked any more."""
        await asyncio.to_thread(self._pool.shutdown)

    async def _run_in_thread(
        self, inputs: Mapping[str, Tensor], wanted: Sequence[str], asked: float, deadline: float
    ) -> Computed:
        if self._under_way > self._max_queued:
            raise AccordError(Reason.QUEUE_FULL, f"{self._max_queued} runs wait for the model already")
        abort = Abort()
        work = self._pool.submit(self._run, inputs, wanted, abort, asked, deadline)
        running = asyncio.wrap_future(work)
        self._under_way += 1
        running.add_done_callback(self._ended)
        try:
            await asyncio.wait([running], timeout=deadline - asked)
        except asyncio.CancelledError:
            abort.set()
            if not work.cancel():
                await asyncio.wait([running])
            raise
        if not running.done():
            abort.set()
            work.cancel()
            raise TimeoutError
        return running.result()

    def _ended(self, running: asyncio.Future[Computed]) -> None:
        self._under_way -= 1
        if not running.cancelled():
            running.exception()  # asked for, so that one who no longer waits leaves no complaint

    def _run(
        self,
        inputs: Mapping[str, Tensor],
        wanted: Sequence[str],
        abort: Abort,
        asked: float,
        deadline: float,
    ) -> Computed:
        began = self._clock()
        if began >= deadline:
            raise TimeoutError
        arrays = {name: tensor.array() for name, tensor in inputs.items()}
        outputs = self.session.run(arrays, wanted, abort=abort)
        tensors = {name: Tensor.from_array(array) for name, array in outputs.items()}
        return Computed(tensors, began - asked, self._clock() - began)
