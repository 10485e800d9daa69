"""Any single optional worker may die under load without a failed call."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tritonclient.grpc as triton

from tests import models
from tests.serving import eventually, serve

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
models:
  one: {worker: {repository: models}}
  two: {worker: {repository: models}}
  three: {worker: {repository: models}}
ensembles:
  optional: {strategy: {kind: mean}, quorum: 2, members: [{model: one}, {model: two}, {model: three}]}
  all: {strategy: {kind: mean}, members: [{model: one}, {model: two}, {model: three}]}
"""


@pytest.mark.parametrize(("ensemble", "survives"), [("optional", True), ("all", False)])
def test_killing_each_worker_in_turn_under_load_fails_no_call(
    tmp_path: Path, ensemble: str, survives: bool
) -> None:
    """With a quorum of two of three no call fails; the control, which needs all three, does fail."""
    for k, name in enumerate(("one", "two", "three"), start=1):
        models.write_model(tmp_path / "models", name, models.linear(np.eye(2) * k))
    config = tmp_path / "accord.yaml"
    config.write_text(CONFIG)
    server = serve(config, tmp_path)
    stop = threading.Event()
    tally: dict[str, int] = {}
    lock = threading.Lock()

    def ask() -> None:
        client = triton.InferenceServerClient(server.address)
        x = triton.InferInput("x", (1, 2), "FP32")
        x.set_data_from_numpy(np.ones((1, 2), np.float32))
        while not stop.is_set():
            try:
                answer = client.infer(ensemble, [x], client_timeout=5).get_response()
                kind = "degraded" if answer.parameters["accord_degraded"].bool_param else "whole"
            except triton.InferenceServerException as error:
                kind = str(error.status())
            with lock:
                tally[kind] = tally.get(kind, 0) + 1
        client.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for name in ("one", "two", "three"):
            (pid,) = server.pids(name)
            os.kill(pid, signal.SIGKILL)
            # the next one may only go when this one is back, else two are missing at once
            eventually(lambda: server.pids(name) not in ([], [pid]), within_s=30, what="it runs again")
            eventually(lambda: whole_again(server.address), within_s=30, what="it answers again")
            time.sleep(0.1)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        assert server.stop() == 0
    failures = {kind: count for kind, count in tally.items() if kind not in ("whole", "degraded")}
    assert tally["whole"] > 50
    assert (not failures) is survives, tally
    assert ("degraded" in tally) is survives


def whole_again(address: str) -> bool:
    from accord.client import Client

    with Client(address) as client:
        return not client.infer("optional", {"x": np.ones((1, 2), np.float32)}).report.degraded
