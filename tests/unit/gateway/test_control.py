"""One word over a unix socket, one whole answer or none."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gateway import control, runtime
from gateway.siblings import Siblings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path


@asynccontextmanager
async def listening(path: Path, **answers: Callable[[], Awaitable[bytes]]) -> AsyncIterator[None]:
    """Answer like a process; the word ``late`` only when everything is over."""
    over = asyncio.Event()

    async def late() -> bytes:
        await over.wait()
        return b"too late"

    server = await control.listen(path, answers | {"late": late})
    try:
        yield
    finally:
        over.set()
        server.close()
        await asyncio.sleep(0)


def saying(text: bytes) -> Callable[[], Awaitable[bytes]]:
    async def answer() -> bytes:
        return text

    return answer


async def broken() -> bytes:
    raise RuntimeError("no answer today")


async def test_a_word_has_its_answer(tmp_path: Path) -> None:
    """Empty, long or binary."""
    texts = {"empty": b"", "long": b"x" * 1_000_000, "binary": b"\n\x00\n"}
    path = tmp_path / "s"
    async with listening(path, **{word: saying(text) for word, text in texts.items()}):
        for word, text in texts.items():
            assert await control.ask(path, word, within_s=5) == text


async def test_who_cannot_answer_has_not_answered(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody there, an unknown word, a failure, which is logged and not repeated, and no answer in time."""
    path = tmp_path / "s"
    assert await control.ask(path, "fine", within_s=5) is None
    async with listening(path, fine=saying(b"yes"), broken=broken):
        with caplog.at_level(logging.ERROR):
            assert await control.ask(path, "broken", within_s=5) is None
        assert "'broken' could not be answered" in caplog.text
        assert await control.ask(path, "unknown", within_s=5) is None
        assert await control.ask(path, "late", within_s=0.05) is None
        assert await control.ask(path, "fine", within_s=5) == b"yes"


@pytest.mark.parametrize(
    ("sent", "answer"), [(b"5\nwhole", b"whole"), (b"5\nhal", None), (b"", None), (b"x\n", None)]
)
async def test_half_an_answer_is_none(tmp_path: Path, sent: bytes, answer: bytes | None) -> None:
    """A process that dies while it answers must not be taken at half its word."""

    async def tell(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        writer.close()

    server = await asyncio.start_unix_server(tell, tmp_path / "s")
    assert await control.ask(tmp_path / "s", "word", within_s=5) == answer
    server.close()


async def test_siblings_are_all_others_that_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At once, not oneself; who is silent is left out and named."""
    one = Siblings(tmp_path, 1, 4)
    async with (
        listening(runtime.control_socket(tmp_path, 0), word=saying(b"0")),
        listening(one.socket, word=saying(b"1")),
        listening(runtime.control_socket(tmp_path, 3), word=saying(b"3")),
    ):
        assert await one.ask("word", within_s=5) == [b"0", b"3"]
    assert "process 2 did not answer" in caplog.text
    assert (one.first, Siblings(tmp_path).first) == (False, True)
    assert await Siblings(tmp_path).ask("word", within_s=5) == []
