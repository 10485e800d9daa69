"""SIGINT and SIGTERM as something that a run is told, so that it ends where it can go on from."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Signals", "handled"]


@contextmanager
def handled(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Have a handler told of SIGINT and SIGTERM while a block runs; only the main thread can."""
    try:
        former = {n: signal.signal(n, handler) for n in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread, which then sees to it
        former = {}
    try:
        yield
    finally:
        for number, before in former.items():
            signal.signal(number, before)


class Signals:
    """Notes SIGINT and SIGTERM instead of ending at once; the second SIGINT does."""

    def __init__(self) -> None:
        self.came = False
        self._interrupted = False

    def note(self, number: int, _: Any) -> None:
        """Take note of one."""
        if number == signal.SIGINT:
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True
        self.came = True
