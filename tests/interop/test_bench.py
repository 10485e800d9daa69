"""The bench works from end to end: real servers, real load generators, right answers from all it compares."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil
import pytest

from bench import ROOT, BenchFailed, models
from bench.answers import Question, asked
from bench.cases import QUICK_CASES, peers
from bench.figures import OK, Load
from bench.generators import Ask, ghz, h2load
from bench.idle import opened
from bench.peers.ensembles import PEERS, Ensemble
from bench.targets import echo, worker
from tests.peers import ensure_installed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.targets import Target

# the first run downloads
pytestmark = pytest.mark.timeout(900)

COLUMNS = 64
ENVIRONMENTS = {
    "Triton": "triton",
    "MLServer": "mlserver",
    "KServe": "kserve",
    "Ray Serve": "ray",
    "LitServe": "litserve",
}


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Ensemble:
    source = tmp_path_factory.mktemp("models")
    members = models.write_tiny(source, COLUMNS, 3)
    return Ensemble("mean-3", source, members, models.INPUT, models.OUTPUT, COLUMNS, models.WIDTH)


@pytest.fixture(scope="module")
def question(ensemble: Ensemble) -> Question:
    feeds = [models.rows(2, COLUMNS, seed) for seed in range(3)]
    expected = models.means(ensemble.source, ensemble.members, feeds, (models.OUTPUT,))
    return Question(ensemble.name, feeds, expected)


@pytest.fixture(scope="module")
def asked_echo(
    ensemble: Ensemble, question: Question, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Target, Ask]]:
    """An echo, and how it is asked as a member's worker is."""
    folder = tmp_path_factory.mktemp("echo")
    member = replace(
        question,
        model="tiny-0",
        expected=models.means(ensemble.source, ["tiny-0"], question.feeds, (models.OUTPUT,)),
    )
    with worker(ensemble.source, "tiny-0", folder) as target:
        ask, reply = asked(target.address, member)
    with echo(reply, folder) as target:
        yield target, replace(ask, url=f"http://{target.address}/inference.GRPCInferenceService/ModelInfer")


def test_the_quick_bench_measures_all_it_names(tmp_path: Path) -> None:
    """It ends well, every call of every server ends OK, and each case leaves its report and its plot."""
    if shutil.which("go") is None:
        pytest.skip("needs Go")
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name in QUICK_CASES:
        report = json.loads((tmp_path / f"{name}.json").read_text())
        assert report["quick"]
        assert report["tables"]
        assert (tmp_path / f"{name}.png").stat().st_size > 0
        for result in report["results"]:
            if "inprocess" not in result["target"]:
                assert result["problem"] == "", (name, result["target"])


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_of_the_same_shape_gives_the_right_answers(
    name: str, ensemble: Ensemble, question: Question, tmp_path: Path
) -> None:
    """Three models and their mean on a foreign server answer right, and nothing outlives them."""
    ensure_installed(ENVIRONMENTS[name])
    if name in peers.HTTP and shutil.which("h2load") is None:
        pytest.skip("needs h2load")
    with peers.foreign(name, ensemble, tmp_path) as target:
        peers.right(name, target, question)
        assert target.cpu_s() > 0
        wrong = replace(question, expected=[*question.expected[1:], question.expected[0]])
        with pytest.raises(BenchFailed, match="differs"):
            peers.right(name, target, wrong)
    _, alive = psutil.wait_procs(target.processes, timeout=10)
    assert not alive


def test_the_naive_fan_out_gives_the_right_answers(
    ensemble: Ensemble, question: Question, tmp_path: Path
) -> None:
    """What it saves is checks, not work."""
    with peers.naive(ensemble, tmp_path) as target:
        asked(target.address, question)


@pytest.mark.parametrize("generator", [ghz, h2load], ids=["ghz", "h2load"])
def test_a_generator_tells_every_call(
    generator: object, asked_echo: tuple[Target, Ask], tmp_path: Path
) -> None:
    """All calls to a server that answers are OK; all to a method that does not exist are something else."""
    if shutil.which("go") is None:
        pytest.skip("needs Go")
    if generator is h2load and shutil.which("h2load") is None:
        pytest.skip("needs h2load")
    generator.ensure()  # type: ignore[attr-defined]
    _, ask = asked_echo
    load = Load("8", in_flight=8, connections=2)
    calls, cpu_s = generator.drive(ask, load, 0.5, tmp_path)  # type: ignore[attr-defined]
    assert len(calls) > 10
    assert {call.status for call in calls} == {OK}
    assert cpu_s > 0


@pytest.mark.parametrize("generator", [ghz, h2load], ids=["ghz", "h2load"])
def test_calls_that_fail_are_not_taken_for_answers(
    generator: object, ensemble: Ensemble, asked_echo: tuple[Target, Ask], tmp_path: Path
) -> None:
    """A worker that is asked for a model it does not have refuses every call, and every call is told so."""
    if shutil.which("go") is None:
        pytest.skip("needs Go")
    if generator is h2load and shutil.which("h2load") is None:
        pytest.skip("needs h2load")
    generator.ensure()  # type: ignore[attr-defined]
    _, ask = asked_echo
    with worker(ensemble.source, "tiny-1", tmp_path) as target:
        refused = replace(ask, url=f"http://{target.address}/inference.GRPCInferenceService/ModelInfer")
        calls, _ = generator.drive(refused, Load("4", 4, 1), 0.5, tmp_path)  # type: ignore[attr-defined]
    assert len(calls) > 10
    assert OK not in {call.status for call in calls}


def test_open_connections_are_open_and_were_used(asked_echo: tuple[Target, Ask]) -> None:
    """While the block lasts the server has so many more connections, each of which was answered once."""
    target, ask = asked_echo

    def connections() -> int:
        return sum(len(process.net_connections("tcp")) for process in target.processes)

    before = connections()
    with opened(ask, 20):
        assert connections() == before + 20


def test_a_server_that_hangs_up_is_no_open_connection() -> None:
    """A connection that ends before its answer is an error, not memory of nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ask = Ask(f"http://127.0.0.1:{server.getsockname()[1]}/a/b", (b"x",), 1)

        def hang_up() -> None:
            server.accept()[0].close()

        hanging_up = threading.Thread(target=hang_up)
        hanging_up.start()
        with pytest.raises(BenchFailed, match="connection"), opened(ask, 1):
            pass
        hanging_up.join()
