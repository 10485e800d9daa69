"""A port for several processes: proven to be free, then held until the server ends.

``SO_REUSEPORT`` lets any process of the same user listen on a port that is in use, and take a share of its
connections. So whether the port is free is found out without it, in two steps that leave no gap:

- A first socket listens. Of all that are bound to a port and do not share it, only one can.
- A second one joins it and then stays. It never listens, so the kernel gives it no connection.

Both bind with ``SO_REUSEADDR``, because connections of a former server that run out are no hindrance. The
second then gives that up: with it, others that have it too would not find the port in use.

Sources: ``socket(7)``; Linux ``inet_connection_sock.c``.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protos.address import Address

__all__ = ["Reservation", "reserve"]

#: What an address of a name says where the host has no such family, or not this address.
_ABSENT = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


@dataclass(frozen=True, slots=True)
class Reservation:
    """A port that is held.

    Args:
        address: The address, with the port's number.
        sockets: What holds it, one for each address of the host.
    """

    address: Address
    sockets: tuple[socket.socket, ...]

    def close(self) -> None:
        """Let the port go."""
        for held in self.sockets:
            held.close()


def reserve(address: Address) -> Reservation:
    """Take a port that nobody has, for processes that will listen on it with ``SO_REUSEPORT``.

    Args:
        address: ``host:port``; port 0 takes a free one.

    Raises:
        OSError: If somebody has it, or the host is not one of ours.
    """
    host, _, text = address.text.rpartition(":")
    port, held, absent = int(text), list[socket.socket](), OSError()
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        for family, *_, (name, *_) in found:
            try:
                held.append(_take(family, str(name), port))
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                absent = error
            else:
                port = held[-1].getsockname()[1]
        if not held:
            raise absent
    except OSError as error:
        for taken in held:
            taken.close()
        raise OSError(f"server.address: cannot listen on {address.text}: {error.strerror}") from None
    return Reservation(address.with_port(port), tuple(held))


def _take(family: int, host: str, port: int) -> socket.socket:
    with socket.socket(family) as first:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _both_families(first)
        first.bind((host, port))
        first.listen(1)
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        second = socket.socket(family)
        try:
            second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            _both_families(second)
            second.bind((host, first.getsockname()[1]))
            second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        except OSError:
            second.close()
            raise
        return second


def _both_families(taking: socket.socket) -> None:
    """Take ``[::]`` for IPv4 as well, as gRPC does."""
    if taking.family == socket.AF_INET6:
        taking.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
