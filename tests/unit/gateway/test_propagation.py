"""What of a call goes on to the members: one id, the trace, and what the configuration allows."""

from __future__ import annotations

from itertools import count

import pytest
from pydantic import ValidationError

from gateway.config.schema import Server
from gateway.edge.propagation import MAX_ID, MAX_METADATA_BYTES, passed_on, request_id


def test_an_id_is_the_callers_else_the_calls_else_a_fresh_one() -> None:
    """Each stands above the next, and only the last is made here."""
    numbers = count()

    def fresh() -> str:
        return f"fresh-{next(numbers)}"

    assert request_id("own", {"x-request-id": "proxy"}, fresh) == "own"
    assert request_id("", {"x-request-id": "proxy"}, fresh) == "proxy"
    assert [request_id("", {}, fresh) for _ in range(2)] == ["fresh-0", "fresh-1"]


@pytest.mark.parametrize("given", ["", "x" * (MAX_ID + 1), b"\x01"])
def test_an_id_that_cannot_be_one_is_passed_over(given: str | bytes) -> None:
    """A proxy's odd header refuses no request."""
    assert request_id("", {"x-request-id": given}, lambda: "fresh") == "fresh"


def test_trace_context_goes_along_as_it_came() -> None:
    """Nothing else does by default, least of all credentials."""
    call = {
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate": "congo=t61rcWkgMzE",
        "authorization": "Bearer secret",
        "x-tenant": "red",
        "user-agent": "grpc-python",
    }
    assert dict(passed_on(call, "7", ())) == {
        "x-request-id": "7",
        "traceparent": call["traceparent"],
        "tracestate": call["tracestate"],
    }
    assert dict(passed_on(call, "7", ("x-tenant", "authorization"))) == {
        **dict(passed_on(call, "7", ())),
        "x-tenant": "red",
        "authorization": "Bearer secret",
    }


def test_names_that_go_along_anyway_may_be_listed() -> None:
    """Each goes once, and the id is the request's, not the call's."""
    call = {"x-request-id": "proxy", "traceparent": "t"}
    entries = passed_on(call, "own", ("x-request-id", "traceparent"))
    assert entries == (("x-request-id", "own"), ("traceparent", "t"))


@pytest.mark.parametrize("own", ["grün", "two\nlines", "\x7f", ""])
def test_an_id_that_no_header_can_hold_goes_in_the_message_only(own: str) -> None:
    """A header is printable ASCII; anything else would fail the call to the member."""
    assert passed_on({}, own, ()) == ()


@pytest.mark.parametrize("name", ["traceparent", "x-tenant"])
@pytest.mark.parametrize("value", ["grün", "a\tb", "a\r\nevil: 1", "\x00", "\x7f"])
def test_a_value_that_cannot_be_sent_stays_here(name: str, value: str) -> None:
    """A client can send it to us, but gRPC would fail the call to every member with it."""
    assert passed_on({name: value}, "7", ("x-tenant",)) == (("x-request-id", "7"),)


def test_what_is_too_much_stays_here() -> None:
    """Entries go along as long as they fit, the id and the trace first; a smaller one may still fit."""
    call = {"traceparent": "t" * 50, "x-big": "b" * MAX_METADATA_BYTES, "x-small": "s", "x-bytes": b"\0"}
    names = [name for name, _ in passed_on(call, "7", ("x-big", "x-small", "x-bytes"))]
    assert names == ["x-request-id", "traceparent", "x-small"]
    entries = passed_on({f"x-{i}": "v" * 900 for i in range(5)}, "i" * MAX_ID, [f"x-{i}" for i in range(5)])
    assert sum(len(name) + len(value) for name, value in entries) <= MAX_METADATA_BYTES


@pytest.mark.parametrize(
    "name", ["grpc-timeout", "host", "connection", "te", "X-Tenant", "x tenant", ":path", "trace-bin", ""]
)
def test_names_that_belong_to_the_connection_are_refused(name: str) -> None:
    """What one hop says to the next is not passed on, nor what no header can be called."""
    with pytest.raises(ValidationError):
        Server(pass_metadata=(name,))


def test_the_list_of_names_is_short() -> None:
    """With the id and the trace there are eight entries at most."""
    Server(pass_metadata=tuple(f"x-{i}" for i in range(5)))
    with pytest.raises(ValidationError):
        Server(pass_metadata=tuple(f"x-{i}" for i in range(6)))
