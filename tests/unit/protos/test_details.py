"""Details of errors: what one of our servers writes into the trailers, clients of all kinds read there."""

from __future__ import annotations

import pytest

from accord.v1 import errors_pb2
from protos.details import TRAILER, Details, read_details
from protos.errors import AccordError, Reason, to_status


def test_reason_and_members_come_back_as_they_were_written() -> None:
    """Whatever other trailers there are."""
    members = [errors_pb2.MemberError(seat=seat) for seat in "ab"]
    error = AccordError(Reason.QUORUM_NOT_MET, "no", field="inputs", members=members)
    status = to_status(error).SerializeToString()
    assert read_details([("x-other", "1"), (TRAILER, status)]) == Details("QUORUM_NOT_MET", tuple(members))


@pytest.mark.parametrize("value", [b"\xff\xff", b"\x1a\x04\x0a\x02\xff\xff", "text", b""])
def test_what_another_server_wrote_says_nothing(value: str | bytes) -> None:
    """Nor does it raise anything: there may be any bytes."""
    assert read_details([(TRAILER, value)]) == read_details(None) == Details()


def test_a_broken_detail_in_a_sound_status_says_nothing() -> None:
    """The type fits, its bytes do not."""
    status = to_status(AccordError(Reason.INTERNAL, "no"))
    status.details[0].value = b"\xff\xff"
    assert read_details([(TRAILER, status.SerializeToString())]) == Details()
