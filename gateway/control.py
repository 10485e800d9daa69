"""How a gateway process is asked by its parent and its siblings: one word over a unix socket, one answer.

An answer comes with its length, so that one cut off by the end of its process is not taken for a whole one.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

__all__ = ["ask", "listen"]

_log = logging.getLogger(__name__)


async def listen(path: Path, answers: Mapping[str, Callable[[], Awaitable[bytes]]]) -> asyncio.Server:
    """Answer whoever asks.

    Args:
        path: Where; a socket that a former process left there is replaced.
        answers: What makes the answer, by word. An unknown word, or one that fails, is not answered.
    """

    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        word = ""
        try:
            word = (await reader.readline()).decode().strip()
            if word in answers:
                body = await answers[word]()
                writer.write(b"%d\n" % len(body) + body)
        except Exception:  # noqa: BLE001 - who asks is ours, and must be able to ask again
            _log.exception("the question %.32r could not be answered", word)
        finally:
            writer.close()

    return await asyncio.start_unix_server(tell, path)


async def ask(path: Path, word: str, *, within_s: float) -> bytes | None:
    """Ask a process; None = it did not answer, or not in time.

    Args:
        path: Where it listens.
        word: What to ask.
        within_s: How long to wait.
    """
    try:
        async with asyncio.timeout(within_s):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                writer.write(f"{word}\n".encode())
                return await reader.readexactly(int(await reader.readline()))
            finally:
                writer.close()
    except (OSError, ValueError, EOFError):  # a timeout is an OSError
        return None
