"""A port for several processes: nobody else has it or gets it, and it takes no connection itself."""

from __future__ import annotations

import socket
import threading
from contextlib import closing, suppress

import pytest

from gateway.reserve import Reservation, reserve
from protos.address import Address

ANY = Address("127.0.0.1:0")


def bound(port: int, *, reuse_port: bool, listen: bool = True) -> socket.socket:
    """Take a port as a server does: one that shares it, or like any other."""
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, reuse_port)
    try:
        taken.bind(("127.0.0.1", port))
        if listen:
            taken.listen()
    except OSError:
        taken.close()
        raise
    return taken


def port_of(address: Address) -> int:
    return int(address.text.rpartition(":")[2])


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_any_free_port_becomes_one_for_all(host: str) -> None:
    """The number is known, and every process can listen on it."""
    with closing(reserve(Address(f"{host}:0"))) as held:
        port = port_of(held.address)
        assert held.address.text == f"{host}:{port}"
        for sharing in [bound(port, reuse_port=True) for _ in range(3)]:
            sharing.close()


def test_a_held_port_is_in_use_for_whoever_else_looks() -> None:
    """For a second server of several processes, for one of a single process, listening or not yet."""
    with closing(reserve(ANY)) as held:
        with pytest.raises(OSError, match=f"server.address: cannot listen on {held.address.text}: .*in use"):
            reserve(held.address)
        for listen in (True, False):
            with pytest.raises(OSError, match="in use"):
                bound(port_of(held.address), reuse_port=False, listen=listen)
    reserve(held.address).close()


@pytest.mark.parametrize("reuse_port", [False, True])
def test_a_port_that_somebody_listens_on_is_refused(reuse_port: bool) -> None:
    """Also where they would share it; nothing of the attempt stays."""
    with bound(0, reuse_port=reuse_port) as other:
        address = ANY.with_port(other.getsockname()[1])
        for _ in range(2):
            with pytest.raises(OSError, match="in use"):
                reserve(address)
    reserve(address).close()


def test_without_the_reservation_the_second_server_would_take_connections_of_the_first() -> None:
    """Negative control: to share the port is all that the kernel asks for."""
    with bound(0, reuse_port=True) as first, bound(first.getsockname()[1], reuse_port=True) as second:
        assert first.getsockname() == second.getsockname()


def test_the_reservation_gets_no_connection() -> None:
    """All go to the one process that listens; while none does, they are refused at once."""
    with closing(reserve(ANY)) as held:
        where = ("127.0.0.1", port_of(held.address))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(where, timeout=5)
        with bound(where[1], reuse_port=True) as process:
            process.settimeout(5)
            for _ in range(20):
                with socket.create_connection(where, timeout=5), process.accept()[0]:
                    pass


def test_connections_of_a_former_server_that_run_out_are_no_hindrance() -> None:
    """A server that closed first leaves its port in TIME_WAIT, and is started again there."""
    with bound(0, reuse_port=False) as former:
        address = ANY.with_port(former.getsockname()[1])
        with socket.create_connection(former.getsockname(), timeout=5) as client:
            former.accept()[0].close()
            assert client.recv(1) == b""
    with pytest.raises(OSError, match="in use"), socket.socket() as strict:
        strict.bind(("127.0.0.1", port_of(address)))  # negative control: it does hinder whoever is strict
    reserve(address).close()


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid"])
def test_a_host_that_is_not_ours_is_named(host: str) -> None:
    """Like a port in use, in one line."""
    with pytest.raises(OSError, match=f"server.address: cannot listen on {host}:0: "):
        reserve(Address(f"{host}:0"))


def test_of_servers_that_start_at_once_no_two_get_the_port() -> None:
    """There is no moment in which a port that one has found free is still free for another."""
    start, held = threading.Barrier(8), list[Reservation]()

    def take(address: Address) -> None:
        start.wait()
        with suppress(OSError):
            held.append(reserve(address))

    for _ in range(20):
        with closing(reserve(ANY)) as free:
            address = free.address
        threads = [threading.Thread(target=take, args=(address,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(held) <= 1
        while held:
            held.pop().close()
