from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REASON_UNSPECIFIED: _ClassVar[Reason]
    REASON_MALFORMED_REQUEST: _ClassVar[Reason]
    REASON_INPUT_MISSING: _ClassVar[Reason]
    REASON_INPUT_UNKNOWN: _ClassVar[Reason]
    REASON_DTYPE_MISMATCH: _ClassVar[Reason]
    REASON_SHAPE_MISMATCH: _ClassVar[Reason]
    REASON_TENSOR_SIZE_MISMATCH: _ClassVar[Reason]
    REASON_TENSOR_ENCODING_CONFLICT: _ClassVar[Reason]
    REASON_PARAMETER_INVALID: _ClassVar[Reason]
    REASON_INPUT_REJECTED: _ClassVar[Reason]
    REASON_CONFIG_INVALID: _ClassVar[Reason]
    REASON_MODEL_NOT_FOUND: _ClassVar[Reason]
    REASON_VERSION_NOT_FOUND: _ClassVar[Reason]
    REASON_CONFIG_REJECTED: _ClassVar[Reason]
    REASON_MODEL_LOAD_FAILED: _ClassVar[Reason]
    REASON_MODEL_NOT_READY: _ClassVar[Reason]
    REASON_SHUTTING_DOWN: _ClassVar[Reason]
    REASON_MEMBER_UNAVAILABLE: _ClassVar[Reason]
    REASON_QUORUM_NOT_MET: _ClassVar[Reason]
    REASON_OVERLOADED: _ClassVar[Reason]
    REASON_QUEUE_FULL: _ClassVar[Reason]
    REASON_QUOTA_EXCEEDED: _ClassVar[Reason]
    REASON_REQUEST_TOO_LARGE: _ClassVar[Reason]
    REASON_DEVICE_OOM: _ClassVar[Reason]
    REASON_MEMBER_RESOURCE_EXHAUSTED: _ClassVar[Reason]
    REASON_STORAGE_FULL: _ClassVar[Reason]
    REASON_DEADLINE_AT_ADMISSION: _ClassVar[Reason]
    REASON_DEADLINE_IN_QUEUE: _ClassVar[Reason]
    REASON_DEADLINE_IN_MEMBER: _ClassVar[Reason]
    REASON_CLIENT_CANCELLED: _ClassVar[Reason]
    REASON_AUTH_MISSING: _ClassVar[Reason]
    REASON_AUTH_INVALID: _ClassVar[Reason]
    REASON_MODEL_FORBIDDEN: _ClassVar[Reason]
    REASON_NONFINITE_OUTPUT: _ClassVar[Reason]
    REASON_COMBINE_FAILED: _ClassVar[Reason]
    REASON_MEMBER_BAD_OUTPUT: _ClassVar[Reason]
    REASON_INTERNAL: _ClassVar[Reason]
    REASON_UNSUPPORTED: _ClassVar[Reason]

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_OK: _ClassVar[Outcome]
    OUTCOME_FAILED: _ClassVar[Outcome]
    OUTCOME_UNUSABLE: _ClassVar[Outcome]
    OUTCOME_CANCELLED: _ClassVar[Outcome]
    OUTCOME_NOT_ASKED: _ClassVar[Outcome]
    OUTCOME_PENDING: _ClassVar[Outcome]

class Cause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CAUSE_UNSPECIFIED: _ClassVar[Cause]
    CAUSE_WORKER_CRASHED: _ClassVar[Cause]
    CAUSE_WORKER_HUNG: _ClassVar[Cause]
    CAUSE_WORKER_OOM: _ClassVar[Cause]
    CAUSE_WORKER_PROTOCOL_ERROR: _ClassVar[Cause]
    CAUSE_BACKEND_UNREACHABLE: _ClassVar[Cause]
    CAUSE_MEMBER_TIMEOUT: _ClassVar[Cause]
    CAUSE_MEMBER_NOT_READY: _ClassVar[Cause]
    CAUSE_MEMBER_NOT_FOUND: _ClassVar[Cause]
    CAUSE_MEMBER_REJECTED_INPUT: _ClassVar[Cause]
    CAUSE_MEMBER_RESOURCE_EXHAUSTED: _ClassVar[Cause]
    CAUSE_DEVICE_OOM: _ClassVar[Cause]
    CAUSE_MEMBER_FORBIDDEN: _ClassVar[Cause]
    CAUSE_MEMBER_INTERNAL: _ClassVar[Cause]
    CAUSE_MEMBER_BAD_OUTPUT: _ClassVar[Cause]
    CAUSE_NONFINITE_OUTPUT: _ClassVar[Cause]
    CAUSE_QUORUM_NOT_MET: _ClassVar[Cause]
    CAUSE_COMBINE_FAILED: _ClassVar[Cause]
    CAUSE_MEMBER_UNSUPPORTED: _ClassVar[Cause]
