"""Endpoints: what targets stand for."""

from __future__ import annotations

import asyncio

import pytest

from gateway.members.endpoints import Endpoint, Endpoints, look_up


def find(endpoints: Endpoints) -> tuple[Endpoint, ...]:
    return asyncio.run(endpoints.find())


def test_a_name_gives_one_endpoint_for_each_address_and_remembers_its_name() -> None:
    """Addresses of both families, each once and in order; the name is what a certificate is checked for."""

    async def resolve(host: str, port: int) -> list[str]:
        assert (host, port) == ("models.svc", 8001)
        return ["10.0.0.2", "fd00::1", "10.0.0.1", "10.0.0.2"]

    found = find(Endpoints(["dns:///models.svc:8001", "other:8001"], resolve))
    assert [e.address for e in found] == ["other:8001", "10.0.0.1:8001", "10.0.0.2:8001", "[fd00::1]:8001"]
    assert [e.host for e in found] == ["", "models.svc", "models.svc", "models.svc"]


@pytest.mark.parametrize("error", [OSError("name service down"), UnicodeError("label too long")])
def test_a_name_that_cannot_be_resolved_keeps_its_addresses(error: Exception) -> None:
    """A name service that is down takes no replica away, nor does a name that can be none."""
    alive = True

    async def resolve(_host: str, _port: int) -> list[str]:
        if not alive:
            raise error
        return ["10.0.0.1"]

    endpoints = Endpoints(["dns:///models:1"], resolve)
    before = find(endpoints)
    alive = False
    assert find(endpoints) == before != ()


def test_the_systems_resolver_is_asked() -> None:
    """``localhost`` is this host."""
    assert set(asyncio.run(look_up("localhost", 1))) <= {"127.0.0.1", "::1"}
