"""Foreign servers for tests, where they can be installed."""

from __future__ import annotations

import pytest

from bench.peers import NotInstalled
from bench.peers.environment import environment

__all__ = ["ensure_installed"]


def ensure_installed(name: str) -> None:
    """Install a peer or skip; in CI such a skip fails the run, because it is on no list."""
    try:
        environment(name)
    except NotInstalled as error:
        pytest.skip(f"needs a registry: {error}")
