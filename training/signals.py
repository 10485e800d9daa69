"""SIGINT and SIGTERM as a question that a step can ask, so that a run ends between two of them."""

from __future__ import annotations

import signal
from typing import Any

__all__ = ["Signals"]


class Signals:
    """Notes SIGINT and SIGTERM instead of ending at once; the second SIGINT does."""

    def __init__(self) -> None:
        self.came = False
        self._interrupted = False
        self._former: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        try:
            self._former = {n: signal.signal(n, self._note) for n in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not in the main thread, which then sees to it
            self._former = {}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: Any) -> None:
        if number == signal.SIGINT:
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True
        self.came = True
