"""Serves the lane (:mod:`protos.lane`): the same service as over gRPC, for a gateway on the same host.

Rules:

- The socket is its owner's alone (mode 0600), and each caller's user is checked besides.
- Every REQUEST gets exactly one REPLY or ERROR, one that is cancelled included: so the gateway knows which
  ids may still come.
- The same errors in the same words as over gRPC; nothing but an :class:`AccordError` says more than INTERNAL.
- What breaks the lane's rules ends the caller's connection, and its requests; others go on.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import socket
import stat
import struct
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from google.rpc import status_pb2

from protos import lane
from protos.address import AddressError
from protos.errors import AccordError, Code, internal_error, to_status
from protos.oip import messages
from protos.service import CallContext, parsed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from workers.service import Service

__all__ = ["Lane"]

_log = logging.getLogger(__name__)

_BACKLOG = 16
#: How long nobody is let in after somebody could not be: he still waits, and would be found again at once.
_ACCEPT_AGAIN_S = 1.0
#: pid, uid, gid. Source: ``unix(7)``, ``SO_PEERCRED``.
_CREDENTIALS = struct.Struct("3i")


class Lane:
    """A listening lane; it serves from the start.

    Args:
        service: What it serves.
        path: Where to listen; a socket that a former process left there is replaced.
        clock: Source of monotonic time, the same as the service's.

    Raises:
        AddressError: If the path cannot be bound.
    """

    def __init__(self, service: Service, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._service = service
        self._clock = clock
        self._callers: set[_Caller] = set()
        self._listener = _listen(path)
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._again: asyncio.TimerHandle | None = None
        self._admit()

    async def stop(self, drain_s: float) -> None:
        """Take no more callers, finish the requests under way, and end after ``drain_s`` at the latest."""
        self._loop.remove_reader(self._listener)
        if self._again is not None:
            self._again.cancel()
        self._listener.close()
        self._path.unlink(missing_ok=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(drain_s):
                await asyncio.gather(*(caller.drained() for caller in self._callers))
        for caller in tuple(self._callers):
            caller.close()

    def _admit(self) -> None:
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError as error:  # too many files, say; the caller asks over gRPC meanwhile
            _log.warning("the lane could not be joined", extra={"cause": str(error)})
            self._loop.remove_reader(self._listener)
            self._again = self._loop.call_later(_ACCEPT_AGAIN_S, self._admit)
            return
        _, user, _ = _CREDENTIALS.unpack(
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
        if user != os.geteuid():
            _log.warning("the lane was refused to another user", extra={"uid": user})
            sock.close()
            return
        caller = _Caller(self._service, sock, self._clock, self._callers.discard)
        if not caller.closed:
            self._callers.add(caller)


class _Caller:
    """One gateway's connection and its requests."""

    def __init__(
        self,
        service: Service,
        sock: socket.socket,
        clock: Callable[[], float],
        on_end: Callable[[_Caller], None],
    ) -> None:
        self._service = service
        self._clock = clock
        self._left = on_end
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._last = 0
        self._loop = asyncio.get_running_loop()
        self._connection = lane.Connection(sock, on_frame=self._take, on_end=self._ended, answers=True)

    @property
    def closed(self) -> bool:
        """Whether the connection has ended."""
        return self._connection.closed

    async def drained(self) -> None:
        """Wait until the requests under way have been answered, and the answers taken."""
        if self._tasks:
            await asyncio.wait(self._tasks.values())
        await self._connection.flushed()

    def close(self) -> None:
        """End the connection, with every request on it."""
        self._connection.close()

    def _take(self, frame: lane.Frame) -> None:
        if frame.kind == lane.Kind.REQUEST:
            if frame.id <= self._last:
                raise lane.LaneFault(f"request {frame.id} comes after request {self._last}")
            self._last = frame.id
            self._tasks[frame.id] = self._loop.create_task(self._serve(frame, self._clock()))
        elif frame.kind == lane.Kind.CANCEL and frame.id <= self._last:
            # one that is no longer there has been answered already
            if task := self._tasks.get(frame.id):
                self._cancel(frame.id, task)
        else:
            raise lane.LaneFault(f"a worker takes no frame of kind {frame.kind} with id {frame.id}")

    def _cancel(self, id_: int, task: asyncio.Task[None]) -> None:
        # one that is cancelled before its first step never takes it, and so answers nothing
        serving = task.get_coro()
        unbegun = inspect.iscoroutine(serving) and inspect.getcoroutinestate(serving) == inspect.CORO_CREATED
        task.cancel()
        if unbegun:
            del self._tasks[id_]
            self._connection.send(_cancelled(id_))

    def _ended(self, fault: lane.LaneFault | None) -> None:
        if fault is not None:
            _log.warning("the lane was broken", extra={"cause": str(fault)})
        for task in self._tasks.values():
            task.cancel()
        self._left(self)

    async def _serve(self, frame: lane.Frame, arrived: float) -> None:
        try:
            buffers = await self._answer(frame, arrived)
        except AccordError as error:
            buffers = _refused(frame.id, error)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                _log.exception("a request was cancelled by its own side")
                buffers = _refused(frame.id, internal_error())
            else:
                buffers = _cancelled(frame.id)
        except Exception:  # noqa: BLE001 - the last resort, as in protos.rpc
            _log.exception("a request failed")
            buffers = _refused(frame.id, internal_error())
        del self._tasks[frame.id]
        self._connection.send(buffers)

    async def _answer(self, frame: lane.Frame, arrived: float) -> list[bytes | memoryview]:
        request = parsed(messages.ModelInferRequest, frame.head)
        context = CallContext(
            arrived=arrived,
            deadline=arrived + frame.argument / 1e6 if frame.argument else None,
            peer="lane",
            request_bytes=len(frame.head) + sum(map(len, frame.segments)),
            raws=frame.segments,
        )
        answered: list[bytes | memoryview] = []
        response = await self._service.model_infer(request, context, answered)
        return lane.reply(frame.id, response.SerializeToString(), answered)


def _refused(id_: int, error: AccordError) -> list[bytes | memoryview]:
    return lane.error(id_, error.reason.code, to_status(error).SerializeToString())


def _cancelled(id_: int) -> list[bytes | memoryview]:
    status = status_pb2.Status(code=Code.CANCELLED, message="cancelled")
    return lane.error(id_, Code.CANCELLED, status.SerializeToString())


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            path.unlink()
        listener.bind(str(path))
        # nobody can connect before it listens
        path.chmod(0o600)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise AddressError(
            f"cannot listen on {str(path)!r}; is it in use, or its directory missing?"
        ) from None
    return listener
