"""Every error of Accord: one reason, one gRPC status, one table.

How an error travels: whoever finds a fault raises :class:`AccordError` (a request's fault) or returns
a failure value (a member's fault, ``gateway.values.Failure``). The engine's verdict turns member failures
into an :class:`AccordError`. The rim (``protos.rpc``) renders it as ``google.rpc.Status``. Anything else
that reaches the rim is a bug: it is logged with its traceback and answered as INTERNAL with a fixed text.

Sources: gRPC status code guide; google.rpc ``code.proto`` and ``error_details.proto``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, cast

from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from accord.v1 import errors_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from google.protobuf.message import Message

    from protos.tensor import TensorFault

__all__ = [
    "DOMAIN",
    "INTERNAL_TEXT",
    "AccordError",
    "Cause",
    "Code",
    "Outcome",
    "Reason",
    "Retry",
    "internal_error",
    "to_status",
]

DOMAIN = "accord"

#: Trailers beyond gRPC's soft metadata limit of 8 KiB may be dropped; ours stay below.
MAX_TRAILER_BYTES = 6 * 1024
MAX_MESSAGE_BYTES = 512


class Code(IntEnum):
    """gRPC status codes by number, so that errors need no gRPC. Source: gRPC ``statuscodes.md``."""

    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class Retry(Enum):
    """Whether the same call may be sent again."""

    NEVER = "no"
    BACKOFF = "yes, with back-off"
    LATER = "later, after the delay in RetryInfo"
    CALLER = "the caller decides"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the error table: status, retry, what it means and what to do."""

    code: Code
    retry: Retry
    meaning: str
    remedy: str


_INVALID, _BACKOFF = (Code.INVALID_ARGUMENT, Retry.NEVER), (Code.UNAVAILABLE, Retry.BACKOFF)
_SHED, _LATE = (Code.RESOURCE_EXHAUSTED, Retry.LATER), (Code.DEADLINE_EXCEEDED, Retry.CALLER)
_FAULT = (Code.INTERNAL, Retry.NEVER)


