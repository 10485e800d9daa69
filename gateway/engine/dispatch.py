"""The calls under way for one batch: equal ones are one, and each is made of the batch's inputs once."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.values import Answer, Failure, Question
from protos.errors import Cause

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.engine.plan import Call, Feed, Source
    from gateway.engine.tally import Tally
    from gateway.members.member import Member
    from gateway.strategies.base import Mask
    from gateway.values import Batch, Rider
    from protos.tensor import Tensor

__all__ = ["Asked", "Dispatch", "Ended"]

_log = logging.getLogger(__name__)

_Inputs = tuple[tuple[str, "Source"], ...]
#: What makes calls equal: the model, its inputs, and the rows.
_Key = tuple[str, _Inputs, bytes]


@dataclass(slots=True, eq=False)
class Asked:
    """A call that was made: for which rows, and which seats of which merges listen for its answer."""

    rows: Mask
    task: asyncio.Task[Answer | Failure]
    listeners: list[tuple[Tally, int]] = field(default_factory=list)
    #: What came of it; None = nothing yet.
    result: Answer | Failure | None = None
    #: Whether it was cancelled because nobody needs its answer, or is made again: then nothing came of it.
    dropped: bool = False

    @property
    def needed(self) -> bool:
        """Whether any of its listeners still has a use for an answer."""
        return any(tally.awaited(seat, self.rows) for tally, seat in self.listeners)


@dataclass(frozen=True, slots=True)
class Ended:
    """A call that ended: what came of it, and when."""

    asked: Asked
    result: Answer | Failure
    at: float


class Dispatch:
    """Makes the calls of one batch.

    Args:
        members: The models that can be asked, by name.
        batch: The batch.
        on_end: Called when a call has ended.
        read: Returns what a call reads of others, for some rows.
    """

    def __init__(
        self,
        members: Mapping[str, Member],
        batch: Batch,
        on_end: Callable[[], None],
        read: Callable[[Sequence[Feed], Mask], Tensor] | None = None,
    ) -> None:
        self._members = members
        self._read = read
        self._batch = batch
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._asked: dict[_Key, Asked] = {}
        self._tasks: set[asyncio.Task[Answer | Failure]] = set()
        self._taken: dict[tuple[_Inputs, bytes], tuple[dict[str, Tensor], Any]] = {}
        #: Calls that ended and were not taken yet.
        self.ended: list[Ended] = []

    @property
    def under_way(self) -> int:
        """How many calls have not ended."""
        return len(self._tasks)

    def call(self, call: Call, rows: Mask, *, until: float, riders: Sequence[Rider]) -> Asked:
        """Return the equal call that was made for the same rows and has not been forgotten, or make it.

        Args:
            call: The call.
            rows: The rows to make it for.
            until: When its answer is of no more use.
            riders: Those who are aboard; of them it is made for those who have any of the rows.
        """
        key = (call.model, call.inputs, rows.tobytes())
        asked = self._asked.get(key)
        if asked is None:
            question = self._question(call, rows, key[2], until, riders)
            task = self._loop.create_task(self._members[call.model].ask(question))
            asked = self._asked[key] = Asked(rows, task)
            self._tasks.add(task)
            task.add_done_callback(lambda _: self._finished(asked))
        return asked

    def take_ended(self) -> list[Ended]:
        """Return the calls that ended since the last time; an equal one is from now on made anew."""
        ended, self.ended = self.ended, []
        if ended:
            self._asked = {key: asked for key, asked in self._asked.items() if asked.task in self._tasks}
        return ended

    def drop_unneeded(self) -> list[Asked]:
        """Cancel the calls whose answers nobody needs any more, and return them."""
        dropped = [asked for asked in self._asked.values() if not asked.needed]
        for asked in dropped:
            asked.dropped = True
            asked.task.cancel()
        self._asked = {key: asked for key, asked in self._asked.items() if not asked.dropped}
        return dropped

    async def end(self) -> None:
        """Cancel what is under way, and wait until it has ended."""
        for task in self._tasks:
            # a second cancellation would break into the end of a call that is already cancelled
            if not task.cancelling():
                task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _finished(self, asked: Asked) -> None:
        self._tasks.discard(asked.task)
        if not asked.dropped:
            asked.result = _result(asked.task)
            self.ended.append(Ended(asked, asked.result, self._loop.time()))
            self._on_end()

    def _question(
        self, call: Call, rows: Mask, mask: bytes, until: float, riders: Sequence[Rider]
    ) -> Question:
        taken = self._taken.get((call.inputs, mask))
        if taken is None:
            taken = self._taken[call.inputs, mask] = (self._tensors(call, rows), {})
        if not rows.all():
            riders = [rider for rider in riders if rows[rider.rows].any()]
        tensors, forms = taken
        # a call for several riders speaks in the name of the first, and ranks as the most urgent
        return Question(
            inputs=tensors,
            outputs=call.outputs,
            deadline=until,
            version=call.version,
            id=riders[0].id,
            parameters=self._batch.parameters,
            priority=min((rider.priority for rider in riders if rider.priority), default=0),
            metadata=riders[0].metadata,
            gathered=call.mixes,
            forms=forms,
        )

    def _tensors(self, call: Call, rows: Mask) -> dict[str, Tensor]:
        inputs, every = self._batch.inputs, rows.all()
        tensors: dict[str, Tensor] = {}
        for own, source in call.inputs:
            if isinstance(source, str):
                if source in inputs:
                    tensors[own] = inputs[source] if every else inputs[source].take(rows)
            else:
                assert self._read is not None  # noqa: S101 - a plan whose calls read others says how
                tensors[own] = self._read(source, rows)
        return tensors


def _result(task: asyncio.Task[Answer | Failure]) -> Answer | Failure:
    if task.cancelled():
        # ours are no longer needed; of the others, somebody was cancelled by its own side
        return Failure(Cause.MEMBER_INTERNAL)
    error = task.exception()
    if error is not None:
        _log.error("a member raised instead of returning a failure", exc_info=error)
        return Failure(Cause.MEMBER_INTERNAL)
    return task.result()
