"""Why a call to another server failed: its status, its words and its kind, to one cause.

Rules:

- A server of our own says its reason (``ErrorInfo`` of our domain), and that decides.
- Others are told apart by what they say of themselves, because one status means different things: Triton
  sheds work, runs out of time and refuses credentials all as UNAVAILABLE, MLServer calls a loading model a
  bad argument, KServe every failed model.
- Where no row of the tables fits, the status alone decides.
- Foreign words choose a row and end up in our log; no caller ever sees them.

Sources, all read in the code: Triton server e1db8a6 ``src/grpc``, core 73aad7c ``src``, onnxruntime_backend
``src/onnxruntime_utils.h``; MLServer a325e52 ``mlserver/{errors,grpc/utils,parallel/errors}.py``;
KServe aaac4e2 ``python/kserve/kserve/{errors,protocol/grpc/interceptors,protocol/infer_type}.py``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from protos.errors import Cause, Code, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["CallFailed", "Diagnosis", "Kind", "diagnose", "kind_of"]

#: Statuses that we never answer ourselves, and so have no name in the error table.
_UNKNOWN, _OUT_OF_RANGE = 2, 11


class Kind(Enum):
    """What software a server is."""

    ACCORD = "accord"
    TRITON = "triton"
    MLSERVER = "mlserver"
    KSERVE = "kserve"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a failed call means.

    Args:
        cause: Why it failed.
        out: Whether the replica should get no further call until it is found ready again.
    """

    cause: Cause
    out: bool = False


class CallFailed(Exception):  # noqa: N818 - a failed call is the field's word
    """A call that ended with a status, whatever carried it.

    Args:
        code: Its gRPC status.
        text: The status's words, for our log.
        reason: The reason in an error of our own kind; empty = none.
    """

    def __init__(self, code: int, text: str, reason: str = "") -> None:
        super().__init__(code, text, reason)
        self.code = code
        self.text = text
        self.reason = reason


def kind_of(name: str, extensions: Iterable[str]) -> Kind:
    """Tell what software answers, from its ``ServerMetadata``.

    Triton can be renamed (``--id``), so its extensions tell as well.

    Example:
        >>> kind_of("night-shift", ["classification", "schedule_policy"])
        <Kind.TRITON: 'triton'>
    """
    for kind in Kind:
        if name.startswith(kind.value):
            return kind
    return Kind.TRITON if "schedule_policy" in extensions else Kind.OTHER


def diagnose(kind: Kind, code: int, text: str, reason: str = "") -> Diagnosis:
    """Find out why a call failed.

    Args:
        kind: The server's kind.
        code: The call's gRPC status.
        text: The status's words.
        reason: The reason in an error of our own kind; empty = none.

    Example:
        >>> diagnose(Kind.TRITON, 14, "[request id: 7] Exceeds maximum queue size").cause.name
        'MEMBER_RESOURCE_EXHAUSTED'
        >>> diagnose(Kind.OTHER, 14, "failed to connect to all addresses")
        Diagnosis(cause=<Cause.BACKEND_UNREACHABLE...>, out=True)
    """
    if reason in Reason.__members__:
        cause = _BY_REASON.get(Reason[reason]) or _BY_CODE.get(code, Cause.MEMBER_INTERNAL)
        return Diagnosis(cause, out=cause is Cause.MEMBER_NOT_READY)
    for row in _BY_TEXT:
        if row.code == code and row.kind in (None, kind) and row.words.search(text):
            return Diagnosis(row.cause, out=row.cause in _OUT)
    cause = _DEFAULTS.get((kind, code)) or _BY_CODE.get(code, Cause.MEMBER_INTERNAL)
    return Diagnosis(cause, out=cause in _OUT)


#: What a server of our own answers, where its status alone would say too little.
_BY_REASON = {
    Reason.MODEL_NOT_READY: Cause.MEMBER_NOT_READY,
    Reason.SHUTTING_DOWN: Cause.MEMBER_NOT_READY,
    Reason.QUORUM_NOT_MET: Cause.QUORUM_NOT_MET,
    # fewer rows per call would pass: the engine asks again rider by rider
    Reason.REQUEST_TOO_LARGE: Cause.MEMBER_REJECTED_INPUT,
    Reason.DEVICE_OOM: Cause.DEVICE_OOM,
    Reason.NONFINITE_OUTPUT: Cause.NONFINITE_OUTPUT,
    Reason.COMBINE_FAILED: Cause.COMBINE_FAILED,
    Reason.MEMBER_BAD_OUTPUT: Cause.MEMBER_BAD_OUTPUT,
}

