"""Where a process of ours listens: `host:port` or `unix:PATH`."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Address", "AddressError"]

#: The longest path of a unix socket. Source: ``unix(7)``, ``sun_path`` less the final NUL.
_MAX_SOCKET_PATH = 107


class AddressError(ValueError):
    """An address that cannot be read or bound. The message is for the operator."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: ``host:port`` or ``unix:PATH``."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address.

        Raises:
            AddressError: If it is neither form, or the socket's path is too long.

        Example:
            >>> Address.parse("127.0.0.1:8001").is_local, Address.parse("[::]:8001").is_local
            (True, False)
        """
        if text.startswith("unix:"):
            path = text.removeprefix("unix:")
            if not path or len(path.encode()) > _MAX_SOCKET_PATH:
                raise AddressError(
                    f"{text!r} needs a path of 1 to {_MAX_SOCKET_PATH} bytes; choose a shorter one"
                )
            return cls(text)
        host, colon, port = text.rpartition(":")
        if not (host and colon and port.isascii() and port.isdigit() and int(port) < 2**16):
            raise AddressError(f"{text!r} is no address; use host:port (port 0 for any) or unix:PATH")
        return cls(text)

    @property
    def socket_path(self) -> Path | None:
        """The unix socket's path, if it is one."""
        return Path(self.text.removeprefix("unix:")) if self.text.startswith("unix:") else None

    @property
    def is_local(self) -> bool:
        """Whether only this host can reach it."""
        host = self.text.rpartition(":")[0].strip("[]")
        if self.socket_path is not None or host == "localhost":
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def with_port(self, port: int) -> Address:
        """Return the address with the port that was really bound; a socket's stays as it is."""
        if self.socket_path is not None:
            return self
        return Address(f"{self.text.rpartition(':')[0]}:{port}")
