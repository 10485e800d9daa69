"""Causes: what other servers mean by their statuses, in the words that their own code has."""

from __future__ import annotations

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.members.causes import Kind, diagnose, kind_of
from protos.errors import Cause, Code, Reason

TRITON, MLSERVER, KSERVE = Kind.TRITON, Kind.MLSERVER, Kind.KSERVE

#: What the servers say, word for word.
SAID = [
    (TRITON, "UNAVAILABLE", "[request id: 7] Exceeds maximum queue size", "MEMBER_RESOURCE_EXHAUSTED"),
    (TRITON, "UNAVAILABLE", "CPU memory allocation failed", "MEMBER_RESOURCE_EXHAUSTED"),
    (TRITON, "UNAVAILABLE", "Request timeout expired", "MEMBER_TIMEOUT"),
    (
        TRITON,
        "UNAVAILABLE",
        "timeout of the corresponding sequence has been expired",
        "MEMBER_TIMEOUT",
    ),
    (
        TRITON,
        "UNAVAILABLE",
        "This protocol is restricted, expecting header 'triton-grpc-protocol-key'",
        "MEMBER_FORBIDDEN",
    ),
    (
        TRITON,
        "UNAVAILABLE",
        "Request for unknown model: 'm' version 1 is not at ready state",
        "MEMBER_NOT_READY",
    ),
    (TRITON, "UNAVAILABLE", "Server not ready", "MEMBER_NOT_READY"),
    (TRITON, "UNAVAILABLE", "Server exiting", "MEMBER_NOT_READY"),
    (
        TRITON,
        "UNAVAILABLE",
        "Server is stopping, scheduler for model has stopped accepting new inference requests",
        "MEMBER_NOT_READY",
    ),
    (
        TRITON,
        "UNAVAILABLE",
        "GRPC server is shutting down and has stopped accepting new requests.",
        "MEMBER_NOT_READY",
    ),
    (TRITON, "NOT_FOUND", "Request for unknown model: 'm' has no available versions", "MEMBER_NOT_READY"),
    (TRITON, "NOT_FOUND", "Request for unknown model: 'm' is not found", "MEMBER_NOT_FOUND"),
    (TRITON, "NOT_FOUND", "Request for unknown model: 'm' version 9 is not found", "MEMBER_NOT_FOUND"),
    (TRITON, "INVALID_ARGUMENT", "Request for unknown model: 'm' is not found", "MEMBER_NOT_FOUND"),
    (
        TRITON,
        "INVALID_ARGUMENT",
        "[request id: 7] unexpected shape for input 'x' for model 'm'. Expected [-1,2], got [1,3].",
        "MEMBER_REJECTED_INPUT",
    ),
    (
        TRITON,
        "INVALID_ARGUMENT",
        "in ensemble 'e', unexpected deadlock, at least one output is not set",
        "MEMBER_INTERNAL",
    ),
    (
        TRITON,
        "INTERNAL",
        "onnx runtime error 2: Got invalid dimensions for input: x for the following indices",
        "MEMBER_REJECTED_INPUT",
    ),
    (TRITON, "INTERNAL", "onnx runtime error 6: Non-zero status code returned", "MEMBER_INTERNAL"),
    (
        TRITON,
        "INTERNAL",
        "onnx runtime error 6: bfc_arena.cc:376 Failed to allocate memory for requested buffer of size 17",
        "DEVICE_OOM",
    ),
    (TRITON, "INTERNAL", "CUDA out of memory. Tried to allocate 2.00 GiB", "DEVICE_OOM"),
    (TRITON, "UNAVAILABLE", "failed to connect to all addresses", "BACKEND_UNREACHABLE"),
    (MLSERVER, "INVALID_ARGUMENT", "Model m is not ready yet.", "MEMBER_NOT_READY"),
    (MLSERVER, "INVALID_ARGUMENT", "Model m with version v1 is not ready yet.", "MEMBER_NOT_READY"),
    (MLSERVER, "NOT_FOUND", "Model m with version v9 not found", "MEMBER_NOT_FOUND"),
    (
        MLSERVER,
        "INVALID_ARGUMENT",
        "Model 'm' returned no predictions after inference",
        "MEMBER_INTERNAL",
    ),
    (MLSERVER, "INVALID_ARGUMENT", "SKLearnModel only supports 'predict'", "MEMBER_REJECTED_INPUT"),
    (
        MLSERVER,
        "INTERNAL",
        "builtins.ValueError: X has 3 features, but SVC is expecting 4 features as input.",
        "MEMBER_REJECTED_INPUT",
    ),
    (MLSERVER, "INTERNAL", "builtins.KeyError: 'x'", "MEMBER_INTERNAL"),
    (
        MLSERVER,
        "INTERNAL",
        "Worker process stopped unexpectedly with exit code -9.",
        "WORKER_CRASHED",
    ),
    (KSERVE, "INVALID_ARGUMENT", "'NoneType' object has no attribute 'predict'", "MEMBER_INTERNAL"),
    (KSERVE, "INVALID_ARGUMENT", "Input X contains NaN.", "MEMBER_REJECTED_INPUT"),
    (KSERVE, "INVALID_ARGUMENT", "invalid datatype FP31 in the input", "MEMBER_REJECTED_INPUT"),
    (KSERVE, "NOT_FOUND", "Model with name m does not exist.", "MEMBER_NOT_FOUND"),
    (
        KSERVE,
        "UNKNOWN",
        "Unexpected <class 'AttributeError'>: 'ModelNotReady' object has no attribute 'reason'",
        "MEMBER_NOT_READY",
    ),
    (KSERVE, "INTERNAL", "Internal server error", "MEMBER_INTERNAL"),
    (
        Kind.OTHER,
        "RESOURCE_EXHAUSTED",
        "SERVER: Received message larger than max (5000000 vs. 4194304)",
        "MEMBER_REJECTED_INPUT",
    ),
    (
        Kind.OTHER,
        "RESOURCE_EXHAUSTED",
        "CLIENT: Received message larger than max (68000000 vs. 67108864)",
        "MEMBER_REJECTED_INPUT",
    ),
    (
        Kind.OTHER,
        "RESOURCE_EXHAUSTED",
        "Stream removed (received metadata size exceeds hard limit (value length 39000 vs. 16384))",
        "MEMBER_INTERNAL",
    ),
    (Kind.OTHER, "RESOURCE_EXHAUSTED", "slow down", "MEMBER_RESOURCE_EXHAUSTED"),
    (
        MLSERVER,
        "INTERNAL",
        "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Non-zero status code returned",
        "MEMBER_REJECTED_INPUT",
    ),
    (Kind.OTHER, "INTERNAL", "Received RST_STREAM with error code 2", "BACKEND_UNREACHABLE"),
    (Kind.OTHER, "UNAVAILABLE", "Exceeds maximum queue size", "BACKEND_UNREACHABLE"),
    (Kind.OTHER, "ABORTED", "", "MEMBER_INTERNAL"),
    (Kind.OTHER, "OUT_OF_RANGE", "", "MEMBER_REJECTED_INPUT"),
]


