"""Loads and unloads a model of our own workers: one instance after the other, so that the others serve."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import grpc

from protos.errors import AccordError, Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.members.oip import OipMember
    from gateway.members.server import Server

__all__ = ["Loading"]

_log = logging.getLogger(__name__)


class Loading:
    """What the admin listener may do with a member that our own workers host.

    Args:
        member: The member.
    """

    def __init__(self, member: OipMember) -> None:
        self._member = member

    async def load(self) -> None:
        """Load the model again on every instance, and learn what it is now.

        Raises:
            AccordError: MODEL_LOAD_FAILED if an instance cannot; it serves what it had.
        """
        await self._each(lambda server: server.load())

    async def unload(self) -> None:
        """Take the model out on every instance.

        Raises:
            AccordError: MODEL_LOAD_FAILED if an instance cannot be told.
        """
        await self._each(lambda server: server.unload())

    async def _each(self, act: Callable[[Server], Awaitable[None]]) -> None:
        name = self._member.name
        failed = []
        servers = self._member.servers
        for server in servers:
            try:
                await act(server)
            except grpc.aio.AioRpcError as error:
                _log.error("model %s: %s %.512r", name, error.code().name, error.details())
                failed.append(server)
        await self._member.refresh()
        if failed or not servers:
            raise AccordError(
                Reason.MODEL_LOAD_FAILED,
                f"model {name!r}: {len(failed)} of {len(servers)} instances failed; their logs say why",
                metadata={"model": name},
            )
