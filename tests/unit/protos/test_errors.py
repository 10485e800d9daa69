"""The error table: complete, append-only, one status per reason."""

from __future__ import annotations

import pytest

from accord.v1 import errors_pb2
from protos.errors import Cause, Code, Outcome, Reason, Retry

#: First number of each status's block of twenty.
BLOCKS = {
    Code.INVALID_ARGUMENT: 1,
    Code.NOT_FOUND: 21,
    Code.FAILED_PRECONDITION: 41,
    Code.UNAVAILABLE: 61,
    Code.RESOURCE_EXHAUSTED: 81,
    Code.DEADLINE_EXCEEDED: 101,
    Code.CANCELLED: 121,
    Code.UNAUTHENTICATED: 141,
    Code.PERMISSION_DENIED: 161,
    Code.INTERNAL: 181,
    Code.UNIMPLEMENTED: 201,
}


@pytest.mark.parametrize(
    ("table", "message", "prefix"),
    [
        (Reason, errors_pb2.Reason, "REASON_"),
        (Cause, errors_pb2.Cause, "CAUSE_"),
        (Outcome, errors_pb2.Outcome, "OUTCOME_"),
    ],
)
def test_table_and_proto_name_the_same(table: type, message: object, prefix: str) -> None:
    """Every enumerator has its row and every row its enumerator."""
    named = {name.removeprefix(prefix) for name in message.keys()} - {"UNSPECIFIED"}  # type: ignore[attr-defined]  # noqa: SIM118
    assert {row.name for row in table} == named  # type: ignore[attr-defined]


@pytest.mark.parametrize("reason", Reason, ids=lambda r: r.name)
def test_a_reasons_number_lies_in_the_block_of_its_status(reason: Reason) -> None:
    """A client that does not know a reason yet can tell its status from the number."""
    first = BLOCKS[reason.code]
    assert first <= reason.number < first + 20


@pytest.mark.parametrize("reason", Reason, ids=lambda r: r.name)
def test_unavailable_is_kept_for_what_is_safe_to_retry(reason: Reason) -> None:
    """Clients retry UNAVAILABLE by themselves; shed work is RESOURCE_EXHAUSTED with a delay."""
    assert (reason.code is Code.UNAVAILABLE) == (reason.retry is Retry.BACKOFF)
    if reason.retry is Retry.LATER:
        assert reason.code is Code.RESOURCE_EXHAUSTED
    assert reason.value.meaning.endswith(".")
    assert reason.value.remedy


@pytest.mark.parametrize("cause", Cause, ids=lambda c: c.name)
def test_every_cause_maps_to_a_reason_and_has_a_fixed_text(cause: Cause) -> None:
    """What a member did never reaches a caller in the member's own words."""
    assert cause.reason in Reason
    assert cause.text
    assert cause.number > 0