def number(name: str) -> int:
    value: int = grpc.StatusCode[name].value[0]
    return value


@pytest.mark.parametrize(("kind", "code", "text", "cause"), SAID)
def test_what_a_server_says_becomes_its_cause(kind: Kind, code: str, text: str, cause: str) -> None:
    """One status means different things at different servers; their words tell them apart."""
    assert diagnose(kind, number(code), text).cause.name == cause


@pytest.mark.parametrize(
    ("kind", "code", "text"),
    [(kind, code, text) for kind, code, text, cause in SAID if cause == "MEMBER_NOT_READY"],
)
def test_without_the_tables_a_loading_model_would_be_misunderstood(kind: Kind, code: str, text: str) -> None:
    """The control: a server of no known kind, with the same words, is judged by its status alone."""
    assert diagnose(Kind.OTHER, number(code), text).cause is not Cause.MEMBER_NOT_READY, kind


@given(st.sampled_from(Kind), st.integers(0, 20), st.text(max_size=40), st.text(max_size=20))
def test_every_failure_has_a_cause(kind: Kind, code: int, text: str, reason: str) -> None:
    """Whatever a server says, a cause comes back, and only a broken or unready replica is taken out."""
    diagnosis = diagnose(kind, code, text, reason)
    assert not diagnosis.out or diagnosis.cause in (Cause.BACKEND_UNREACHABLE, Cause.MEMBER_NOT_READY)


@pytest.mark.parametrize("reason", list(Reason))
def test_a_reason_of_our_own_keeps_its_status(reason: Reason) -> None:
    """In front of another gateway, a call fails with the status that the inner one gave, by and large.

    What the outer caller cannot help is no fault of his: names and credentials are the configuration's.
    """
    outer = diagnose(Kind.ACCORD, int(reason.code), "", reason.name).cause.reason
    moved = {
        Reason.REQUEST_TOO_LARGE: Code.INVALID_ARGUMENT,
        Code.NOT_FOUND: Code.UNAVAILABLE,
        Code.UNAUTHENTICATED: Code.INTERNAL,
        Code.PERMISSION_DENIED: Code.INTERNAL,
        Code.FAILED_PRECONDITION: Code.INTERNAL,
        Code.CANCELLED: Code.UNAVAILABLE,
    }
    assert outer.code == moved.get(reason, moved.get(reason.code, reason.code))


@pytest.mark.parametrize(
    "reason",
    [
        Reason.INPUT_REJECTED,
        Reason.MODEL_NOT_READY,
        Reason.MEMBER_UNAVAILABLE,
        Reason.QUORUM_NOT_MET,
        Reason.DEVICE_OOM,
        Reason.DEADLINE_IN_MEMBER,
        Reason.NONFINITE_OUTPUT,
        Reason.COMBINE_FAILED,
        Reason.MEMBER_BAD_OUTPUT,
        Reason.MEMBER_RESOURCE_EXHAUSTED,
        Reason.INTERNAL,
        Reason.UNSUPPORTED,
    ],
)
def test_a_reason_that_means_the_same_one_level_up_is_kept(reason: Reason) -> None:
    """A gateway in front of a gateway adds no blur."""
    assert diagnose(Kind.ACCORD, int(reason.code), "", reason.name).cause.reason is reason


def test_a_gateway_whose_member_is_lost_is_not_lost_itself() -> None:
    """UNAVAILABLE with a reason comes from a live server; without one, from a broken connection."""
    assert not diagnose(Kind.ACCORD, 14, "", "MEMBER_UNAVAILABLE").out
    assert not diagnose(Kind.ACCORD, 14, "", "QUORUM_NOT_MET").out
    assert diagnose(Kind.ACCORD, 14, "").out


def test_a_server_is_known_by_what_it_says_of_itself() -> None:
    """By its name, and a renamed Triton by an extension that only it has."""
    assert kind_of("triton", []) is TRITON
    assert kind_of("mlserver", []) is MLSERVER
    assert kind_of("kserve", ["model_repository_extension"]) is KSERVE
    assert kind_of("accord-worker", ["binary_tensor_data"]) is Kind.ACCORD
    assert kind_of("accord", ["schedule_policy"]) is Kind.ACCORD
    assert kind_of("night-shift", ["classification", "schedule_policy"]) is TRITON
    assert kind_of("OpenVINO Model Server", []) is Kind.OTHER
