"""The lane to one worker: questions that its gRPC server would take as well, at a fraction of the cost.

Rules:

- A lane that is not up costs no call: it is asked over gRPC. Every probe tries to have it up again.
- A worker that speaks another version is left alone until it may be another process.
- A connection that breaks fails its calls as gRPC would, as UNAVAILABLE; what makes no sense fails them as a
  reply that could not be understood.
- Whoever stops waiting, by deadline or by cancellation, has told the worker so before it goes on. The worker
  still ends that call with a frame, so an id that comes back is one of ours or the worker is at fault.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from gateway.members.causes import CallFailed
from gateway.members.forms import Answered
from protos import lane, oip
from protos.details import read_status
from protos.errors import Code

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Lane"]

_log = logging.getLogger(__name__)

#: How long a worker may take to answer the greeting, in seconds.
_GREETING_S = 1.0


class Lane:
    """A way to one worker, up or not.

    Args:
        path: Where the worker listens.
        model: The model's name, for logs.
    """

    def __init__(self, path: Path, model: str) -> None:
        self._path = path
        self._model = model
        self._connection: lane.Connection | None = None
        self._greeted: asyncio.Future[None] | None = None
        #: Calls by id; None where nobody waits any more.
        self._calls: dict[int, asyncio.Future[lane.Frame] | None] = {}
        self._id = 0
        self._refused = False
        self._trouble = ""
        #: Whether questions can be asked.
        self.up = False

    async def join(self, *, anew: bool) -> None:
        """Connect, unless connected; whether it worked is told by :attr:`up`.

        Args:
            anew: Whether the worker may be another process than the one that was refused.
        """
        if self._connection is not None or (self._refused and not anew):
            return
        self._refused = False
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            sock.connect(str(self._path))
        except OSError as error:
            sock.close()
            self._complain(error.strerror or type(error).__name__)
            return
        greeted = self._greeted = asyncio.get_running_loop().create_future()
        connection = lane.Connection(sock, on_frame=self._take, on_end=self._ended, on_greeted=self._greet)
        if connection.closed:
            return
        self._connection = connection
        try:
            async with asyncio.timeout(_GREETING_S):
                await greeted
        except TimeoutError:
            self._complain("no greeting")
            connection.close()
        except asyncio.CancelledError:
            connection.close()
            raise

    def carries(self, head: bytes, raws: Sequence[bytes | memoryview]) -> bool:
        """Tell whether a request fits into a frame, and not too much waits already to be sent."""
        assert self._connection is not None  # noqa: S101 - asked only of a lane that is up
        size = len(head) + sum(map(len, raws))
        return size + self._connection.unsent <= oip.MAX_ANSWER_BYTES and len(raws) <= lane.MAX_SEGMENTS

    async def infer(self, head: bytes, raws: Sequence[bytes | memoryview], within_s: float) -> Answered:
        """Ask the worker; only while :attr:`up`.

        Args:
            head: A serialised ``ModelInferRequest`` without raw contents.
            raws: These, uncopied; they must not change before this returns.
            within_s: How long to wait.

        Raises:
            CallFailed: If it ends with a status.
            ValueError: If the reply makes no sense.
        """
        assert self._connection is not None  # noqa: S101 - asked only of a lane that is up
        self._id = id_ = self._id + 1
        buffers = lane.request(id_, max(1, int(within_s * 1e6)), head, raws)
        loop = asyncio.get_running_loop()
        call: asyncio.Future[lane.Frame] = loop.create_future()
        self._calls[id_] = call
        self._connection.send(buffers)
        alarm = loop.call_later(within_s, self._late, id_)
        try:
            frame = await call
        except asyncio.CancelledError:
            self._abandon(id_)
            raise
        finally:
            alarm.cancel()
        if frame.kind == lane.Kind.ERROR:
            raise _failed(frame)
        try:
            response = oip.messages.ModelInferResponse.FromString(frame.head)
        except DecodeError:
            raise ValueError("the reply is not a ModelInferResponse") from None
        return Answered(response, frame.segments)

    def close(self) -> None:
        """End the connection, with every call on it."""
        if self._connection is not None:
            self._connection.close()

    def _greet(self) -> None:
        self.up, self._trouble = True, ""
        if self._greeted is not None and not self._greeted.done():
            self._greeted.set_result(None)

    def _take(self, frame: lane.Frame) -> None:
        if frame.kind not in (lane.Kind.REPLY, lane.Kind.ERROR) or frame.id not in self._calls:
            raise lane.LaneFault(f"a gateway takes no frame of kind {frame.kind} with id {frame.id}")
        call = self._calls.pop(frame.id)
        if call is not None and not call.done():
            call.set_result(frame)

    def _late(self, id_: int) -> None:
        call = self._calls.get(id_)
        if call is not None and not call.done():
            self._abandon(id_)
            _fail(call, CallFailed(Code.DEADLINE_EXCEEDED, "no reply within the time"))

    def _abandon(self, id_: int) -> None:
        """Tell the worker that nobody waits for a call any more."""
        if self._connection is not None and id_ in self._calls:
            self._calls[id_] = None
            self._connection.send(lane.cancel(id_))

    def _ended(self, fault: lane.LaneFault | None) -> None:
        calls, self._calls = self._calls, {}
        self._connection, self._id = None, 0
        was_up, self.up = self.up, False
        self._refused = isinstance(fault, lane.VersionFault)
        if fault is not None:
            self._complain(str(fault))
        elif was_up:
            _log.info("model %s: the lane at %s has ended", self._model, self._path.name)
        elif self._greeted is not None and not self._greeted.done():
            self._complain("it was refused")
        if self._greeted is not None and not self._greeted.done():
            self._greeted.set_result(None)
        for call in calls.values():
            if call is not None and not call.done():
                broken = CallFailed(Code.UNAVAILABLE, "the lane broke")
                _fail(call, broken if fault is None else lane.LaneFault(str(fault)))

    def _complain(self, trouble: str) -> None:
        """Say once why calls go over gRPC."""
        if trouble != self._trouble:
            _log.warning("model %s: no lane at %s: %s", self._model, self._path.name, trouble)
        self._trouble = trouble


def _fail(call: asyncio.Future[lane.Frame], error: Exception) -> None:
    call.set_exception(error)
    call.exception()  # asked for, so that a caller who goes at this moment leaves no complaint


def _failed(frame: lane.Frame) -> CallFailed:
    try:
        status = status_pb2.Status.FromString(frame.head)
    except DecodeError:
        raise ValueError("an error without a status") from None
    return CallFailed(frame.argument, status.message, read_status(status).reason)