class Reason(Enum):
    """Why a call failed. One line each; numbers and names stand in ``errors.proto``."""

    # fmt: off - a table reads by its columns
    MALFORMED_REQUEST = Row(
        *_INVALID,
        "The bytes are not a message of the expected type.",
        "Use stubs generated from the published protos.",
    )
    INPUT_MISSING = Row(
        *_INVALID, "A required input tensor is absent.", "Send every input that the model's metadata lists."
    )
    INPUT_UNKNOWN = Row(
        *_INVALID,
        "An input or output name is unknown, or given twice.",
        "Use the names of the model's metadata, each once.",
    )
    DTYPE_MISMATCH = Row(
        *_INVALID,
        "A datatype is unknown or differs from the model's.",
        "Send the datatype that the metadata lists.",
    )
    SHAPE_MISMATCH = Row(
        *_INVALID,
        "A shape does not fit the model's, or inputs disagree on rows.",
        "Send shapes that fit the metadata; -1 there means any length.",
    )
    TENSOR_SIZE_MISMATCH = Row(
        *_INVALID,
        "A tensor's bytes or elements do not match its datatype and shape.",
        "Check the encoding; BYTES elements are length-prefixed.",
    )
    TENSOR_ENCODING_CONFLICT = Row(
        *_INVALID,
        "Raw and typed contents are mixed, or the form cannot carry the datatype.",
        "Send all inputs raw, or all typed; FP16 and BF16 only raw.",
    )
    PARAMETER_INVALID = Row(
        *_INVALID,
        "A parameter has a wrong type or value, or an override is not permitted.",
        "See the message; permitted overrides stand in the ensemble's description.",
    )
    INPUT_REJECTED = Row(
        *_INVALID, "A model refused the input's values.", "Check the values against what the model accepts."
    )
    CONFIG_INVALID = Row(
        *_INVALID,
        "A submitted configuration is wrong.",
        "Mend the fields that the message names; try `accord check`.",
    )
    MODEL_NOT_FOUND = Row(
        Code.NOT_FOUND,
        Retry.NEVER,
        "No model or ensemble has this name.",
        "List the names with `accord status`.",
    )
    VERSION_NOT_FOUND = Row(
        Code.NOT_FOUND,
        Retry.NEVER,
        "The model exists, this version of it does not.",
        "Leave the version empty for the served one.",
    )
    CONFIG_REJECTED = Row(
        Code.FAILED_PRECONDITION,
        Retry.NEVER,
        "A valid configuration cannot be applied now.",
        "See the message.",
    )
    MODEL_LOAD_FAILED = Row(
        Code.FAILED_PRECONDITION,
        Retry.NEVER,
        "A model could not be loaded.",
        "See the worker's log; it names file and cause.",
    )
    MODEL_NOT_READY = Row(
        *_BACKOFF,
        "The model is known, but loading, failed or down.",
        "Retry with back-off; see `accord status`.",
    )
    SHUTTING_DOWN = Row(*_BACKOFF, "The server is draining.", "Retry; another server will answer.")
    MEMBER_UNAVAILABLE = Row(
        *_BACKOFF, "A needed member could not be reached or died.", "Retry with back-off."
    )
    QUORUM_NOT_MET = Row(
        *_BACKOFF,
        "Too few members gave a usable answer, but a retry may gather enough.",
        "Retry with back-off, or lower the quorum.",
    )
    OVERLOADED = Row(
        *_SHED, "The server has more calls in flight than it admits.", "Retry after the delay; add capacity."
    )
    QUEUE_FULL = Row(*_SHED, "A queue is full.", "Retry after the delay.")
    QUOTA_EXCEEDED = Row(*_SHED, "The caller's quota is used up.", "Retry after the delay.")
    REQUEST_TOO_LARGE = Row(
        Code.RESOURCE_EXHAUSTED,
        Retry.NEVER,
        "The message is larger than `max_request_bytes`, or its answer larger than a message may be.",
        "Send fewer rows per call.",
    )
    DEVICE_OOM = Row(
        *_SHED, "An accelerator ran out of memory.", "Send fewer rows, or retry after the delay."
    )
    MEMBER_RESOURCE_EXHAUSTED = Row(*_SHED, "A needed member shed the work.", "Retry after the delay.")
    STORAGE_FULL = Row(*_SHED, "There is no space to store a model.", "Free space, then retry.")
    DEADLINE_AT_ADMISSION = Row(
        *_LATE,
        "The deadline had passed, or left no time to work, when the call arrived.",
        "Give the call more time.",
    )
    DEADLINE_IN_QUEUE = Row(
        *_LATE, "The deadline passed while the call waited.", "Give the call more time, or add capacity."
    )
    DEADLINE_IN_MEMBER = Row(
        *_LATE,
        "The deadline passed while a needed member worked.",
        "Give the call more time, or make the member optional.",
    )
    CLIENT_CANCELLED = Row(Code.CANCELLED, Retry.CALLER, "The caller went away.", "Nothing to do.")
    AUTH_MISSING = Row(Code.UNAUTHENTICATED, Retry.NEVER, "Credentials are required.", "Send them.")
    AUTH_INVALID = Row(
        Code.UNAUTHENTICATED, Retry.NEVER, "The credentials are wrong or expired.", "Renew them."
    )
    MODEL_FORBIDDEN = Row(
        Code.PERMISSION_DENIED, Retry.NEVER, "The caller may not use this model or call.", "Ask the operator."
    )
    NONFINITE_OUTPUT = Row(
        *_FAULT,
        "A needed member answered NaN or infinity.",
        "Check the model; `nonfinite: pass` lets such values through.",
    )
    COMBINE_FAILED = Row(
        *_FAULT, "The strategy could not merge the answers.", "Report it with the request id."
    )
    MEMBER_BAD_OUTPUT = Row(
        *_FAULT,
        "A needed member answered with wrong names, datatypes or shapes.",
        "Compare the model with its metadata.",
    )
    INTERNAL = Row(
        *_FAULT, "A fault on our side; the server's log has the details.", "Report it with the request id."
    )
    UNSUPPORTED = Row(
        Code.UNIMPLEMENTED,
        Retry.NEVER,
        "The call or option is not offered.",
        "See the documentation for what is.",
    )
    # fmt: on

    @property
    def number(self) -> errors_pb2.Reason:
        """Its number in ``errors.proto``."""
        return cast("errors_pb2.Reason", errors_pb2.Reason.Value(f"REASON_{self.name}"))

    @property
    def code(self) -> Code:
        """Its gRPC status."""
        return self.value.code

    @property
    def retry(self) -> Retry:
        """Whether the same call may be sent again."""
        return self.value.retry


class Outcome(Enum):
    """What became of a seat; numbers stand in ``errors.proto``."""

    OK = "OK"
    FAILED = "FAILED"
    UNUSABLE = "UNUSABLE"
    CANCELLED = "CANCELLED"
    NOT_ASKED = "NOT_ASKED"
    PENDING = "PENDING"

    @property
    def number(self) -> errors_pb2.Outcome:
        """Its number in ``errors.proto``."""
        return cast("errors_pb2.Outcome", errors_pb2.Outcome.Value(f"OUTCOME_{self.value}"))


@dataclass(frozen=True, slots=True)
class CauseRow:
    """One row of the cause table: the reason it maps to and the fixed text for callers."""

    reason: Reason
    text: str


