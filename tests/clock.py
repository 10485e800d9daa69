"""Virtual time: an event loop whose clock jumps to the next timer as soon as nothing else is ready.

Rules:

- Time passes only when every task waits, and then at once: a test of an hour takes no time.
- Nothing is random: tasks run in the order in which they became ready, timers in the order of their time.
- A program that waits for nothing at all is :class:`Stuck`, not slow; one that leaves a task behind fails.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["Stuck", "VirtualLoop", "run"]

T = TypeVar("T")


class Stuck(RuntimeError):  # noqa: N818 - it is what the program is, not what it raised
    """Every task waits, and no timer will ever wake one."""


class _JumpingSelector(selectors.SelectSelector):
    """Polls without waiting, and moves its clock on by the time that it was asked to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events:
            return events
        if timeout is None:
            raise Stuck("every task waits and no timer is set")
        self.now += max(0.0, timeout)
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that starts at time 0 and never sleeps."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._jumping.now


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in virtual time and return its result.

    Raises:
        AssertionError: If it leaves tasks running.
        Stuck: If it waits for something that cannot happen.

    Example:
        >>> async def wait_an_hour() -> float:
        ...     await asyncio.sleep(3600)
        ...     return asyncio.get_running_loop().time()
        >>> run(wait_an_hour())
        3600.0
    """

    async def alone() -> T:
        result = await main
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks left running: {left}"
        return result

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(alone())
