"""Who gets in, and until when."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from protos.errors import AccordError, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Admission", "deadline"]


def deadline(
    arrived: float, *, cap_s: float, rpc_deadline: float | None = None, timeout_s: float | None = None
) -> float:
    """Return a call's absolute deadline: the earliest of the RPC's, the request's own and the cap.

    Args:
        arrived: When the call arrived, monotonic seconds.
        cap_s: The ensemble's budget: both cap and default.
        rpc_deadline: The RPC's deadline, absolute; None = none.
        timeout_s: The budget named in the request; None = none.

    Example:
        >>> deadline(10.0, cap_s=30.0, rpc_deadline=15.0, timeout_s=2.0)
        12.0
    """
    until = arrived + min(cap_s, timeout_s or cap_s)
    return until if rpc_deadline is None else min(until, rpc_deadline)


class Admission:
    """Counts the calls in flight and refuses what is too much, too late or too large.

    Args:
        max_in_flight: Calls admitted at once.
        max_request_bytes: Largest request message.
        max_bytes_in_flight: Bytes of all request messages held at once.
    """

    def __init__(self, *, max_in_flight: int, max_request_bytes: int, max_bytes_in_flight: int) -> None:
        self._max_in_flight = max_in_flight
        self._max_request_bytes = max_request_bytes
        self._max_bytes_in_flight = max_bytes_in_flight
        self._bytes_in_flight = 0
        self.in_flight = 0
        self.draining = False

    @contextmanager
    def receive(self, request_bytes: int) -> Iterator[None]:
        """Hold room for a request message while it is read and answered.

        One message that is not too large always has room, whatever the limit of all.

        Raises:
            AccordError: REQUEST_TOO_LARGE or OVERLOADED.
        """
        if request_bytes > self._max_request_bytes:
            raise AccordError(
                Reason.REQUEST_TOO_LARGE,
                f"the request has {request_bytes} bytes; at most {self._max_request_bytes} are accepted",
            )
        if self._bytes_in_flight and self._bytes_in_flight + request_bytes > self._max_bytes_in_flight:
            raise AccordError(
                Reason.OVERLOADED,
                f"requests of {self._bytes_in_flight} bytes are in flight, and this one has {request_bytes}; "
                f"at most {self._max_bytes_in_flight} are accepted together; retry later",
            )
        self._bytes_in_flight += request_bytes
        try:
            yield
        finally:
            self._bytes_in_flight -= request_bytes

    @contextmanager
    def admit(self, now: float, until: float) -> Iterator[None]:
        """Hold a place for the duration of a call.

        Args:
            now: Monotonic time, in seconds.
            until: When waiting for members would have to end.

        Raises:
            AccordError: SHUTTING_DOWN, OVERLOADED or DEADLINE_AT_ADMISSION.
        """
        if self.draining:
            raise AccordError(Reason.SHUTTING_DOWN, "the server is shutting down; ask another one")
        if self.in_flight >= self._max_in_flight:
            raise AccordError(
                Reason.OVERLOADED, f"{self.in_flight} calls are in flight, which is the limit; retry later"
            )
        if until <= now:
            raise AccordError(
                Reason.DEADLINE_AT_ADMISSION, "the deadline leaves no time to work; give the call more"
            )
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
