"""The servers of the suite, each started once for a test process, and the clients that ask them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.interop.conformance.case import TRITON
from tests.interop.conformance.clients import CLIENTS
from tests.interop.conformance.targets import link_digits, serve_accord, serve_real_triton, write_models
from tests.peers import ensure_installed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.interop.conformance.clients import Client
    from tests.interop.conformance.targets import Target

    Clients = Mapping[tuple[str, str], Client]


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("conformance") / "models")


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return link_digits(tmp_path_factory.mktemp("digits") / "models")


@pytest.fixture(scope="session")
def accord(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    with serve_accord(repository, tmp_path_factory.mktemp("accord")) as targets, asking(targets) as clients:
        yield clients


@pytest.fixture(scope="session")
def triton(repository: Path, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    ensure_installed("triton")
    folder = tmp_path_factory.mktemp("triton")
    with (
        serve_real_triton((repository, digits), folder) as target,
        asking({TRITON: target}) as clients,
    ):
        yield clients


@pytest.fixture(scope="session")
def client(request: pytest.FixtureRequest) -> Callable[[str, str], Client]:
    """Give the client of a kind that asks a server, which is started when it is first asked."""

    def get(server: str, kind: str) -> Client:
        clients: Clients = request.getfixturevalue("triton" if server == TRITON else "accord")
        return clients[server, kind]

    return get


@contextmanager
def asking(targets: Mapping[str, Target]) -> Iterator[Clients]:
    """Make each kind of client for each target; their connections end before the server does."""
    clients = {(name, kind): CLIENTS[kind](target) for name, target in targets.items() for kind in CLIENTS}
    try:
        yield clients
    finally:
        for client in clients.values():
            client.close()
