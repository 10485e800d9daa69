"""Processes: nothing outlives its parent, what dies comes back, what stops drains."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import grpc
import numpy as np
import psutil
import pytest

from accord.client import CallError, Client
from tests import models
from tests.serving import ANY_PORT, Served, eventually, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

X = np.ones((1, 2), np.float32)
CONFIG = """
models:
  one: {worker: {repository: models, instances: 2}}
  two: {worker: {repository: models}}
  slow: {worker: {repository: models}}
ensembles:
  any:
    strategy: {kind: mean}
    quorum: 1
    members: [{model: one}, {model: two}]
"""


def write_config(folder: Path) -> Path:
    for name in ("one", "two"):
        models.write_model(folder / "models", name, models.linear(np.eye(2)))
    models.write_model(folder / "models", "slow", models.slow())
    config = folder / "accord.yaml"
    config.write_text(CONFIG)
    return config


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Served]:
    """A server of this test alone, which may be ended."""
    server = serve(write_config(tmp_path), tmp_path)
    yield server
    if server.process.poll() is None:
        server.process.kill()
        server.process.wait()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("shared")
    server = serve(write_config(folder), folder)
    yield server
    assert server.stop() == 0


@pytest.fixture
def shared(running: Served) -> Iterator[Served]:
    """A server whose processes may be killed: the next test finds it whole again."""
    yield running
    eventually(lambda: whole(running), within_s=15, what="the server is whole again")


def whole(served: Served) -> bool:
    """Whether every process runs, every worker is reached, and the announced address answers."""
    status, text = get(served, "/metrics")
    replicas = {
        f'accord_replicas_ready{{model="{m}"}} {n}.0' for m, n in (("one", 2), ("two", 1), ("slow", 1))
    }
    if status != 200 or len(served.everyone()) != 5 or not replicas <= set(text.splitlines()):
        return False
    with Client(served.address) as client:
        try:
            return not client.infer("any", {"x": X}).report.degraded
        except CallError:
            return False


def metric(served: Served, name: str) -> float:
    """Return a metric's value; 0 while it has none."""
    lines = get(served, "/metrics")[1].splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))


def gone(pids: list[int]) -> bool:
    return not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids)


def test_nothing_outlives_a_killed_parent(own: Served) -> None:
    """SIGKILL to the parent ends every worker and the gateway within two seconds, and frees the runtime."""
    pids = own.everyone()
    assert len(pids) == 5
    own.process.kill()
    own.process.wait()
    eventually(lambda: gone(pids), within_s=2, what="all children are gone")


def test_an_untethered_process_would_outlive_its_parent(tmp_path: Path) -> None:
    """Negative control: the same kill leaves an orphan when the child is not tethered."""
    script = (
        "import subprocess, sys, time;"
        "command = [sys.executable, '-c', 'import time; time.sleep(30)'];"
        "child = subprocess.Popen(command, stdin=subprocess.PIPE);"
        "print(child.pid, flush=True); time.sleep(30)"
    )
    tethered = script.replace("'-c', 'import time; time.sleep(30)'", "'-m', 'gateway.tether', 'sleeper'")
    (tmp_path / "sleeper.py").write_text("import time\ntime.sleep(30)\n")
    for code, survives in ((script, True), (tethered, False)):
        parent = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
        )
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.stdout.close()
        eventually(
            lambda: psutil.Process(child).num_threads() >= (1 if survives else 2), within_s=5, what="up"
        )
        parent.kill()
        parent.wait()
        if survives:
            assert not gone([child])
            os.kill(child, signal.SIGKILL)
        else:
            eventually(lambda: gone([child]), within_s=2, what="the tethered child is gone")


