"""The gateway processes beside this one, which serve the same on the same port."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway import control, runtime

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Siblings"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Siblings:
    """All gateway processes of a server, seen from one of them.

    Args:
        directory: The runtime directory, where each can be asked.
        number: Which of them this is, from 0.
        total: How many there are.
    """

    directory: Path
    number: int = 0
    total: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that does what only one can do."""
        return self.number == 0

    @property
    def socket(self) -> Path:
        """Where this one is asked."""
        return runtime.control_socket(self.directory, self.number)

    async def ask(self, word: str, *, within_s: float) -> list[bytes]:
        """Ask all others at once; return the answers of those that gave one in time."""
        others = [number for number in range(self.total) if number != self.number]
        sockets = [runtime.control_socket(self.directory, number) for number in others]
        answers = await asyncio.gather(*(control.ask(path, word, within_s=within_s) for path in sockets))
        for number, answer in zip(others, answers, strict=True):
            if answer is None:
                _log.warning("process %d did not answer to %r", number, word)
        return [answer for answer in answers if answer is not None]
