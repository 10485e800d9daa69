"""The pool: replicas come, go, fall ill and recover, and no call is lost on the way. In virtual time."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.members.endpoints import Endpoints
from gateway.members.pool import Pool, Replica
from gateway.policies.backoff import Backoff
from tests.clock import run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from gateway.members.endpoints import Endpoint


@dataclass(eq=False)
class Line:
    """A connection that only knows whether it is open."""

    address: str
    open: bool = True

    async def close(self) -> None:
        self.open = False


@dataclass
class Network:
    """A name service and servers, as a test wants them."""

    addresses: list[str] = field(default_factory=lambda: ["10.0.0.1", "10.0.0.2"])
    down: set[str] = field(default_factory=set)
    dead: bool = False
    anew: bool = False
    lookups: list[float] = field(default_factory=list)
    probes: list[float] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    changes: int = 0

    async def resolve(self, _host: str, _port: int) -> list[str]:
        self.lookups.append(asyncio.get_running_loop().time())
        if self.dead:
            raise OSError("no name service")
        return self.addresses

    def connect(self, endpoint: Endpoint) -> Line:
        self.lines.append(Line(endpoint.address))
        return self.lines[-1]

    async def probe(self, replica: Replica[Line]) -> str:
        self.probes.append(asyncio.get_running_loop().time())
        return "down" if replica.endpoint.address in self.down else ""

    def renewed(self) -> bool:
        anew, self.anew = self.anew, False
        return anew

    def changed(self) -> None:
        self.changes += 1

    def open(self) -> list[str]:
        return sorted(line.address for line in self.lines if line.open)


@asynccontextmanager
async def pooled(network: Network, *targets: str) -> AsyncIterator[Pool[Line]]:
    pool = Pool(
        name="m",
        endpoints=Endpoints(targets or ("dns:///models:8001",), network.resolve),
        connect=network.connect,
        probe=network.probe,
        renewed=network.renewed,
        resolve_s=5.0,
        down=Backoff(first_s=0.1, most_s=1.0),
        on_change=network.changed,
    )
    pool.start()
    await asyncio.sleep(0.01)
    try:
        yield pool
    finally:
        await pool.close()
        assert network.open() == []


def picked(pool: Pool[Line], times: int = 8) -> set[str]:
    found = (pool.pick() for _ in range(times))
    return {replica.endpoint.address for replica in found if replica}


def test_every_address_of_a_name_is_a_replica() -> None:
    """Calls go round all addresses, where gRPC by itself would stay with one."""

    async def main() -> None:
        async with pooled(Network()) as pool:
            assert picked(pool) == {"10.0.0.1:8001", "10.0.0.2:8001"}
            assert pool.replicas_ready == 2

    run(main())


def test_addresses_come_and_go() -> None:
    """A new address serves within one look-up, and one that is gone gets no further call."""

    async def main() -> None:
        network = Network()
        async with pooled(network) as pool:
            network.addresses = ["10.0.0.2", "10.0.0.3"]
            await asyncio.sleep(5.1)
            assert picked(pool) == {"10.0.0.2:8001", "10.0.0.3:8001"}
            await asyncio.sleep(1.1)
            assert network.open() == ["10.0.0.2:8001", "10.0.0.3:8001"]

    run(main())


def test_a_removed_replica_drains() -> None:
    """Its connection stays until its last call has ended."""

    async def main() -> None:
        network = Network()
        async with pooled(network) as pool:
            busy = next(r for _ in range(2) if (r := pool.pick()) and r.endpoint.address == "10.0.0.1:8001")
            busy.in_flight = 1
            network.addresses = ["10.0.0.2"]
            await asyncio.sleep(60)
            assert busy.connection.open
            assert picked(pool) == {"10.0.0.2:8001"}
            busy.in_flight = 0
            await asyncio.sleep(1.1)
            assert not busy.connection.open

    run(main())


def test_a_change_of_all_addresses_fails_no_call() -> None:
    """The old ones are asked until a new one is ready."""

    async def main() -> None:
        network = Network()
        async with pooled(network) as pool:
            network.addresses, network.down = ["10.0.0.3"], {"10.0.0.3:8001"}
            await asyncio.sleep(10)
            assert picked(pool) == {"10.0.0.1:8001", "10.0.0.2:8001"}
            network.down = set()
            await asyncio.sleep(3)
            assert picked(pool) == {"10.0.0.3:8001"}
            assert network.open() == ["10.0.0.3:8001"]

    run(main())


def test_an_empty_list_fails_no_call() -> None:
    """A name that has no addresses for a moment, or a dead name service, takes nobody away."""

    async def main() -> None:
        network = Network()
        async with pooled(network) as pool:
            network.addresses = []
            await asyncio.sleep(10)
            assert picked(pool) == {"10.0.0.1:8001", "10.0.0.2:8001"}
            network.dead = True
            await asyncio.sleep(10)
            assert picked(pool) == {"10.0.0.1:8001", "10.0.0.2:8001"}

    run(main())


def test_a_name_is_looked_up_at_once_when_all_replicas_are_down() -> None:
    """Whoever moved everything need not be waited for."""

    async def main() -> None:
        network = Network()
        async with pooled(network) as pool:
            await asyncio.sleep(1.0)
            assert network.lookups == [0.0]
            network.addresses = ["10.0.0.3"]
            while (replica := pool.pick()) is not None:
                pool.set_ready(replica, ready=False)
            await asyncio.sleep(0.01)
            assert len(network.lookups) == 2
            assert "10.0.0.3:8001" in picked(pool)

    run(main())


def test_a_replica_that_fails_is_out_until_its_probe_finds_it_ready() -> None:
    """What a call finds counts at once; what a probe finds brings it back."""

    async def main() -> None:
        network = Network(addresses=["10.0.0.1"])
        async with pooled(network) as pool:
            replica = pool.pick()
            assert replica is not None
            network.down = {"10.0.0.1:8001"}
            pool.set_ready(replica, ready=False)
            assert pool.pick() is None
            await asyncio.sleep(3)
            assert pool.pick() is None
            network.down = set()
            await asyncio.sleep(1.1)
            assert pool.pick() is replica

    run(main())


def test_a_server_that_is_down_is_probed_ever_less_often() -> None:
    """A model that loads for minutes is not asked ten times a second."""

    async def main() -> None:
        network = Network(addresses=["10.0.0.1"], down={"10.0.0.1:8001"})
        async with pooled(network):
            await asyncio.sleep(60)
        assert 60 <= len(network.probes) <= 66

    run(main())


def test_renewed_certificates_replace_every_connection_without_a_gap() -> None:
    """Each connection is opened anew, and the old one drains."""

    async def main() -> None:
        network = Network(addresses=["10.0.0.1"])
        async with pooled(network) as pool:
            network.anew = True
            for _ in range(100):
                await asyncio.sleep(0.1)
                assert pool.pick() is not None
            assert len(network.lines) == 2
            assert network.open() == ["10.0.0.1:8001"]

    run(main())


def test_a_probe_that_raises_counts_as_down(caplog: pytest.LogCaptureFixture) -> None:
    """A bug in the probing of one replica takes out that one, and the watch goes on; it is logged once."""

    async def main() -> None:
        network = Network()
        probe = network.probe

        async def broken(replica: Replica[Line]) -> str:
            if replica.endpoint.address == "10.0.0.1:8001":
                raise KeyError(replica)
            return await probe(replica)

        network.probe = broken  # type: ignore[method-assign] # the test's own network
        async with pooled(network) as pool:
            assert picked(pool) == {"10.0.0.2:8001"}
            await asyncio.sleep(10)
            assert pool.replicas[0].probes > 5

    run(main())
    assert sum(record.exc_info is not None for record in caplog.records) == 1


def test_fixed_targets_need_no_name_service() -> None:
    """They are there from the start, as they are written."""

    async def main() -> None:
        network = Network()
        async with pooled(network, "unix:/run/m.sock", "host:1") as pool:
            assert picked(pool) == {"unix:/run/m.sock", "host:1"}
            assert network.lookups == []

    run(main())
