"""What of a call's metadata goes on to the members: its id, its trace context, and what is allowed.

Rules:

- A request has one id in every log, in errors and at the members: the caller's own, else that of a proxy
  before us (``x-request-id``), else a fresh one. Only the caller's own is echoed in the answer.
- Trace context is passed on as it came; names beyond it come from ``server.pass_metadata``.
- A request is never refused for its metadata: what exceeds the bound, binary values, and other values that
  gRPC would not send are not passed on. gRPC takes more from a client than it sends to a server.

Source: W3C "Trace Context"; gRPC ``PROTOCOL-HTTP2.md`` (Custom-Metadata).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["MAX_ID", "MAX_METADATA_BYTES", "MAX_SHOWN_ID", "of_the_call", "passed_on", "request_id"]

REQUEST_ID = "x-request-id"
TRACE_CONTEXT = ("traceparent", "tracestate")
_NAMES_THE_REQUEST = {REQUEST_ID, *TRACE_CONTEXT}
#: Longest id of a request, in characters.
MAX_ID = 1024
#: How much of it an error shows, in characters: trailers are small.
MAX_SHOWN_ID = 128
#: Names and values together; gRPC itself drops what is far beyond.
MAX_METADATA_BYTES = 4096


def request_id(own: str, metadata: Mapping[str, str | bytes], fresh: Callable[[], str]) -> str:
    """Return the id of a request.

    Args:
        own: The id in the request itself; may be empty.
        metadata: The call's metadata, keys in lower case.
        fresh: Makes a new id.

    Example:
        >>> request_id("", {"x-request-id": "seen-by-proxy"}, lambda: "new")
        'seen-by-proxy'
    """
    given = metadata.get(REQUEST_ID, "")
    return own or (given if isinstance(given, str) and len(given) <= MAX_ID else "") or fresh()


def passed_on(
    metadata: Mapping[str, str | bytes], request: str, allowed: Iterable[str]
) -> tuple[tuple[str, str], ...]:
    """Return the metadata that members get.

    Args:
        metadata: The call's metadata, keys in lower case.
        request: The request's id; it goes along where a header can hold it.
        allowed: Names that go along besides the trace context.

    Example:
        >>> passed_on({"x-tenant": "red", "authorization": "secret"}, "7", ["x-tenant"])
        (('x-request-id', '7'), ('x-tenant', 'red'))
    """
    found: dict[str, str | bytes] = {REQUEST_ID: request}
    for name in (*TRACE_CONTEXT, *allowed):
        found.setdefault(name, metadata.get(name, ""))
    entries, left = [], MAX_METADATA_BYTES
    for name, value in found.items():
        size = len(name) + len(value)
        if isinstance(value, str) and _can_be_sent(value) and size <= left:
            entries.append((name, value))
            left -= size
    return tuple(entries)


def of_the_call(metadata: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Return what of it may change an answer: what was allowed, without what only names the request.

    Example:
        >>> of_the_call((("x-request-id", "7"), ("x-tenant", "red")))
        (('x-tenant', 'red'),)
    """
    return tuple(entry for entry in metadata if entry[0] not in _NAMES_THE_REQUEST)


def _can_be_sent(value: str) -> bool:
    return bool(value) and value.isascii() and value.isprintable()
