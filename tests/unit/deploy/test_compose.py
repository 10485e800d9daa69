"""The compose example: hardened, closed to other hosts, and in step with the configuration beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from gateway.config import load
from protos.address import Address

FOLDER = Path(__file__).parents[3] / "deploy/compose"
SERVICES: dict[str, Any] = YAML(typ="safe").load((FOLDER / "compose.yaml").read_text())["services"]
WORKERS = {name: service for name, service in SERVICES.items() if name != "gateway"}


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
def test_every_container_is_hardened(service: dict[str, Any]) -> None:
    """Read-only root with a writable /tmp, no capability, no new privileges, bounded memory."""
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert all(volume.endswith(":ro") for volume in service["volumes"])


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
def test_every_image_can_be_built_from_here(service: dict[str, Any]) -> None:
    """Context and Dockerfile exist."""
    context = (FOLDER / service["build"]["context"]).resolve()
    assert (context / "pyproject.toml").is_file()
    assert (context / service["build"]["dockerfile"]).is_file()


def test_only_this_host_reaches_the_gateway_and_nobody_the_workers() -> None:
    """Published ports are bound to loopback; workers publish none."""
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["gateway"]["ports"])
    assert [name for name, worker in WORKERS.items() if "ports" in worker] == []


def test_each_worker_is_where_the_configuration_looks_for_it() -> None:
    """A model's target is the service that serves the model of that name, at the port where it listens."""
    config, _ = load(FOLDER / "accord.yaml", {})
    found = {}
    for name, worker in WORKERS.items():
        subcommand, *rest = worker["command"]
        options = dict(zip(rest[::2], rest[1::2], strict=True))
        assert (subcommand, options["--repository"]) == ("worker", "/models")
        port = Address.parse(options["--address"]).text.rpartition(":")[2]
        found[options["--model"]] = f"{name}:{port}"
    assert {name: model.oip.targets for name, model in config.models.items() if model.oip} == {
        name: (target,) for name, target in found.items()
    }


def test_the_ensemble_survives_the_loss_of_a_container() -> None:
    """The quorum is below the number of members, and no member is required."""
    config, _ = load(FOLDER / "accord.yaml", {})
    ensemble = config.ensembles["digits"]
    assert ensemble.quorum is not None
    assert ensemble.quorum.count == len(ensemble.members) - 1
    assert not any(member.required for member in ensemble.members)
