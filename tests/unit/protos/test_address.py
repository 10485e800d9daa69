"""Where a worker may listen."""

from __future__ import annotations

import pytest

from protos.address import Address, AddressError


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("127.0.0.1:8001", True),
        ("127.9.9.9:0", True),
        ("localhost:8001", True),
        ("[::1]:8001", True),
        ("unix:/run/a.sock", True),
        ("0.0.0.0:8001", False),
        ("[::]:8001", False),
        ("10.0.0.7:8001", False),
        ("worker.example:8001", False),
    ],
)
def test_who_can_reach_an_address(text: str, local: bool) -> None:
    """Only loopback and unix sockets are of this host alone."""
    assert Address.parse(text).is_local is local


def test_the_bound_port_replaces_port_0() -> None:
    """A socket's path has no port to replace."""
    assert Address.parse("[::1]:0").with_port(81).text == "[::1]:81"
    assert Address.parse("unix:a.sock").with_port(1).text == "unix:a.sock"


@pytest.mark.parametrize(
    "text", ["", "8001", ":8001", "host:", "host:x", "h:65536", "h:-1", "unix:", "unix:" + "a" * 108]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """The message says what would be one."""
    with pytest.raises(AddressError, match=r"choose a shorter one|host:port"):
        Address.parse(text)
