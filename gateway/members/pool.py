"""The replicas of a model: which of them are there, which can be asked, and which is asked next.

Rules:

- Every replica has a connection of its own and is probed on its own, whoever starts and stops the servers.
- A replica that is gone from the endpoints drains: it is asked no more once another can be asked, and its
  connection ends when its last call has. So neither a list that is empty for a moment nor a change of all
  addresses at once fails a call.
- Nothing here knows a protocol: a kind of member says how to connect and how to probe.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from gateway.policies.balance import least_loaded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from gateway.members.endpoints import Endpoint, Endpoints
    from gateway.policies.backoff import Backoff

__all__ = ["Connection", "Pool", "Replica"]

_log = logging.getLogger(__name__)

#: How often a ready replica is probed, in seconds.
PROBE_UP_S = 1.0
#: What a probe that raised something says; its traceback is logged once.
_PROBE_FAILED = "the probe failed"


class Connection(Protocol):
    """What a replica is asked through."""

    async def close(self) -> None:
        """End it, with every call on it."""
        ...


C = TypeVar("C", bound=Connection)


@dataclass(slots=True, eq=False)
class Replica(Generic[C]):
    """One server of the model.

    Args:
        endpoint: Where it is.
        connection: What it is asked through.
        ready: Whether its last probe found it ready, and no call has found otherwise since.
        in_flight: Calls under way.
        gone: Whether it is no longer among the endpoints.
        trouble: What its last probe said against it.
        probes: How often it was probed.
    """

    endpoint: Endpoint
    connection: C
    ready: bool = False
    in_flight: int = 0
    gone: bool = False
    trouble: str = ""
    probes: int = 0


class Pool(Generic[C]):
    """The replicas of one model.

    Args:
        name: The model's name, for logs.
        endpoints: Where they are.
        connect: Opens a connection.
        probe: Asks a replica whether it is ready; returns what speaks against it, or nothing.
        renewed: Tells whether connections must be opened anew, e.g. because a certificate changed.
        resolve_s: How often the endpoints are looked up, in seconds.
        down: How soon a replica that is not ready is probed again.
        on_change: Called when the readiness of a replica changes.
    """

    def __init__(
        self,
        *,
        name: str,
        endpoints: Endpoints,
        connect: Callable[[Endpoint], C],
        probe: Callable[[Replica[C]], Awaitable[str]],
        renewed: Callable[[], bool] = lambda: False,
        resolve_s: float = 5.0,
        down: Backoff,
        on_change: Callable[[], None],
    ) -> None:
        self._name = name
        self._endpoints = endpoints
        self._connect = connect
        self._probe = probe
        self._renewed = renewed
        self._resolve_s = resolve_s
        self._down = down
        self._on_change = on_change
        self._replicas: list[Replica[C]] = []
        self._watches: set[asyncio.Task[None]] = set()
        self._follower: asyncio.Task[None] | None = None
        self._all_down = asyncio.Event()
        self._turn = 0

    def start(self) -> None:
        """Begin to follow the endpoints and to watch the replicas."""
        self._follower = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Stop watching and close the connections."""
        tasks = [*self._watches, *([self._follower] if self._follower else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for replica in self._replicas:
            await replica.connection.close()

    @property
    def ready(self) -> bool:
        """Whether a replica is ready."""
        return any(replica.ready for replica in self._replicas)

    @property
    def replicas(self) -> tuple[Replica[C], ...]:
        """All replicas, those that are gone and drain included."""
        return tuple(self._replicas)

    @property
    def replicas_ready(self) -> int:
        """How many replicas are ready."""
        return sum(replica.ready for replica in self._replicas)

    async def probe_all(self) -> None:
        """Probe every replica now, between its own times."""
        await asyncio.gather(*(self._probe_once(replica) for replica in self._replicas))

    def pick(self) -> Replica[C] | None:
        """Return the replica that the next call goes to, or None if none is ready."""
        replicas = self._replicas
        loads = [replica.in_flight for replica in replicas]
        picked = least_loaded(loads, [r.ready and not r.gone for r in replicas], self._turn)
        if picked is None:
            picked = least_loaded(loads, [r.ready for r in replicas], self._turn)
        self._turn += 1
        return None if picked is None else replicas[picked]

    def set_ready(self, replica: Replica[C], *, ready: bool) -> None:
        """Take note of what a probe, or a call, found."""
        if replica.ready == ready:
            return
        replica.ready = ready
        address = replica.endpoint.address
        _log.info("model %s at %s is %s", self._name, address, "ready" if ready else "not ready")
        if not self.ready:
            self._all_down.set()
        self._on_change()

    async def _follow(self) -> None:
        while True:
            self._all_down.clear()
            try:
                self._keep(await self._endpoints.find(), anew=self._renewed())
            except Exception:  # noqa: BLE001 - the follower must outlive any surprise
                _log.exception("looking up the replicas of model %s failed", self._name)
            # not wait_for: in Python 3.11 it can swallow a cancellation
            with suppress(TimeoutError):
                async with asyncio.timeout(self._resolve_s):
                    await self._all_down.wait()

    def _keep(self, endpoints: Iterable[Endpoint], *, anew: bool) -> None:
        """Make the replicas those of some endpoints."""
        wanted = set(endpoints)
        for replica in self._replicas:
            replica.gone = replica.gone or anew or replica.endpoint not in wanted
        kept = {replica.endpoint for replica in self._replicas if not replica.gone}
        for endpoint in sorted(wanted - kept, key=lambda e: e.address):
            replica = Replica(endpoint, self._connect(endpoint))
            self._replicas.append(replica)
            watch = asyncio.create_task(self._watch(replica))
            self._watches.add(watch)
            watch.add_done_callback(self._watches.discard)

    async def _watch(self, replica: Replica[C]) -> None:
        """Probe a replica until it is gone and drained."""
        failures = 0
        while not self._drained(replica):
            await self._probe_once(replica)
            failures = failures + 1 if replica.trouble else 0
            await asyncio.sleep(self._down.delay_s(failures) if failures else PROBE_UP_S)
        self._replicas.remove(replica)
        await replica.connection.close()
        self._on_change()

    async def _probe_once(self, replica: Replica[C]) -> None:
        trouble = await self._trouble(replica)
        if trouble not in ("", replica.trouble):
            _log.warning("model %s at %s: %s", self._name, replica.endpoint.address, trouble)
        replica.trouble = trouble
        replica.probes += 1
        self.set_ready(replica, ready=not trouble)

    async def _trouble(self, replica: Replica[C]) -> str:
        try:
            return await self._probe(replica)
        except Exception:  # noqa: BLE001 - the watch must outlive any surprise
            if replica.trouble != _PROBE_FAILED:
                _log.exception("probing model %s at %s failed", self._name, replica.endpoint.address)
            return _PROBE_FAILED

    def _drained(self, replica: Replica[C]) -> bool:
        if not replica.gone or replica.in_flight:
            return False
        return not replica.ready or any(other.ready and not other.gone for other in self._replicas)
