"""One end of a lane: frames in and out of a non-blocking socket, in the event loop.

Rules:

- A frame is written at once, with all its buffers in one system call; what the socket does not take waits.
- A fault of the other side, or of the socket, ends this connection and nothing else.
- An end that answers reads nothing while much of what it wrote is not taken. The end that asks always reads:
  if both stopped, they would wait for each other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from protos.lane.frames import HELLO, Buffer, Decoder, Frame, LaneFault

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

__all__ = ["MAX_UNSENT_BYTES", "Connection"]

#: What may wait for the other side to take it before an end that answers reads no more.
MAX_UNSENT_BYTES = 1024 * 1024
#: Most buffers of one system call. Source: Linux ``limits.h``, ``IOV_MAX``.
_MAX_BUFFERS = 1024


class Connection:
    """A connected socket, from its first byte to its end.

    Args:
        sock: The socket; this owns it from now on.
        on_frame: Called with each frame; a LaneFault that it raises ends the connection.
        on_end: Called once, when the connection has ended: with the other side's fault, or None.
        on_greeted: Called when the other side has shown that it speaks our version.
        answers: Whether this is the end that answers, and so stops reading while it cannot write.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        on_frame: Callable[[Frame], None],
        on_end: Callable[[LaneFault | None], None],
        on_greeted: Callable[[], None] = lambda: None,
        answers: bool = False,
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._on_frame = on_frame
        self._on_end = on_end
        self._on_greeted = on_greeted
        self._answers = answers
        self._loop = asyncio.get_running_loop()
        self._decoder = Decoder()
        self._queue: deque[memoryview] = deque()
        #: Bytes that the socket has not taken yet.
        self.unsent = 0
        self._paused = False
        self._flushed: asyncio.Future[None] | None = None
        self.closed = False
        self._loop.add_reader(sock, self._readable)
        self.send([HELLO])

    def send(self, buffers: Sequence[Buffer]) -> None:
        """Write buffers, now or as soon as the socket takes them; those must not change until then."""
        if self.closed:
            return
        if self.unsent:
            self._keep(buffers, 0)
            return
        try:
            sent = self._sock.sendmsg(buffers[:_MAX_BUFFERS])
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.close()
            return
        self._keep(buffers, sent)

    async def flushed(self) -> None:
        """Wait until the socket has taken everything, or the connection has ended."""
        if self.unsent:
            if self._flushed is None:
                self._flushed = self._loop.create_future()
            # several may wait, and one of them may give up
            await asyncio.shield(self._flushed)

    def close(self, fault: LaneFault | None = None) -> None:
        """End the connection; what was not taken yet is lost."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        self._queue.clear()
        self.unsent = 0
        self._tell_flushed()
        self._on_end(fault)

    def _readable(self) -> None:
        decoder = self._decoder
        try:
            count = self._sock.recv_into(decoder.buffer())
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            count = 0
        if not count:
            self.close()
            return
        greeted = decoder.greeted
        try:
            for frame in decoder.received(count):
                self._on_frame(frame)
                if self.closed:
                    return
        except LaneFault as fault:
            self.close(fault)
            return
        if decoder.greeted and not greeted:
            self._on_greeted()

    def _keep(self, buffers: Sequence[Buffer], sent: int) -> None:
        """Keep what is left of some buffers, and see to its being written."""
        idle = not self.unsent
        for buffer in buffers:
            size = len(buffer)
            if sent >= size:
                sent -= size
                continue
            self._queue.append(memoryview(buffer)[sent:])
            self.unsent += size - sent
            sent = 0
        if idle and self.unsent:
            self._loop.add_writer(self._sock, self._writable)
        if self._answers and not self._paused and self.unsent > MAX_UNSENT_BYTES:
            self._paused = True
            self._loop.remove_reader(self._sock)

    def _writable(self) -> None:
        try:
            sent = self._sock.sendmsg([self._queue[i] for i in range(min(len(self._queue), _MAX_BUFFERS))])
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        self.unsent -= sent
        while sent:
            first = self._queue.popleft()
            if len(first) > sent:
                self._queue.appendleft(first[sent:])
                break
            sent -= len(first)
        if not self.unsent:
            self._loop.remove_writer(self._sock)
            self._tell_flushed()
        if self._paused and self.unsent <= MAX_UNSENT_BYTES:
            self._paused = False
            self._loop.add_reader(self._sock, self._readable)

    def _tell_flushed(self) -> None:
        if self._flushed is not None:
            self._flushed.set_result(None)
            self._flushed = None
