"""NVIDIA's perf_analyzer, unmodified, finds in Accord what it looks for in a Triton."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bench.peers.perf_analyzer import perf_analyzer
from tests import models
from tests.peers import ensure_installed
from tests.serving import serve

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = """
server: {drain_s: 1}
models: {one: {worker: {repository: models}}, two: {worker: {repository: models}, expose: false}}
ensembles: {both: {strategy: {kind: mean}, members: [{model: one}, {model: two}]}}
"""
#: A fixed number of requests and no wish for stable figures: the test is whether it works.
BRIEFLY = (
    "--measurement-mode=count_windows",
    "--measurement-request-count=50",
    "--max-trials=3",
    *("-s", "1000"),
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    ensure_installed("triton")
    folder = tmp_path_factory.mktemp("perf")
    for name in ("one", "two"):
        models.write_model(folder / "models", name, models.linear(np.eye(2)))
    config = folder / "accord.yaml"
    config.write_text(CONFIG)
    server = serve(config, folder)
    yield server.address
    assert server.stop() == 0


@pytest.mark.timeout(180)
@pytest.mark.parametrize("model", ["one", "both"])
@pytest.mark.parametrize("how", [("1",), ("4",), ("1", "--async"), ("1", "--streaming")])
def test_it_measures_a_model_and_an_ensemble_in_every_way(
    address: str, model: str, how: tuple[str, ...]
) -> None:
    """Metadata, config and statistics are what it expects, so the server's side of the report is filled."""
    report = perf_analyzer(address, model, *BRIEFLY, "-b", *how)
    batch = int(how[0])
    count = {key: int(n) for key, n in re.findall(r"(\w+ count): (\d+)", report)}
    assert count["request count"] >= 50
    # a window may end between the run of the one request in flight, counted first, and its answer
    run, answered = batch * count["Execution count"], count["Inference count"]
    assert abs(run - answered) <= batch
    assert answered >= batch * 50
    assert re.search(r"queue \d+ usec \+ compute input \d+ usec \+ compute infer \d+ usec", report)