REASON_UNSPECIFIED: Reason
REASON_MALFORMED_REQUEST: Reason
REASON_INPUT_MISSING: Reason
REASON_INPUT_UNKNOWN: Reason
REASON_DTYPE_MISMATCH: Reason
REASON_SHAPE_MISMATCH: Reason
REASON_TENSOR_SIZE_MISMATCH: Reason
REASON_TENSOR_ENCODING_CONFLICT: Reason
REASON_PARAMETER_INVALID: Reason
REASON_INPUT_REJECTED: Reason
REASON_CONFIG_INVALID: Reason
REASON_MODEL_NOT_FOUND: Reason
REASON_VERSION_NOT_FOUND: Reason
REASON_CONFIG_REJECTED: Reason
REASON_MODEL_LOAD_FAILED: Reason
REASON_MODEL_NOT_READY: Reason
REASON_SHUTTING_DOWN: Reason
REASON_MEMBER_UNAVAILABLE: Reason
REASON_QUORUM_NOT_MET: Reason
REASON_OVERLOADED: Reason
REASON_QUEUE_FULL: Reason
REASON_QUOTA_EXCEEDED: Reason
REASON_REQUEST_TOO_LARGE: Reason
REASON_DEVICE_OOM: Reason
REASON_MEMBER_RESOURCE_EXHAUSTED: Reason
REASON_STORAGE_FULL: Reason
REASON_DEADLINE_AT_ADMISSION: Reason
REASON_DEADLINE_IN_QUEUE: Reason
REASON_DEADLINE_IN_MEMBER: Reason
REASON_CLIENT_CANCELLED: Reason
REASON_AUTH_MISSING: Reason
REASON_AUTH_INVALID: Reason
REASON_MODEL_FORBIDDEN: Reason
REASON_NONFINITE_OUTPUT: Reason
REASON_COMBINE_FAILED: Reason
REASON_MEMBER_BAD_OUTPUT: Reason
REASON_INTERNAL: Reason
REASON_UNSUPPORTED: Reason
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_OK: Outcome
OUTCOME_FAILED: Outcome
OUTCOME_UNUSABLE: Outcome
OUTCOME_CANCELLED: Outcome
OUTCOME_NOT_ASKED: Outcome
OUTCOME_PENDING: Outcome
CAUSE_UNSPECIFIED: Cause
CAUSE_WORKER_CRASHED: Cause
CAUSE_WORKER_HUNG: Cause
CAUSE_WORKER_OOM: Cause
CAUSE_WORKER_PROTOCOL_ERROR: Cause
CAUSE_BACKEND_UNREACHABLE: Cause
CAUSE_MEMBER_TIMEOUT: Cause
CAUSE_MEMBER_NOT_READY: Cause
CAUSE_MEMBER_NOT_FOUND: Cause
CAUSE_MEMBER_REJECTED_INPUT: Cause
CAUSE_MEMBER_RESOURCE_EXHAUSTED: Cause
CAUSE_DEVICE_OOM: Cause
CAUSE_MEMBER_FORBIDDEN: Cause
CAUSE_MEMBER_INTERNAL: Cause
CAUSE_MEMBER_BAD_OUTPUT: Cause
CAUSE_NONFINITE_OUTPUT: Cause
CAUSE_QUORUM_NOT_MET: Cause
CAUSE_COMBINE_FAILED: Cause
CAUSE_MEMBER_UNSUPPORTED: Cause

class MemberError(_message.Message):
    __slots__ = ("seat", "model", "version", "outcome", "cause", "reason", "message", "attempts")
    SEAT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    seat: str
    model: str
    version: str
    outcome: Outcome
    cause: Cause
    reason: Reason
    message: str
    attempts: int
    def __init__(self, seat: _Optional[str] = ..., model: _Optional[str] = ..., version: _Optional[str] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., cause: _Optional[_Union[Cause, str]] = ..., reason: _Optional[_Union[Reason, str]] = ..., message: _Optional[str] = ..., attempts: _Optional[int] = ...) -> None: ...
