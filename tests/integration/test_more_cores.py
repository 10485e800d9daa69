"""Several gateway processes on one port: each serves, one may be lost, and together they are one server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton
from prometheus_client.parser import text_string_to_metric_families

from gateway.reserve import reserve
from protos.address import Address
from tests import models
from tests.integration.loading import ask, times
from tests.serving import ANY_PORT, Served, eventually, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = ("gateway-0", "gateway-1")
#: Connections that each process is to have, and how many may be opened for that.
ENOUGH, MOST = 3, 64
CONFIG = """
server: {processes: 2, drain_s: 8, admin: "unix:admin.sock"}
models:
  m: {worker: {repository: models, threads: 1}}
  slow: {worker: {repository: models, threads: 1}}
ensembles:
  e:
    strategy: {kind: mean}
    members: [{model: m}]
"""


def write_config(folder: Path, text: str = CONFIG) -> Path:
    models.write_model(folder / "models", "m", times(1))
    models.write_model(folder / "models", "slow", models.slow())
    config = folder / "accord.yaml"
    config.write_text(text)
    return config


@contextmanager
def serving(folder: Path) -> Iterator[Served]:
    """Serve until every process answers; whatever a test did to it, nothing is left of it."""
    server = serve(write_config(folder), folder)
    try:
        eventually(lambda: whole(server), within_s=30, what="both processes serve")
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("cores")) as server:
        yield server
        assert server.stop() == 0


@pytest.fixture
def shared(running: Served) -> Iterator[Served]:
    """A server whose processes may be killed: the next test finds it whole again."""
    yield running
    eventually(lambda: whole(running), within_s=20, what="the server is whole again")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Served]:
    """A server of this test alone."""
    with serving(tmp_path) as server:
        yield server


def scrape(served: Served) -> dict[str, float]:
    """Return every sample by name and, for those that have it as their only label, process."""
    with urllib.request.urlopen(f"http://{served.metrics}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    samples: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = f"{sample.name} {sample.labels['process']}" if "process" in sample.labels else sample.name
            samples[key] = samples.get(key, 0.0) + sample.value
    return samples


def whole(served: Served) -> bool:
    """Whether both processes run and have reached both workers."""
    said = scrape(served)
    up = all(said.get(f"accord_process_in_flight {name}") is not None for name in NAMES)
    return up and said.get("accord_replicas_ready") == 2


def pids(served: Served) -> list[int]:
    found: list[int] = served.facts()["gateway_pids"]
    return found


def gone(processes: list[int]) -> bool:
    return not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in processes)


def connect(address: str) -> triton.InferenceServerClient:
    """Open a connection that no other client shares."""
    return triton.InferenceServerClient(address, channel_args=[("grpc.use_local_subchannel_pool", 1)])


@contextmanager
def spread(served: Served) -> Iterator[dict[str, list[triton.InferenceServerClient]]]:
    """Open connections until each process has enough; yield them by the process that each has reached."""
    with ExitStack() as stack:
        reached: dict[str, list[triton.InferenceServerClient]] = {name: [] for name in NAMES}
        before = scrape(served)
        for _ in range(MOST):
            client = stack.enter_context(connect(served.address))
            ask(client)
            after = scrape(served)
            (name,) = (n for n in NAMES if moved(before, after, f"accord_process_requests_total {n}"))
            reached[name].append(client)
            before = after
            if min(map(len, reached.values())) >= ENOUGH:
                break
        else:
            raise AssertionError(f"{MOST} connections were spread {list(map(len, reached.values()))}")
        yield reached


def moved(before: dict[str, float], after: dict[str, float], sample: str) -> float:
    return after.get(sample, 0.0) - before.get(sample, 0.0)


def refused(client: triton.InferenceServerClient, name: str = "m") -> bool:
    """Whether a name is not served now; any other failure is the test's."""
    try:
        ask(client, name)
    except triton.InferenceServerException as error:
        assert "MODEL_NOT_READY" in str(error) or "not ready" in str(error), error
        return True
    return False


def admin(served: Served) -> triton.InferenceServerClient:
    return triton.InferenceServerClient(f"unix:{served.announce.parent}/admin.sock")


# --- one server ----------------------------------------------------------------------------------------


