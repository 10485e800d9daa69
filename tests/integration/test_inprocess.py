"""Models in the gateway process answer as those of workers do, and are watched and changed like them."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton

from protos.model import independent_of
from protos.tensor import Tensor
from tests import models
from tests.integration.loading import ask, asking, load_in_turn, times
from tests.interop.asking import infer
from tests.serving import eventually, failed, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.serving import Served

#: Every model twice: in a worker, and, under the name behind ``in-``, in the gateway.
CONFIG = """
server: {drain_s: 5, admin: "unix:admin.sock"}
models:
  one: {worker: {repository: models, threads: 1}}
  two: {worker: {repository: models, threads: 1}}
  picky: {worker: {repository: models}}
  slow: {worker: {repository: models}}
  greedy: {worker: {repository: models}}
  in-one: {inprocess: {repository: models, model: one}}
  in-picky: {inprocess: {repository: models, model: picky}}
  in-slow: {inprocess: {repository: models, model: slow}}
  in-greedy: {inprocess: {repository: models, model: greedy}}
  m: {inprocess: {repository: models}}
ensembles:
  apart:
    strategy: {kind: mean}
    members: [{model: one}, {model: two}]
  mixed:
    strategy: {kind: mean}
    members: [{model: in-one}, {model: two}]
  e:
    strategy: {kind: mean}
    members: [{model: m}]
"""


@dataclass(frozen=True)
class Running:
    """A server, where its models lie, and ways to it."""

    server: Served
    folder: Path
    channel: grpc.Channel
    public: triton.InferenceServerClient
    admin: triton.InferenceServerClient


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("inprocess")
    random = np.random.default_rng(3)
    for name in ("one", "two"):
        weights = random.normal(size=(64, 10)).astype(np.float32)
        models.write_model(folder / "models", name, models.linear(weights))
    models.write_model(folder / "models", "picky", models.picky())
    models.write_model(folder / "models", "slow", models.slow())
    models.write_model(folder / "models", "greedy", models.greedy())
    models.write_model(folder / "models", "m", times(1))
    (folder / "accord.yaml").write_text(CONFIG)
    server = serve(folder / "accord.yaml", folder)
    with (
        grpc.insecure_channel(server.address) as channel,
        triton.InferenceServerClient(server.address) as public,
        triton.InferenceServerClient(f"unix:{folder}/admin.sock") as admin,
    ):
        yield Running(server, folder, channel, public, admin)
    assert server.stop() == 0


@pytest.mark.parametrize("rows", [1, 3, 256])
def test_an_ensemble_answers_bit_for_bit_the_same(running: Running, rows: int) -> None:
    """With one of its models in process, and with all in workers; inline and in the thread."""
    x = Tensor.from_array(np.random.default_rng(rows).normal(size=(rows, 64)).astype(np.float32))
    apart, mixed = (infer(running.channel, name, {"x": x})["y"] for name in ("apart", "mixed"))
    assert bytes(apart.raw) == bytes(mixed.raw)


#: By model, an input that it fails at.
FAULTS: dict[str, tuple[str, Any]] = {
    "picky": ("index", [7]),
    "one": ("x", np.zeros((1, 3), np.float32)),
    "greedy": ("count", [1 << 46]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_an_error_is_the_same_as_that_of_a_worker(running: Running, name: str) -> None:
    """Status, reason, and what is told of the member; and nothing of the runtime's own words."""
    field, values = FAULTS[name]
    inputs = {field: Tensor.from_array(np.asarray(values))}
    apart, inside = (failed(lambda m=m: infer(running.channel, m, inputs)) for m in (name, f"in-{name}"))
    assert (inside.code, inside.info.reason) == (apart.code, apart.info.reason)
    assert [(m.cause, m.outcome) for m in inside.members] == [(m.cause, m.outcome) for m in apart.members]
    assert "onnx" not in inside.message.lower()


def test_a_deadline_ends_the_run_and_the_loop_is_never_held(running: Running) -> None:
    """While a model computes for minutes, others are answered; then it is asked again."""
    endless = {"steps": Tensor.from_array(np.array([6_000_000]))}
    x = {"x": Tensor.from_array(np.ones((1, 64), np.float32))}
    call = failed(lambda: infer(running.channel, "in-slow", endless, within_s=0.5))
    assert call.code == "DEADLINE_EXCEEDED"
    assert infer(running.channel, "in-one", x, within_s=2)
    short = {"steps": Tensor.from_array(np.array([1]))}
    assert infer(running.channel, "in-slow", short, within_s=5)["y"].array().tolist() == [1]


def test_what_was_found_of_a_model_is_told(running: Running) -> None:
    """In the config of a worker's model, and of one in process."""
    for name in ("one", "in-one"):
        assert independent_of(running.public.get_model_config(name).config) is True
    assert independent_of(running.public.get_model_config("slow").config) is None


