"""Where a model's replicas are: fixed addresses, and names that resolve to addresses which come and go.

A target is ``host:port``, ``unix:PATH`` or ``dns:///host:port``. The first two are one endpoint each, and
gRPC connects to them as they are. The last is a name behind which every address is a replica of its own,
like a headless service of Kubernetes: gRPC itself would look it up again only after a connection broke.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

__all__ = ["Endpoint", "Endpoints", "look_up"]

_log = logging.getLogger(__name__)

_DNS = "dns:///"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One replica's place.

    Args:
        address: What a channel connects to.
        authority: The ``host:port`` that it was found under; empty where the address says it.
    """

    address: str
    authority: str = ""

    @property
    def host(self) -> str:
        """The name that it was found under; empty where the address says it."""
        return self.authority.rpartition(":")[0]


async def look_up(host: str, port: int) -> list[str]:
    """Return the addresses behind a name.

    Raises:
        OSError: If it has none, or nobody answers.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class Endpoints:
    """The endpoints behind a list of targets.

    Args:
        targets: The targets.
        resolve: Finds the addresses behind a name; replaced in tests.
    """

    def __init__(
        self, targets: Sequence[str], resolve: Callable[[str, int], Awaitable[Sequence[str]]] = look_up
    ) -> None:
        names = [target.removeprefix(_DNS) for target in targets if target.startswith(_DNS)]
        self.fixed = tuple(Endpoint(target) for target in targets if not target.startswith(_DNS))
        self._found: dict[str, tuple[Endpoint, ...]] = dict.fromkeys(names, ())
        self._resolve = resolve

    async def find(self) -> tuple[Endpoint, ...]:
        """Return all endpoints now; a name that cannot be resolved keeps those it had."""
        for authority in self._found:
            host, _, port = authority.rpartition(":")
            try:
                addresses = await self._resolve(host.strip("[]"), int(port))
            except (OSError, UnicodeError) as error:  # the latter for what can be no host's name
                _log.warning("the name %s cannot be resolved: %s", authority, error)
                continue
            self._found[authority] = tuple(
                Endpoint(f"[{address}]:{port}" if ":" in address else f"{address}:{port}", authority)
                for address in sorted(set(addresses))
            )
        return self.fixed + tuple(endpoint for found in self._found.values() for endpoint in found)
