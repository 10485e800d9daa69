"""What a service without a transport is: methods over messages, and what they may know of a call.

Whatever connects a service to the world (``protos.rpc`` to grpc.aio) speaks these types and no others.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError, Message

from protos.errors import AccordError, Reason

__all__ = [
    "CallContext",
    "Method",
    "Received",
    "Rpc",
    "Serve",
    "ServeMany",
    "ServeStream",
    "ServerStream",
    "Stream",
    "parsed",
]


@dataclass(frozen=True, slots=True)
class CallContext:
    """What a service may know of the call that brings a request.

    Args:
        arrived: Monotonic time of arrival, in seconds.
        deadline: Absolute monotonic time of the RPC's deadline, or None if it has none.
        peer: The caller's address, for logs.
        metadata: The call's metadata.
        request_bytes: Length of the serialised request.
        raws: The request's raw contents, where they were taken out of it; None = they are in it.
    """

    arrived: float
    deadline: float | None = None
    peer: str = ""
    metadata: Mapping[str, str | bytes] | None = None
    request_bytes: int = 0
    raws: Sequence[bytes | memoryview] | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """One message of a client's stream.

    Args:
        context: The call's context, with this message's own arrival and length.
        request: The message; None if it is malformed.
        error: Why it is malformed; None if it is not.
    """

    context: CallContext
    request: Any = None
    error: AccordError | None = None


#: A unary method: a request message in, a response message out, or an AccordError.
Serve = Callable[[Any, CallContext], Awaitable[Message]]
#: A method that answers one request with several messages; an AccordError ends the call.
ServeMany = Callable[[Any, CallContext], AsyncGenerator[Message, None]]
#: A method that answers a stream with a stream; an AccordError ends the call.
ServeStream = Callable[[AsyncIterator[Received], CallContext], AsyncGenerator[Message, None]]


@dataclass(frozen=True, slots=True)
class Method:
    """One unary method: the message it takes and what serves it.

    Args:
        request: The message.
        serve: What serves it.
        apart: Takes tensors out of a long request's bytes: returns the rest, and what was taken.
    """

    request: type[Message]
    serve: Serve
    apart: Callable[[bytes], tuple[bytes, Sequence[memoryview] | None]] | None = None


@dataclass(frozen=True, slots=True)
class ServerStream:
    """One method with a stream of answers: the message it takes and what serves it."""

    request: type[Message]
    serve: ServeMany


@dataclass(frozen=True, slots=True)
class Stream:
    """One method with streams both ways: the messages it takes and what serves it."""

    request: type[Message]
    serve: ServeStream


#: One method of a service, of whichever form.
Rpc = Method | ServerStream | Stream


def parsed(request: type[Message], data: bytes) -> Message:
    """Read a request.

    Raises:
        AccordError: MALFORMED_REQUEST.
    """
    try:
        return request.FromString(data)
    except DecodeError:
        raise AccordError(
            Reason.MALFORMED_REQUEST,
            f"the request is not a valid {request.DESCRIPTOR.full_name}",
            field="(message)",
        ) from None
