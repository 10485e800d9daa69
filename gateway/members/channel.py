"""Channels to other servers, and what is kept in files for them: certificates and secret metadata.

Files are read again when they change. Until a changed file makes sense, what was read before stays in use.
Tokens travel as plain metadata: gRPC's per-call credentials leak memory for every call (grpc/grpc#43193).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import grpc

from protos.rpc import CHANNEL_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.config.schema import MemberTls
    from gateway.members.endpoints import Endpoint

__all__ = ["CallMetadata", "Credentials", "open_channel"]

_log = logging.getLogger(__name__)

#: A connection that answers no ping for 3 s is dead, and its calls fail. Pings only go out while a call, for
#: instance a probe, is under way and nothing arrives, and gRPC stops after two: a server with gRPC's default
#: limits (5 min, 2 strikes; Triton's too, ``src/grpc/grpc_server.h``) has no reason to answer GOAWAY.
#: Source: gRFC A8; gRPC ``keepalive.md``.
_KEEPALIVE = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    # else a ping of gRPC's own (for its window size) that was lost holds back the others for a minute
    ("grpc.http2.ping_timeout_ms", 3_000),
    ("grpc.keepalive_permit_without_calls", 0),
)


class Credentials:
    """The certificates for the servers of one model.

    Args:
        tls: Where they are.
    """

    def __init__(self, tls: MemberTls) -> None:
        self._tls = tls
        self._read = self._files()

    def renewed(self) -> bool:
        """Read the files again; tell whether they hold something new that makes sense."""
        try:
            found = self._files()
            if found == self._read:
                return False
            self._tls.verify()
        except (OSError, ValueError) as error:
            _log.warning("changed TLS files are not used: %s", error)
            return False
        self._read = found
        return True

    def options(self, endpoint: Endpoint) -> tuple[tuple[str, str], ...]:
        """Return the channel options that make gRPC expect the right name in the server's certificate."""
        name = self._tls.server_name or endpoint.host
        return (("grpc.ssl_target_name_override", name),) if name else ()

    def for_grpc(self) -> grpc.ChannelCredentials:
        """Return them as gRPC takes them."""
        ca, key, chain = self._read
        return grpc.ssl_channel_credentials(ca, key, chain)

    def _files(self) -> tuple[bytes | None, ...]:
        tls = self._tls
        return tuple(path.read_bytes() if path else None for path in (tls.ca, tls.key, tls.cert))


class CallMetadata:
    """What is sent with every call.

    Args:
        plain: Values by name.
        secret: Files that hold values, by name.
    """

    def __init__(self, plain: Mapping[str, str], secret: Mapping[str, Path]) -> None:
        self._plain = tuple(plain.items())
        self._secret = dict(secret)
        self._values: dict[str, str] = {}
        self._stamps: dict[str, tuple[int, ...]] = {}
        self.pairs: tuple[tuple[str, str], ...] = self._plain
        self.refresh()

    def __repr__(self) -> str:
        names = ", ".join([*dict(self._plain), *self._secret])
        return f"{type(self).__name__}({names})"

    def refresh(self) -> None:
        """Read secrets again whose files changed."""
        changed = [self._reread(name, path) for name, path in self._secret.items()]
        if any(changed):
            self.pairs = (*self._plain, *self._values.items())

    def _reread(self, name: str, path: Path) -> bool:
        try:
            stat = path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if stamp == self._stamps.get(name):
                return False
            self._stamps[name] = stamp
            value = path.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            value = ""
        if not value or not value.isprintable():
            _log.warning("the file of secret metadata %s holds no line of ASCII text; not used", name)
            return False
        self._values[name] = value
        return True


def open_channel(endpoint: Endpoint, credentials: Credentials | None, *, local: bool) -> grpc.aio.Channel:
    """Open a channel to a server.

    Args:
        endpoint: Where it is.
        credentials: Certificates; None = no TLS.
        local: Whether it is a process of this machine, whose death the kernel reports at once.
    """
    options = CHANNEL_OPTIONS if local else (*CHANNEL_OPTIONS, *_KEEPALIVE)
    if credentials is not None:
        options = (*options, *credentials.options(endpoint))
        return grpc.aio.secure_channel(endpoint.address, credentials.for_grpc(), options)
    if endpoint.authority:
        options = (*options, ("grpc.default_authority", endpoint.authority))
    return grpc.aio.insecure_channel(endpoint.address, options)