def test_connections_are_spread_and_counted_in_one_place(shared: Served) -> None:
    """Both processes serve on the announced port; their metrics are summed, and can be told apart."""
    assert len(set(pids(shared))) == 2
    assert shared.facts()["gateway_pid"] == pids(shared)[0]
    before = scrape(shared)
    with spread(shared) as reached:
        after = scrape(shared)
        counts = [moved(before, after, f"accord_process_requests_total {name}") for name in NAMES]
        assert counts == [len(reached[name]) for name in NAMES]
    assert moved(before, after, "accord_requests_total") == sum(counts)
    assert moved(before, after, "accord_request_seconds_count") == sum(counts)


def test_statistics_are_those_of_the_server_whoever_is_asked(shared: Served) -> None:
    """One entry for each name, the same from every connection; and of those who answer, if one does not."""
    with spread(shared) as reached:
        asked = [clients[0] for clients in reached.values()]
        before = asked[0].get_inference_statistics("m").model_stats[0].inference_count
        for clients in reached.values():
            ask(clients[0])
        for client in asked:
            (told,) = client.get_inference_statistics("m").model_stats
            assert told.inference_count - before == told.inference_stats.success.count - before == 2
            assert sorted(s.name for s in client.get_inference_statistics().model_stats)[:1] == ["m"]
        hung = pids(shared)[1]
        os.kill(hung, signal.SIGSTOP)
        try:
            started = time.monotonic()
            (told,) = asked[0].get_inference_statistics("m").model_stats
            assert told.inference_count < before + 2
            assert time.monotonic() - started < 3
        finally:
            os.kill(hung, signal.SIGCONT)


def test_a_process_that_hangs_neither_hides_the_others_nor_delays_probes(shared: Served) -> None:
    """The server is ready while one process is, and says so at once; totals keep what the silent one told."""
    with spread(shared):
        before = scrape(shared)
    hung = pids(shared)[0]
    os.kill(hung, signal.SIGSTOP)
    try:
        started = time.monotonic()
        with urllib.request.urlopen(f"http://{shared.metrics}/readyz", timeout=5) as answer:
            assert answer.status == 200
        assert time.monotonic() - started < 1
        now = scrape(shared)
        assert moved(before, now, "accord_requests_total") == 0
        assert f"accord_process_in_flight {NAMES[0]}" not in now
    finally:
        os.kill(hung, signal.SIGCONT)