def test_a_killed_worker_comes_back_and_its_ensemble_answers_meanwhile(shared: Served) -> None:
    """The answer without it is degraded and says so; the worker is started again and counted."""
    (pid,) = shared.pids("two")
    restarts = 'accord_process_restarts_total{process="two/0"}'
    before = metric(shared, restarts)
    os.kill(pid, signal.SIGKILL)
    with Client(shared.address) as client:
        answer = client.infer("any", {"x": X})
        assert [m.seat for m in answer.report.members if m.cause] == ["two"] or not answer.report.degraded
        eventually(lambda: shared.pids("two") not in ([], [pid]), within_s=5, what="the worker runs again")
        eventually(
            lambda: not client.infer("any", {"x": X}).report.degraded, within_s=10, what="it answers again"
        )
    assert metric(shared, restarts) == before + 1


def test_a_killed_instance_is_covered_by_its_sibling(shared: Served) -> None:
    """Of two instances the loss of one costs no more than the one call that finds out."""
    lost = shared.pids("one")[0]
    os.kill(lost, signal.SIGKILL)
    eventually(lambda: gone([lost]), within_s=2, what="the instance is gone")
    with Client(shared.address) as client:
        degraded = [client.infer("any", {"x": X}).report.degraded for _ in range(20)]
    assert sum(degraded) <= 1


def test_a_killed_gateway_comes_back_on_its_own(shared: Served) -> None:
    """The parent starts the gateway process again; the workers never noticed."""
    before = shared.facts()
    os.kill(before["gateway_pid"], signal.SIGKILL)
    eventually(
        lambda: shared.facts()["gateway_pid"] not in (None, before["gateway_pid"]), within_s=10, what="back"
    )
    eventually(lambda: get(shared, "/readyz")[0] == 200, within_s=10, what="ready again")
    assert shared.facts()["workers"] == before["workers"]


def test_a_signal_drains_and_leaves_nothing(own: Served) -> None:
    """SIGTERM: a call in flight is answered, a new one is refused as UNAVAILABLE, exit code 0, no orphan."""
    pids, address = own.everyone(), own.address
    results: list[object] = []

    def ask(steps: int) -> None:
        with Client(address) as client:
            try:
                results.append(client.infer("slow", {"steps": np.array([steps])}, timeout_s=8).outputs["y"])
            except CallError as error:
                results.append(error)

    with grpc.insecure_channel(address) as channel:
        grpc.channel_ready_future(channel).result(5)
        in_flight = threading.Thread(target=ask, args=(60_000,))
        in_flight.start()
        eventually(
            lambda: "accord_in_flight 1.0" in get(own, "/metrics")[1], within_s=5, what="it is in flight"
        )
        started = time.monotonic()
        own.process.send_signal(signal.SIGTERM)
        eventually(lambda: refused(address), within_s=5, what="new calls are refused")
        assert not results
        in_flight.join()
        assert own.process.wait(15) == 0
        assert time.monotonic() - started < 12
    assert [np.asarray(r).tolist() for r in results] == [[60_000]]
    assert gone(pids)


def refused(address: str) -> bool:
    try:
        with Client(address) as client:
            client.list()
    except CallError as error:
        return error.code == "UNAVAILABLE"
    return False


def test_the_http_port_tells_health_readiness_and_metrics(shared: Served) -> None:
    """Probes and Prometheus get what they expect; nothing else is there, and nothing can be written."""
    assert get(shared, "/healthz") == (200, "ok\n")
    assert get(shared, "/readyz") == (200, "ready\n")
    counted = (
        'accord_requests_total{code="OK",method="Infer",name="any",reason=""}',
        'accord_member_outcomes_total{cause="",name="any",outcome="OK",seat="two"}',
        'accord_request_seconds_count{method="Infer",name="any"}',
    )
    before = [metric(shared, name) for name in counted]
    with Client(shared.address) as client:
        client.infer("any", {"x": X})
    assert [metric(shared, name) for name in counted] == [value + 1 for value in before]
    status, text = get(shared, "/metrics")
    assert status == 200
    for line in (
        'accord_replicas_ready{model="one"} 2.0',
        'accord_process_up{process="gateway"} 1.0',
        "accord_ready 1.0",
    ):
        assert line in text
    assert get(shared, "/")[0] == 404
    request = urllib.request.Request(f"http://{shared.metrics}/metrics", data=b"x", method="POST")
    with pytest.raises(urllib.error.HTTPError, match="501"):
        urllib.request.urlopen(request, timeout=5)