#: Source: gRPC ``statuscodes.md``. A status that is not here is the server's own fault.
_BY_CODE = {
    int(Code.INVALID_ARGUMENT): Cause.MEMBER_REJECTED_INPUT,
    _OUT_OF_RANGE: Cause.MEMBER_REJECTED_INPUT,
    int(Code.NOT_FOUND): Cause.MEMBER_NOT_FOUND,
    int(Code.UNAUTHENTICATED): Cause.MEMBER_FORBIDDEN,
    int(Code.PERMISSION_DENIED): Cause.MEMBER_FORBIDDEN,
    int(Code.RESOURCE_EXHAUSTED): Cause.MEMBER_RESOURCE_EXHAUSTED,
    int(Code.DEADLINE_EXCEEDED): Cause.MEMBER_TIMEOUT,
    int(Code.UNIMPLEMENTED): Cause.MEMBER_UNSUPPORTED,
    int(Code.UNAVAILABLE): Cause.BACKEND_UNREACHABLE,
    # we cancel no call whose outcome we still read: the connection was taken away
    int(Code.CANCELLED): Cause.BACKEND_UNREACHABLE,
}

_OUT = {Cause.BACKEND_UNREACHABLE, Cause.MEMBER_NOT_READY}

#: What a status means at one kind of server when its words say nothing that we know.
_DEFAULTS = {
    # names, datatypes and shapes were checked before we asked: what is left is a model that failed
    (Kind.KSERVE, int(Code.INVALID_ARGUMENT)): Cause.MEMBER_INTERNAL,
}


@dataclass(frozen=True, slots=True)
class _Row:
    kind: Kind | None
    code: Code | int
    words: re.Pattern[str]
    cause: Cause


def _rows(kind: Kind | None, *rows: tuple[Code | int, str, Cause]) -> tuple[_Row, ...]:
    return tuple(_Row(kind, code, re.compile(words), cause) for code, words, cause in rows)


#: How the libraries behind the Python servers complain about a value; the same words are theirs everywhere.
#: Source: scikit-learn ``utils/validation.py``.
_VALUE = r"contains (NaN|infinity)|features, but \w+ is expecting"
_NO_MEMORY = r"(?i)out of memory|failed to allocate memory|ALLOC_FAILED|bad_alloc"

_BY_TEXT = (
    *_rows(
        Kind.TRITON,
        (Code.UNAVAILABLE, r"Exceeds maximum queue size", Cause.MEMBER_RESOURCE_EXHAUSTED),
        (Code.UNAVAILABLE, r"memory allocation failed", Cause.MEMBER_RESOURCE_EXHAUSTED),
        (Code.UNAVAILABLE, r"timeout expired|timeout of the .* has been expired", Cause.MEMBER_TIMEOUT),
        (Code.UNAVAILABLE, r"protocol is restricted", Cause.MEMBER_FORBIDDEN),
        (
            Code.UNAVAILABLE,
            r"not at ready state|[Ss]erver (not ready|exiting|is stopping|is shutting down)",
            Cause.MEMBER_NOT_READY,
        ),
        (Code.NOT_FOUND, r"has no available versions", Cause.MEMBER_NOT_READY),
        (Code.INVALID_ARGUMENT, r"Request for unknown model", Cause.MEMBER_NOT_FOUND),
        (Code.INVALID_ARGUMENT, r"unexpected deadlock", Cause.MEMBER_INTERNAL),
    ),
    *_rows(
        Kind.MLSERVER,
        (Code.INVALID_ARGUMENT, r"is not ready yet", Cause.MEMBER_NOT_READY),
        (Code.INVALID_ARGUMENT, r"returned no (metadata|predictions)", Cause.MEMBER_INTERNAL),
        (Code.INTERNAL, r"Worker process stopped unexpectedly", Cause.WORKER_CRASHED),
        (Code.INTERNAL, _VALUE, Cause.MEMBER_REJECTED_INPUT),
    ),
    *_rows(
        Kind.KSERVE,
        (
            Code.INVALID_ARGUMENT,
            r"invalid datatype|[Rr]aw.input.contents|raw_data|field is missing|" + _VALUE,
            Cause.MEMBER_REJECTED_INPUT,
        ),
        # KServe trips over its own ModelNotReady, which lacks what its interceptor reads
        (_UNKNOWN, r"ModelNotReady|ServerNotReady", Cause.MEMBER_NOT_READY),
    ),
    *_rows(
        None,
        # gRPC's own limit of a message's size, of the request or the answer; see REQUEST_TOO_LARGE above
        (
            Code.RESOURCE_EXHAUSTED,
            r"(SERVER|CLIENT): (Received|Sent) message larger",
            Cause.MEMBER_REJECTED_INPUT,
        ),
        # an error whose words, a traceback for instance, do not fit into the trailers
        (Code.RESOURCE_EXHAUSTED, r"received metadata size exceeds", Cause.MEMBER_INTERNAL),
        (Code.INTERNAL, r"RST_STREAM", Cause.BACKEND_UNREACHABLE),
        # ONNX Runtime's INVALID_ARGUMENT, as Triton's backend and the runtime's Python interface word it
        (
            Code.INTERNAL,
            r"onnx runtime error 2:|\[ONNXRuntimeError\] : 2 :",
            Cause.MEMBER_REJECTED_INPUT,
        ),
        (Code.INTERNAL, _NO_MEMORY, Cause.DEVICE_OOM),
    ),
)