def test_health_metrics_and_status_count_it(running: Running) -> None:
    """It is ready, it is one replica, and no process of its own."""
    assert running.public.is_model_ready("in-one")
    with urllib.request.urlopen(f"http://{running.server.metrics}/metrics", timeout=5) as answer:
        assert 'accord_replicas_ready{model="in-one"} 1.0' in answer.read().decode()
    processes = {worker["model"] for worker in running.server.facts()["workers"]}
    assert processes == {"one", "two", "picky", "slow", "greedy"}
    command = [sys.executable, "-m", "accord.cli", "status", "--address", running.server.address, "--json"]
    told = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert {each["name"] for each in told if each["ready"]} >= {"in-one", "mixed", "m"}


def test_it_is_loaded_again_and_again_under_load_without_a_failed_call(running: Running) -> None:
    """As a worker's model is, and its ensemble with it."""
    with asking(running.server.address, "m", "e") as told:
        load_in_turn(running.folder / "models", running.admin, told, loads=6)
    for asked in told:
        assert not asked.failures
        assert min(asked.factors[1.0], asked.factors[2.0]) >= 3
    models.write_model(running.folder / "models", "m", models.corrupt(), version=2)
    with pytest.raises(triton.InferenceServerException, match="could not be loaded") as caught:
        running.admin.load_model("m")
    assert str(running.folder) not in str(caught.value)
    assert ask(running.public) in (1.0, 2.0)
    assert "2/model.onnx" in running.server.log.read_text()


def test_it_is_unloaded_with_its_ensemble_until_it_is_back(running: Running) -> None:
    """Taken out, it is not ready; the index says so."""
    models.write_model(running.folder / "models", "m", times(5), version=2)
    running.admin.unload_model("m")
    assert not running.public.is_model_ready("m")
    with pytest.raises(triton.InferenceServerException, match="UNAVAILABLE"):
        ask(running.public, "e")
    index = {each.name: each.state for each in running.admin.get_model_repository_index().models}
    assert index["m"] == "UNAVAILABLE"
    running.admin.load_model("m")
    assert (ask(running.public), ask(running.public, "e")) == (5, 5)


def maps(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def test_only_a_gateway_that_hosts_a_model_loads_the_runtime(running: Running, served: Served) -> None:
    """And the parent process never does."""
    facts = running.server.facts()
    assert "onnxruntime" in maps(facts["gateway_pid"])
    assert "onnxruntime" not in maps(facts["pid"])
    assert "onnxruntime" not in maps(served.facts()["gateway_pid"])


def test_a_gateway_serves_the_others_until_a_model_can_be_loaded(tmp_path: Path) -> None:
    """A model that is broken at the start is told in the log, and served when its file is whole."""
    models.write_model(tmp_path / "models", "good", times(1))
    models.write_model(tmp_path / "models", "bad", models.corrupt())
    entries = (f"  {name}: {{inprocess: {{repository: models}}}}" for name in ("good", "bad"))
    (tmp_path / "accord.yaml").write_text("\n".join(["models:", *entries, ""]))
    server = serve(tmp_path / "accord.yaml", tmp_path, ready=False)
    try:
        with triton.InferenceServerClient(server.listening()) as client:
            eventually(lambda: client.is_model_ready("good"), within_s=20, what="the good one serves")
            assert ask(client, "good") == 1
            assert not client.is_model_ready("bad")
            assert any("damaged" in event.get("cause", "") for event in server.events())
            models.write_model(tmp_path / "models", "bad", times(2))
            eventually(lambda: client.is_model_ready("bad"), within_s=20, what="the mended one serves")
            assert ask(client, "bad") == 2
    finally:
        assert server.stop() == 0


def check(path: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "accord.cli", "check", str(path), "--json"]
    told: dict[str, Any] = json.loads(subprocess.run(command, check=False, capture_output=True).stdout)
    return told


def test_a_check_says_whose_requests_share_calls(tmp_path: Path) -> None:
    """Of each model whether it is independent; one that is not is warned of, mixed or not."""
    models.write_model(tmp_path / "models", "plain", times(1))
    models.write_model(tmp_path / "models", "attends", models.attends())
    (tmp_path / "accord.yaml").write_text("""
models:
  plain: {worker: {repository: models}}
  kept: {inprocess: {repository: models, model: plain}, mix: false}
  attends: {inprocess: {repository: models}}
  forced: {worker: {repository: models, model: attends}, mix: true}
  far: {oip: {targets: ["127.0.0.1:9"]}}
""")
    told = check(tmp_path / "accord.yaml")
    assert told["models"] == {
        "plain": {"independent": True, "mixes": True},
        "kept": {"independent": True, "mixes": False},
        "attends": {"independent": False, "mixes": False},
        "forced": {"independent": False, "mixes": True},
        "far": {"independent": None, "mixes": False},
    }
    attends, forced = told["warnings"]
    assert "'attends'" in attends
    assert "unless mix: true" in attends
    assert "'forced'" in forced
    assert "leave mix out" in forced


def test_a_check_refuses_a_model_in_process_that_cannot_be_loaded(tmp_path: Path) -> None:
    """At its line, as a worker's."""
    models.write_model(tmp_path / "models", "bad", models.corrupt())
    (tmp_path / "accord.yaml").write_text("models:\n  bad: {inprocess: {repository: models}}\n")
    (complaint,) = check(tmp_path / "accord.yaml")["complaints"]
    assert (complaint["line"], complaint["path"]) == (2, "models.bad.inprocess")
    assert "damaged" in complaint["problem"]