class Cause(Enum):
    """Why a seat was not OK; numbers stand in ``errors.proto``."""

    WORKER_CRASHED = CauseRow(Reason.MEMBER_UNAVAILABLE, "the connection broke while the call was under way")
    WORKER_HUNG = CauseRow(Reason.MEMBER_UNAVAILABLE, "the worker stopped responding")
    WORKER_OOM = CauseRow(Reason.MEMBER_RESOURCE_EXHAUSTED, "the worker ran out of memory")
    WORKER_PROTOCOL_ERROR = CauseRow(Reason.MEMBER_UNAVAILABLE, "the reply could not be understood")
    BACKEND_UNREACHABLE = CauseRow(Reason.MEMBER_UNAVAILABLE, "no connection could be made")
    MEMBER_TIMEOUT = CauseRow(Reason.DEADLINE_IN_MEMBER, "no answer within its time")
    MEMBER_NOT_READY = CauseRow(Reason.MODEL_NOT_READY, "the model is not ready")
    MEMBER_NOT_FOUND = CauseRow(Reason.MEMBER_UNAVAILABLE, "the backend does not know the model or version")
    MEMBER_REJECTED_INPUT = CauseRow(Reason.INPUT_REJECTED, "the model refused the input")
    MEMBER_RESOURCE_EXHAUSTED = CauseRow(Reason.MEMBER_RESOURCE_EXHAUSTED, "the backend shed the work")
    DEVICE_OOM = CauseRow(Reason.DEVICE_OOM, "the accelerator ran out of memory")
    MEMBER_FORBIDDEN = CauseRow(Reason.INTERNAL, "the backend refused the gateway's credentials")
    MEMBER_INTERNAL = CauseRow(Reason.INTERNAL, "the model failed while it computed")
    MEMBER_BAD_OUTPUT = CauseRow(Reason.MEMBER_BAD_OUTPUT, "the answer has wrong names, datatypes or shapes")
    NONFINITE_OUTPUT = CauseRow(Reason.NONFINITE_OUTPUT, "the answer holds NaN or infinity")
    QUORUM_NOT_MET = CauseRow(Reason.QUORUM_NOT_MET, "too few of its members gave a usable answer")
    COMBINE_FAILED = CauseRow(Reason.COMBINE_FAILED, "its members' answers could not be merged")
    MEMBER_UNSUPPORTED = CauseRow(Reason.UNSUPPORTED, "the backend does not offer the call")

    @property
    def number(self) -> errors_pb2.Cause:
        """Its number in ``errors.proto``."""
        return cast("errors_pb2.Cause", errors_pb2.Cause.Value(f"CAUSE_{self.name}"))

    @property
    def reason(self) -> Reason:
        """The reason it maps to, as if it alone decided."""
        return self.value.reason

    @property
    def text(self) -> str:
        """The fixed text for callers."""
        return self.value.text


class AccordError(Exception):
    """A call's failure, as the caller will see it. Expected: raised on purpose, safe to show.

    Args:
        reason: Why; decides the gRPC status.
        message: For people: names the field, what is wrong and the fix. Never exception text.
        field: The request field at fault, e.g. ``inputs[0].shape``; reported as BadRequest.
        metadata: Short facts for programs (model, quorum, ...), reported in ErrorInfo.
        members: One MemberError message for each failed member.
        retry_after_s: Delay to report in RetryInfo; None where the reason says no retry helps.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        field: str = "",
        metadata: Mapping[str, str] | None = None,
        members: Sequence[errors_pb2.MemberError] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field
        self.metadata = dict(metadata or {})
        self.members = tuple(members)
        self.retry_after_s = retry_after_s

    @classmethod
    def of_fault(cls, fault: TensorFault, field: str, *, model: str = "") -> AccordError:
        """Turn a tensor's fault into the caller's error."""
        subject = f"tensor {fault.name[:64]!r}" if fault.name else "the tensor"
        metadata = {"model": model} if model else None
        return cls(Reason[fault.reason], f"{subject} {fault.problem}", field=field, metadata=metadata)


#: What a caller is told of any bug of ours: a fixed text and nothing else.
INTERNAL_TEXT = "internal error; the server's log has the details"


def internal_error() -> AccordError:
    """Return the error that stands for any bug of ours."""
    return AccordError(Reason.INTERNAL, INTERNAL_TEXT)


#: Delay in seconds that a shed or unavailable call is told to wait when nobody knows better.
DEFAULT_RETRY_AFTER_S = 0.1


def to_status(error: AccordError) -> status_pb2.Status:
    """Render an error as ``google.rpc.Status`` whose size stays below the trailer limit.

    Member errors are dropped from the end when they would not fit; ErrorInfo then says how many.
    """
    text = error.message.encode()[:MAX_MESSAGE_BYTES].decode(errors="ignore")
    info = error_details_pb2.ErrorInfo(reason=error.reason.name, domain=DOMAIN, metadata=error.metadata)
    tail: list[Message] = []
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field[:128], description=text)
        tail.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.reason.retry in (Retry.BACKOFF, Retry.LATER):
        delay = Duration()
        delay.FromNanoseconds(round((error.retry_after_s or DEFAULT_RETRY_AFTER_S) * 1e9))
        tail.append(error_details_pb2.RetryInfo(retry_delay=delay))
    # on the wire the message is percent-encoded, at worst threefold, and the details are base64
    room = (MAX_TRAILER_BYTES - 3 * len(text.encode()) - 128) * 3 // 4
    for kept in range(len(error.members), -1, -1):
        if kept < len(error.members):
            info.metadata["members_omitted"] = str(len(error.members) - kept)
        status = status_pb2.Status(code=int(error.reason.code), message=text)
        for detail in (info, *tail, *error.members[:kept]):
            status.details.add().Pack(detail)
        if status.ByteSize() <= room:
            break
    return status
