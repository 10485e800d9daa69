"""A connection to a server, which its clients share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import grpc

from protos.rpc import CHANNEL_OPTIONS

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Connection"]


class Connection:
    """A channel that is closed with its client; usable as a context manager.

    Args:
        address: ``host:port`` or ``unix:PATH``.
    """

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address, CHANNEL_OPTIONS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()
