"""The shipped ghz configurations: what each must say, because ghz passes over what it does not know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deploy.ghz.load import CONFIGS, STRUCK

ROOT = Path(__file__).parents[3]
PATHS = sorted((ROOT / CONFIGS).glob("*.json"))

#: Those of ghz's options that we use. Source: ghz v0.121.0, ``runner/config.go``.
KNOWN = {
    *("name", "protoset", "call", "host", "insecure", "binary-file", "total", "concurrency", "connections"),
    *("rps", "async", "timeout", "cpus", "tags"),
}


def read(path: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(path.read_bytes())
    return config


def test_together_they_make_two_thousand_calls() -> None:
    """The headline run is 2,000 calls."""
    assert sum(read(path)["total"] for path in PATHS) == 2000


def test_both_services_and_three_loads_are_covered() -> None:
    """One, 16 and 64 calls in flight by the Open Inference Protocol; the typed service; one steady rate."""
    configs = [read(path) for path in PATHS]
    closed = {c["concurrency"] for c in configs if "inference." in c["call"] and "rps" not in c}
    assert closed == {1, 16, 64}
    assert any(c["call"] == "accord.v1.EnsembleService/Infer" for c in configs)
    assert [c["async"] for c in configs if c["name"] == STRUCK] == [True]


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_a_configuration_is_complete(path: Path) -> None:
    """Named as its file, no unknown option, no reflection, plaintext said aloud, tagged, and bounded."""
    config = read(path)
    assert config["name"] == path.stem
    assert set(config) <= KNOWN
    kind = "oip" if config["call"].startswith("inference.") else "accord"
    assert config["protoset"] == f"build/load/{kind}.protoset"
    assert config["binary-file"] == f"build/load/digits.{kind}.bin"
    assert config["insecure"] is True
    assert config["timeout"]
    assert {"service", "ensemble", "rows", "loop"} <= set(config["tags"])


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_calls_are_spread_over_connections(path: Path) -> None:
    """More than one call in flight means at least two connections; ghz's default is one."""
    config = read(path)
    assert config["connections"] >= min(2, config["concurrency"])
