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


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Served]:
    """A server of this test alone, which may be broken."""
    for name in ("one", "two"):
        models.write_model(tmp_path / "models", name, models.linear(np.eye(2)))
    models.write_model(tmp_path / "models", "slow", models.slow())
    config = tmp_path / "accord.yaml"
    config.write_text(CONFIG)
    server = serve(config, tmp_path)
    yield server
    if server.process.poll() is None:
        server.process.kill()
        server.process.wait()


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


def test_a_killed_worker_comes_back_and_its_ensemble_answers_meanwhile(own: Served) -> None:
    """The answer without it is degraded and says so; the worker is started again and counted."""
    (pid,) = own.pids("two")
    os.kill(pid, signal.SIGKILL)
    with Client(own.address) as client:
        answer = client.infer("any", {"x": X})
        assert [m.seat for m in answer.report.members if m.cause] == ["two"] or not answer.report.degraded
        eventually(lambda: own.pids("two") not in ([], [pid]), within_s=5, what="the worker runs again")
        eventually(
            lambda: not client.infer("any", {"x": X}).report.degraded, within_s=10, what="it answers again"
        )
    assert 'accord_process_restarts_total{process="two/0"} 1.0' in get(own, "/metrics")[1]


def test_a_killed_instance_is_covered_by_its_sibling(own: Served) -> None:
    """With two instances, the loss of one degrades at most the calls it had in flight."""
    os.kill(own.pids("one")[0], signal.SIGKILL)
    with Client(own.address) as client:
        eventually(
            lambda: not client.infer("any", {"x": X}).report.degraded, within_s=2, what="whole answers"
        )
        for _ in range(20):
            assert not client.infer("any", {"x": X}).report.degraded


def test_a_killed_gateway_comes_back_on_its_own(own: Served) -> None:
    """The parent starts the gateway process again; the workers never noticed."""
    before = own.facts()
    os.kill(before["gateway_pid"], signal.SIGKILL)
    eventually(
        lambda: own.facts()["gateway_pid"] not in (None, before["gateway_pid"]), within_s=10, what="back"
    )
    eventually(lambda: get(own, "/readyz")[0] == 200, within_s=10, what="ready again")
    assert own.facts()["workers"] == before["workers"]


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


def test_the_http_port_tells_health_readiness_and_metrics(own: Served) -> None:
    """Probes and Prometheus get what they expect; nothing else is there, and nothing can be written."""
    assert get(own, "/healthz") == (200, "ok\n")
    assert get(own, "/readyz") == (200, "ready\n")
    with Client(own.address) as client:
        client.infer("any", {"x": X})
    status, text = get(own, "/metrics")
    assert status == 200
    for line in (
        'accord_requests_total{code="OK",method="Infer",name="any",reason=""} 1.0',
        'accord_member_outcomes_total{cause="",name="any",outcome="OK",seat="two"} 1.0',
        'accord_request_seconds_count{method="Infer",name="any"} 1.0',
        'accord_replicas_ready{model="one"} 2.0',
        'accord_process_up{process="gateway"} 1.0',
        "accord_ready 1.0",
    ):
        assert line in text
    assert get(own, "/")[0] == 404
    request = urllib.request.Request(f"http://{own.metrics}/metrics", data=b"x", method="POST")
    with pytest.raises(urllib.error.HTTPError, match="501"):
        urllib.request.urlopen(request, timeout=5)


def get(served: Served, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{served.metrics}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("corrupt", models.corrupt(), "model.onnx"),
        ("odd", models.unsupported_operator(), "model.onnx"),
        ("absent", b"", "absent"),
    ],
)
def test_a_bad_model_is_named_and_the_others_are_served(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    """A model that cannot be loaded is one clear log line; the gateway stays up and answers for the rest."""
    models.write_model(tmp_path / "models", "good", models.linear(np.eye(2)))
    if content:
        models.write_model(tmp_path / "models", name, content)
    config = tmp_path / "accord.yaml"
    worker = "{worker: {repository: models}}"
    config.write_text(f"models:\n  good: {worker}\n  {name}: {worker}\n")
    server = serve(config, tmp_path, ready=False)
    try:
        with Client(server.listening()) as client:
            eventually(lambda: client.describe("good").ready, within_s=15, what="the good model answers")
            client.infer("good", {"x": X})
            with pytest.raises(CallError) as refused:
                client.infer(name, {"x": X})
            assert refused.value.reason in ("MODEL_NOT_READY", "INPUT_UNKNOWN")
            assert not client.describe(name).ready
        told = [e for e in server.events() if e["level"] == "error" and says in str(e)]
        assert told
        assert "Traceback" not in server.log.read_text()
    finally:
        server.stop()


def test_an_address_in_use_ends_the_server_with_a_clear_error(own: Served, tmp_path: Path) -> None:
    """Two servers on one port: the second says so and exits non-zero instead of trying for ever."""
    config = tmp_path / "accord.yaml"
    for key, address in (("ADDRESS", own.address), ("METRICS", own.metrics)):
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
