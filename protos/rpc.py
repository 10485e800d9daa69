"""Where a transport-free service meets grpc.aio: raw bytes in, raw bytes or a precise status out.

Rules, each with a regression test:

- Only generic handlers: one accept loop per server instead of one per method, and the bytes are parsed
  here, so that a malformed message is answered INVALID_ARGUMENT instead of gRPC's UNKNOWN.
- Nothing but :class:`AccordError` reaches a client. Any other exception is logged and answered INTERNAL.
- A ``CancelledError`` that the client did not cause must not escape: grpc.aio would send no status
  at all and the client would wait to its deadline (grpc/grpc#29248).
- In a stream, a malformed message is a value like the others: what it ends is the service's to say.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc

from protos.details import TRAILER
from protos.errors import AccordError, Reason, internal_error, to_status
from protos.service import CallContext, Method, Received, ServerStream, Stream, parsed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping

    from google.protobuf.message import Message

    from protos.service import Rpc

__all__ = [
    "CHANNEL_OPTIONS",
    "MAX_MESSAGE_BYTES",
    "SERVER_OPTIONS",
    "SHARED_PORT_OPTIONS",
    "handlers",
]

_log = logging.getLogger(__name__)

_Context = grpc.aio.ServicerContext[Any, Any]

#: gRPC's own receive limit, everywhere. Ours (``max_request_bytes``) is lower and answers first.
MAX_MESSAGE_BYTES = 64 * 1024 * 1024

#: From what length on a request's tensors are taken out before it is parsed: of a shorter one the copies cost
#: less than the walk.
LONG_BYTES = 64 * 1024

_MESSAGE_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
)

#: Source: gRPC ``grpc_types.h``; gRFC A8 (keepalive). Defaults of gRPC are unsafe for a server.
SERVER_OPTIONS = (
    *_MESSAGE_OPTIONS,
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # without these two, a client that pings while it has no calls is sent away: "too_many_pings"
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.server_handshake_timeout_ms", 10_000),
)

#: For processes that listen on one port together; everybody else must find a port in use.
SHARED_PORT_OPTIONS = (
    *(option for option in SERVER_OPTIONS if option[0] != "grpc.so_reuseport"),
    ("grpc.so_reuseport", 1),
)

#: Reconnect quickly: gRPC's own back-off (1 s to 120 s) is made for the wide area, not for a local worker.
CHANNEL_OPTIONS = (
    *_MESSAGE_OPTIONS,
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_retries", 0),
)


def handlers(
    service: str,
    methods: Mapping[str, Rpc],
    *,
    unsupported: Mapping[str, str] | None = None,
    guard: Callable[[CallContext], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> grpc.GenericRpcHandler:
    """Join a service to grpc.aio.

    Args:
        service: Full name of the service.
        methods: What it offers, by name.
        unsupported: Further methods of the protocol, answered UNSUPPORTED: why, by name.
        guard: Raises an AccordError for callers who may not call; asked before a request is read.
        clock: Source of monotonic time.
    """

    def receive(context: _Context, request_bytes: int) -> CallContext:
        call = _call(context, clock(), request_bytes)
        if guard is not None:
            guard(call)
        return call

    table = {f"/{service}/{name}": _handler(method, receive, clock) for name, method in methods.items()}
    for name, why in (unsupported or {}).items():
        table[f"/{service}/{name}"] = _refusal(why)
    return _Table(table)


class _Table(grpc.GenericRpcHandler):
    def __init__(self, table: Mapping[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        self._table = table

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        return self._table.get(handler_call_details.method or "")


#: Takes a call in: its context and the length of its request.
_Receive = Callable[[_Context, int], CallContext]


def _handler(method: Rpc, receive: _Receive, clock: Callable[[], float]) -> grpc.RpcMethodHandler[Any, Any]:
    match method:
        case Method():
            return grpc.unary_unary_rpc_method_handler(_unary(method, receive))
        case ServerStream():
            return grpc.unary_stream_rpc_method_handler(_server_stream(method, receive))
        case Stream():
            return grpc.stream_stream_rpc_method_handler(_stream(method, receive, clock))


def _unary(method: Method, receive: _Receive) -> Any:
    async def answer(data: bytes, context: _Context) -> bytes:
        call = receive(context, len(data))
        if method.apart is not None and len(data) >= LONG_BYTES:
            data, raws = method.apart(data)
            call = replace(call, raws=raws)
        response = await method.serve(parsed(method.request, data), call)
        return response.SerializeToString()

    async def handle(data: bytes, context: _Context) -> Any:
        return await _guarded(context, answer(data, context))

    return handle


def _server_stream(method: ServerStream, receive: _Receive) -> Any:
    async def answer(data: bytes, context: _Context) -> None:
        call = receive(context, len(data))
        await _write_all(context, method.serve(parsed(method.request, data), call))

    async def handle(data: bytes, context: _Context) -> None:
        await _guarded(context, answer(data, context))

    return handle


def _stream(method: Stream, receive: _Receive, clock: Callable[[], float]) -> Any:
    async def answer(incoming: AsyncIterator[bytes], context: _Context) -> None:
        call = receive(context, 0)
        received = _received(incoming, method.request, call, clock)
        await _write_all(context, method.serve(received, call))

    async def handle(incoming: AsyncIterator[bytes], context: _Context) -> None:
        await _guarded(context, answer(incoming, context))

    return handle


async def _received(
    incoming: AsyncIterator[bytes], request: type[Message], call: CallContext, clock: Callable[[], float]
) -> AsyncGenerator[Received, None]:
    async for data in incoming:
        context = replace(call, arrived=clock(), request_bytes=len(data))
        try:
            yield Received(context, request=parsed(request, data))
        except AccordError as error:
            yield Received(context, error=error)


async def _write_all(context: _Context, answers: AsyncGenerator[Message, None]) -> None:
    async with aclosing(answers):
        async for answer in answers:
            await context.write(answer.SerializeToString())


def _call(context: _Context, arrived: float, request_bytes: int) -> CallContext:
    left = context.time_remaining()
    return CallContext(
        arrived=arrived,
        # without a deadline gRPC reports one that is centuries away
        deadline=None if left is None or left > 1e8 else arrived + left,
        peer=context.peer(),
        metadata=dict(context.invocation_metadata() or ()),
        request_bytes=request_bytes,
    )


async def _guarded(context: _Context, answer: Awaitable[bytes | None]) -> Any:
    """Turn whatever goes wrong into a status; see the rules above."""
    try:
        return await answer
    except AccordError as error:
        return await _abort(context, error)
    except asyncio.CancelledError:
        # pending only where gRPC itself cancelled the task: the client left, or its deadline passed
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        _log.exception("a handler was cancelled by its own side")
        return await _abort(context, internal_error())
    except Exception:  # noqa: BLE001 - the last resort, see the rules above
        _log.exception("a handler failed")
        return await _abort(context, internal_error())


def _refusal(why: str) -> grpc.RpcMethodHandler[Any, Any]:
    async def refuse(_data: Any, context: _Context) -> Any:
        return await _abort(context, AccordError(Reason.UNSUPPORTED, why))

    return grpc.unary_unary_rpc_method_handler(refuse)


async def _abort(context: _Context, error: AccordError) -> Any:
    status = to_status(error)
    code = _CODES[int(error.reason.code)]
    trailer = ((TRAILER, status.SerializeToString()),)
    await context.abort(code, status.message, trailer)
    raise AssertionError  # abort always raises


_CODES = {code.value[0]: code for code in grpc.StatusCode}
