"""Where a transport-free service meets grpc.aio: raw bytes in, raw bytes or a precise status out.

Rules, each with a regression test:

- Only generic handlers: one accept loop per server instead of one per method, and the bytes are parsed
  here, so that a malformed message is answered INVALID_ARGUMENT instead of gRPC's UNKNOWN.
- Nothing but :class:`AccordError` reaches a client. Any other exception is logged and answered INTERNAL.
- A ``CancelledError`` that the client did not cause must not escape: grpc.aio would send no status
  at all and the client would wait to its deadline (grpc/grpc#29248).
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import grpc
from google.protobuf.message import DecodeError

from protos.errors import INTERNAL_TEXT, AccordError, Reason, to_status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from google.protobuf.message import Message

__all__ = [
    "CHANNEL_OPTIONS",
    "MAX_MESSAGE_BYTES",
    "SERVER_OPTIONS",
    "CallContext",
    "Method",
    "handlers",
    "internal_error",
]

_log = logging.getLogger(__name__)

#: gRPC's own receive limit, everywhere. Ours (``max_request_bytes``) is lower and answers first.
MAX_MESSAGE_BYTES = 64 * 1024 * 1024

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
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.server_handshake_timeout_ms", 10_000),
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


@dataclass(frozen=True, slots=True)
class CallContext:
    """What a service may know of the call that brings a request.

    Args:
        arrived: Monotonic time of arrival, in seconds.
        deadline: Absolute monotonic time of the RPC's deadline, or None if it has none.
        peer: The caller's address, for logs.
        metadata: The call's metadata.
        request_bytes: Length of the serialised request.
    """

    arrived: float
    deadline: float | None = None
    peer: str = ""
    metadata: Mapping[str, str | bytes] | None = None
    request_bytes: int = 0


class Serve(Protocol):
    """A unary method of a service: a request message in, a response message out, or an AccordError."""

    def __call__(self, request: Any, context: CallContext, /) -> Awaitable[Message]: ...


@dataclass(frozen=True, slots=True)
class Method:
    """One unary method: the message it takes and what serves it."""

    request: type[Message]
    serve: Serve


def handlers(
    service: str,
    methods: Mapping[str, Method],
    *,
    unsupported: Iterable[str] = (),
    clock: Callable[[], float] = time.monotonic,
) -> grpc.GenericRpcHandler:
    """Join a service to grpc.aio.

    Args:
        service: Full name of the service.
        methods: Unary methods by name.
        unsupported: Names of further methods of the protocol, answered UNSUPPORTED.
        clock: Source of monotonic time.
    """
    table = {f"/{service}/{name}": _unary(method, clock) for name, method in methods.items()}
    for name in unsupported:
        table[f"/{service}/{name}"] = _refusal(name)
    return _Table(table)


class _Table(grpc.GenericRpcHandler):
    def __init__(self, table: Mapping[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        self._table = table

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        return self._table.get(handler_call_details.method or "")


def _unary(method: Method, clock: Callable[[], float]) -> grpc.RpcMethodHandler[Any, Any]:
    async def handle(data: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        arrived = clock()
        left = context.time_remaining()
        call = CallContext(
            arrived=arrived,
            # without a deadline gRPC reports one that is centuries away
            deadline=None if left is None or left > 1e8 else arrived + left,
            peer=context.peer(),
            metadata=dict(context.invocation_metadata() or ()),
            request_bytes=len(data),
        )
        try:
            try:
                request = method.request.FromString(data)
            except DecodeError:
                raise AccordError(
                    Reason.MALFORMED_REQUEST,
                    f"the request is not a valid {method.request.DESCRIPTOR.full_name}",
                    field="(message)",
                ) from None
            response = await method.serve(request, call)
            return response.SerializeToString()
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

    return grpc.unary_unary_rpc_method_handler(handle)


def _refusal(name: str) -> grpc.RpcMethodHandler[Any, Any]:
    async def refuse(_data: Any, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        return await _abort(context, AccordError(Reason.UNSUPPORTED, f"{name} is not offered by this server"))

    return grpc.unary_unary_rpc_method_handler(refuse)


def internal_error() -> AccordError:
    """Return the error that stands for any bug of ours: a fixed text and nothing else."""
    return AccordError(Reason.INTERNAL, INTERNAL_TEXT)


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: AccordError) -> bytes:
    status = to_status(error)
    code = _CODES[int(error.reason.code)]
    trailer = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(code, status.message, trailer)
    raise AssertionError  # abort always raises


_CODES = {code.value[0]: code for code in grpc.StatusCode}
