"""Both ends of the lane for tests: bytes fed to a decoder, and a worker that says what the test wants."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

from protos import lane

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

__all__ = ["Scripted", "descriptors", "plain", "taken", "written"]


def taken(decoder: lane.Decoder, pieces: Iterable[bytes]) -> list[lane.Frame]:
    """Feed a decoder, as much at a time as it has room for."""
    found: list[lane.Frame] = []
    for piece in pieces:
        rest = piece
        while rest:
            room = decoder.buffer()
            count = min(len(room), len(rest))
            assert count
            room[:count] = rest[:count]
            found += decoder.received(count)
            rest = rest[count:]
    return found


def plain(frames: Sequence[lane.Frame]) -> list[tuple[int, int, int, bytes, list[bytes]]]:
    """Return frames with their segments as bytes."""
    return [
        (frame.kind, frame.id, frame.argument, frame.head, [bytes(s) for s in frame.segments])
        for frame in frames
    ]


def written(*frames: Iterable[bytes | memoryview]) -> bytes:
    """Return frames as one string of bytes."""
    return b"".join(map(b"".join, frames))


def descriptors() -> int:
    """Return how many files this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - paths are not wanted


class Scripted:
    """The worker's end of a lane, in this process, that does what the test says with each frame."""

    def __init__(self, path: Path, script: Callable[[Scripted, lane.Frame], None]) -> None:
        self.script = script
        self.frames: list[lane.Frame] = []
        self.ends: list[lane.LaneFault | None] = []
        self.connections: list[lane.Connection] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._listener.setblocking(False)
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def say(self, *buffers: bytes | memoryview) -> None:
        """Write to whoever came last."""
        self.connections[-1].send(buffers)

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the loop run until something has happened."""
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - frames come by themselves
                await asyncio.sleep(0.001)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        for connection in self.connections:
            connection.close()

    def _accept(self) -> None:
        sock, _ = self._listener.accept()
        self.connections.append(lane.Connection(sock, on_frame=self._take, on_end=self.ends.append))

    def _take(self, frame: lane.Frame) -> None:
        self.frames.append(frame)
        self.script(self, frame)