def get(served: Served, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{served.metrics}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture(scope="module")
def partial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with one good model and three that cannot be loaded."""
    folder = tmp_path_factory.mktemp("partial")
    models.write_model(folder / "models", "good", models.linear(np.eye(2)))
    models.write_model(folder / "models", "corrupt", models.corrupt())
    models.write_model(folder / "models", "odd", models.unsupported_operator())
    lines = (f"  {name}: {{worker: {{repository: models}}}}" for name in ("good", "corrupt", "odd", "absent"))
    config = folder / "accord.yaml"
    config.write_text("\n".join(["models:", *lines, ""]))
    server = serve(config, folder, ready=False)
    yield server
    server.stop()


@pytest.mark.parametrize(
    ("name", "says"),
    [("corrupt", "corrupt/1/model.onnx"), ("odd", "odd/1/model.onnx"), ("absent", "no model 'absent'")],
)
def test_a_bad_model_is_named_and_the_others_are_served(partial: Served, name: str, says: str) -> None:
    """A model that cannot be loaded is one clear log line; the gateway stays up and answers for the rest."""
    with Client(partial.listening()) as client:
        eventually(lambda: client.describe("good").ready, within_s=15, what="the good model answers")
        client.infer("good", {"x": X})
        with pytest.raises(CallError) as refused:
            client.infer(name, {"x": X})
        assert refused.value.reason in ("MODEL_NOT_READY", "INPUT_UNKNOWN")
        assert not client.describe(name).ready
    eventually(
        lambda: [e for e in partial.events() if e["level"] == "error" and says in str(e)],
        within_s=15,
        what="the log names the model's file",
    )
    assert "Traceback" not in partial.log.read_text()


def test_an_address_in_use_ends_the_server_with_a_clear_error(shared: Served, tmp_path: Path) -> None:
    """Two servers on one port: the second says so and exits non-zero instead of trying for ever."""
    models.write_model(tmp_path / "models", "one", models.linear(np.eye(2)))
    config = tmp_path / "accord.yaml"
    config.write_text("models:\n  one: {worker: {repository: models}}\n")
    for key, address in (("ADDRESS", shared.address), ("METRICS", shared.metrics)):
        done = subprocess.run(
            [sys.executable, "-m", "accord.cli", "serve", str(config)],
            env={**os.environ, **ANY_PORT, f"ACCORD_SERVER__{key}": address},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == 4
        assert f"cannot listen on {address}" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_merge_that_the_models_files_prove_impossible_is_refused_at_start(tmp_path: Path) -> None:
    """The server ends with exit code 2 and names file, line and path, before any request."""
    declares = (
        'max_batch_size: 8 input [{{name: "x" data_type: TYPE_FP32 dims: [2]}}] '
        'output [{{name: "y" data_type: TYPE_FP32 dims: [{width}]}}]'
    )
    for name, width in (("one", 2), ("two", 3)):
        weights = np.ones((2, width), np.float32)
        config = declares.format(width=width)
        models.write_model(tmp_path / "models", name, models.linear(weights), config=config)
    worker = "{worker: {repository: models}}"
    config_path = tmp_path / "accord.yaml"
    config_path.write_text(
        f"models:\n  one: {worker}\n  two: {worker}\nensembles:\n  both:\n"
        "    strategy: {kind: mean}\n    members:\n      - {model: one}\n      - {model: two}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "accord.cli", "serve", str(config_path)],
        env={**os.environ, **ANY_PORT},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2
    assert f"{config_path}:9: ensembles.both.members[1]" in done.stderr