def test_a_single_process_shares_its_port_with_nobody(
    own: Served, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With ``processes: 1`` nobody can join in; the control, with two, shows what would happen."""
    folder = tmp_path_factory.mktemp("single")
    single = serve(write_config(folder, CONFIG.replace("processes: 2, ", "")), folder)
    try:
        for served, joins in ((own, True), (single, False)):
            with socket.socket() as stranger:
                stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                where = ("127.0.0.1", int(served.address.rpartition(":")[2]))
                if joins:
                    stranger.bind(where)
                else:
                    with pytest.raises(OSError, match="in use"):
                        stranger.bind(where)
        assert single.facts()["gateway_pids"] == [single.facts()["gateway_pid"]]
    finally:
        assert single.stop() == 0


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_second_server_on_the_port_is_refused(shared: Served, tmp_path: Path, processes: str) -> None:
    """Whether it would share the port or not; the first one serves on alone."""
    config = write_config(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "accord.cli", "serve", str(config)],
        env={
            **os.environ,
            **ANY_PORT,
            "ACCORD_SERVER__ADDRESS": shared.address,
            "ACCORD_SERVER__PROCESSES": processes,
        },
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 4
    assert f"cannot listen on {shared.address}" in done.stderr
    assert "Traceback" not in done.stderr
    before = scrape(shared)
    with spread(shared) as reached:
        assert moved(before, scrape(shared), "accord_requests_total") == sum(map(len, reached.values()))


# --- one of them is lost -------------------------------------------------------------------------------


@dataclass
class Load:
    """Callers that never pause, each with a connection of its own, and what they were told."""

    answers: int = 0
    failures: list[str] = field(default_factory=list)


@contextmanager
def loading(clients: list[triton.InferenceServerClient]) -> Iterator[Load]:
    stop, load, lock = threading.Event(), Load(), threading.Lock()

    def keep_asking(client: triton.InferenceServerClient) -> None:
        while not stop.is_set():
            try:
                ask(client)
            except triton.InferenceServerException as error:
                with lock:
                    load.failures.append(str(error.status()))
            else:
                with lock:
                    load.answers += 1

    callers = [threading.Thread(target=keep_asking, args=(client,)) for client in clients]
    for caller in callers:
        caller.start()
    try:
        yield load
    finally:
        stop.set()
        for caller in callers:
            caller.join()


@pytest.mark.parametrize("lost", [0, 1])
def test_a_killed_process_is_replaced_and_those_connected_to_the_other_notice_nothing(
    shared: Served, lost: int
) -> None:
    """Its own callers are told UNAVAILABLE and come back; no total ever falls."""
    before, restarts = pids(shared), f"accord_process_restarts_total {NAMES[lost]}"
    started, totals = scrape(shared), []
    with (
        spread(shared) as reached,
        loading(reached[NAMES[1 - lost]][:2]) as safe,
        loading(reached[NAMES[lost]][:2]) as hit,
    ):
        eventually(lambda: safe.answers > 20 and hit.answers > 20, within_s=20, what="there is load")
        os.kill(before[lost], signal.SIGKILL)
        until = time.monotonic() + 20
        while len(totals) < 10 or not whole(shared):
            totals.append(scrape(shared)["accord_requests_total"])
            assert time.monotonic() < until
        answers = hit.answers
        eventually(lambda: hit.answers > answers + 20, within_s=20, what="its callers are back")
    after = scrape(shared)
    assert not safe.failures
    assert set(hit.failures) <= {"StatusCode.UNAVAILABLE"}
    assert totals == sorted(totals)
    assert after["accord_requests_total"] >= totals[-1]
    assert moved(started, after, restarts) == 1
    assert pids(shared)[1 - lost] == before[1 - lost]
    assert pids(shared)[lost] not in (None, before[lost])
    with spread(shared):  # it gets connections again
        pass


def test_a_replaced_process_serves_what_the_server_was_started_with(own: Served) -> None:
    """A file that was changed meanwhile, or spoilt, must not make one process serve anything else."""
    config, before = own.announce.parent / "accord.yaml", pids(own)
    config.write_text("no longer a configuration")
    os.kill(before[1], signal.SIGKILL)
    eventually(lambda: pids(own)[1] not in (None, before[1]), within_s=20, what="it runs again")
    eventually(lambda: whole(own), within_s=20, what="it serves again")


# --- the operator --------------------------------------------------------------------------------------


def test_what_the_operator_decides_holds_in_every_process_and_in_those_to_come(own: Served) -> None:
    """A name that is taken out, and what is logged: told by one process, kept through the end of either."""
    with spread(own) as reached, admin(own) as operator:
        each = [clients[0] for clients in reached.values()]
        operator.unload_model("e")
        operator.update_log_settings({"log_info": False})
        assert [refused(client, "e") for client in each] == [True, True]
        assert not any(client.is_model_ready("e") for client in each)
        assert [ask(client) for client in each] == [1, 1]
        assert not any(c.get_log_settings().settings["log_info"].bool_param for c in each)
    for lost in (0, 1):
        before = pids(own)
        os.kill(before[lost], signal.SIGKILL)
        eventually(lambda: pids(own)[lost] not in (None, before[lost]), within_s=20, what="it runs again")
        eventually(lambda: whole(own), within_s=20, what="it serves again")
        with spread(own) as reached:
            each = [clients[0] for clients in reached.values()]
            assert [refused(client, "e") for client in each] == [True, True]
            assert not any(c.get_log_settings().settings["log_info"].bool_param for c in each)
    with spread(own) as reached, admin(own) as operator:
        operator.load_model("e")
        assert [ask(clients[0], "e") for clients in reached.values()] == [1, 1]


def test_what_was_decided_would_be_forgotten_if_it_were_not_kept(own: Served) -> None:
    """Negative control: without the file a replaced process serves what was taken out."""
    with admin(own) as operator:
        operator.unload_model("e")
    command = psutil.Process(pids(own)[1]).cmdline()
    Path(command[command.index("--runtime") + 1], "decisions.json").unlink()
    before = pids(own)
    os.kill(before[1], signal.SIGKILL)
    eventually(lambda: pids(own)[1] not in (None, before[1]), within_s=20, what="it runs again")
    eventually(lambda: whole(own), within_s=20, what="it serves again")
    with spread(own) as reached:
        assert [refused(reached[name][0], "e") for name in NAMES] == [True, False]


def test_a_process_that_hangs_delays_the_operator_for_a_while_and_then_adopts_what_it_missed(
    own: Served,
) -> None:
    """The call is confirmed without it; once it is back to itself it does as the others."""
    with spread(own) as reached, admin(own) as operator:
        missing = reached[NAMES[1]][0]
        hung = pids(own)[1]
        os.kill(hung, signal.SIGSTOP)
        try:
            started = time.monotonic()
            operator.unload_model("e")
            assert time.monotonic() - started < 8
            assert refused(reached[NAMES[0]][0], "e")
        finally:
            os.kill(hung, signal.SIGCONT)
        eventually(lambda: refused(missing, "e"), within_s=5, what="it has adopted it")


def test_a_model_is_loaded_and_unloaded_once_and_every_process_knows(own: Served) -> None:
    """A new version is told and answers everywhere when the call returns; so is one that is gone."""
    with spread(own) as reached, admin(own) as operator:
        each = [clients[0] for clients in reached.values()]
        models.write_model(own.announce.parent / "models", "m", times(3), version=2)
        operator.load_model("m")
        assert [list(client.get_model_metadata("m").versions) for client in each] == [["2"], ["2"]]
        assert [ask(client, version="2") for client in each] == [3, 3]
        operator.unload_model("m")
        assert [refused(client) for client in each] == [True, True]
        operator.load_model("m")
        assert [ask(client) for client in each] == [3, 3]


# --- the end -------------------------------------------------------------------------------------------


@contextmanager
def in_flight(served: Served, steps: int) -> Iterator[list[object]]:
    """Have a slow call under way on several connections of each process; yield what they were told."""
    told: list[object] = []

    def call(client: triton.InferenceServerClient) -> None:
        tensor = triton.InferInput("steps", [1], "INT64")
        tensor.set_data_from_numpy(np.array([steps]))
        try:
            told.append(client.infer("slow", [tensor]).as_numpy("y").tolist())
        except triton.InferenceServerException as error:
            told.append(error)

    with spread(served) as reached:
        sent = {name: clients[:2] for name, clients in reached.items()}
        clients = [client for clients in sent.values() for client in clients]
        callers = [threading.Thread(target=call, args=(client,)) for client in clients]
        for caller in callers:
            caller.start()
        eventually(
            lambda: (
                (now := scrape(served))
                and all(now.get(f"accord_process_in_flight {n}", 0) >= len(sent[n]) for n in NAMES)
            ),
            within_s=5,
            what="all calls are in flight: one that is still on its way is rightly refused by a drain",
        )
        yield told
        for caller in callers:
            caller.join()


def test_a_signal_drains_all_processes_at_once_and_loses_no_call(own: Served) -> None:
    """Calls in flight on either are answered, new ones are refused, exit code 0, no orphan."""
    everyone, address, expected = own.everyone(), own.address, 60_000
    assert len(everyone) == 4
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(address)) for _ in range(4)]
        told = stack.enter_context(in_flight(own, expected))
        load = stack.enter_context(loading(clients))
        eventually(lambda: load.answers > 20, within_s=10, what="there is load as well")
        own.process.send_signal(signal.SIGTERM)
        eventually(lambda: unreachable(address), within_s=5, what="new connections are refused")
        eventually(lambda: load.failures, within_s=5, what="callers are told")
        early = len(told)
    # the latter is gRPC's own word for what arrives in the instant of closing, and never reached us
    assert set(load.failures) <= {"StatusCode.UNAVAILABLE", "StatusCode.CANCELLED"}
    assert [answer for answer in told if answer != [expected]] == []
    assert early < len(told)
    assert own.process.wait(15) == 0
    assert gone(everyone)


def unreachable(address: str) -> bool:
    with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        try:
            grpc.channel_ready_future(channel).result(0.2)
        except grpc.FutureTimeoutError:
            return True
        return False


def test_a_second_signal_ends_everything_at_once(own: Served) -> None:
    """The control of the drain: calls in flight are lost, but nothing is left behind."""
    everyone = own.everyone()
    with in_flight(own, 400_000) as told:
        own.process.send_signal(signal.SIGTERM)
        eventually(lambda: unreachable(own.address), within_s=5, what="it drains")
        started = time.monotonic()
        own.process.send_signal(signal.SIGTERM)
        assert own.process.wait(5) == 1
        assert time.monotonic() - started < 3
        eventually(lambda: gone(everyone), within_s=2, what="all are gone")
    assert {type(answer) for answer in told} == {triton.InferenceServerException}


def test_nothing_outlives_a_killed_parent(own: Served) -> None:
    """SIGKILL to the parent ends every process within two seconds, and frees the port."""
    everyone, address = own.everyone(), own.address
    own.process.kill()
    own.process.wait()
    eventually(lambda: gone(everyone), within_s=2, what="all children are gone")
    # its last thread may outlive a process that counts as ended by an instant
    eventually(lambda: free(address), within_s=2, what="the port is free")


def free(address: str) -> bool:
    try:
        reserve(Address(address)).close()
    except OSError:
        return False
    return True
