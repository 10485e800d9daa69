"""A worker's model is loaded again, taken out and replaced while clients ask."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tritonclient.grpc as triton

from tests import models
from tests.integration.test_worker import working
from tests.serving import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.test_worker import Worker

X = np.ones((1, 2), np.float32)


def times(factor: float) -> bytes:
    return models.linear(np.eye(2, dtype=np.float32) * factor)


def ask(client: triton.InferenceServerClient, version: str = "") -> float:
    """Return the factor by which the model multiplies."""
    tensor = triton.InferInput("x", [1, 2], "FP32")
    tensor.set_data_from_numpy(X)
    return float(client.infer("m", [tensor], model_version=version).as_numpy("y")[0, 0])


def states(client: triton.InferenceServerClient, **options: Any) -> dict[str, str]:
    return {m.version: m.state for m in client.get_model_repository_index(**options).models}


@contextmanager
def controlled(folder: Path, *arguments: str) -> Iterator[tuple[Worker, triton.InferenceServerClient]]:
    with (
        working(folder, "m", times(1), f"unix:{folder}/s", *arguments) as worker,
        triton.InferenceServerClient(worker.address) as client,
    ):
        yield worker, client


def test_a_model_is_loaded_a_hundred_times_under_load_without_a_failed_call(tmp_path: Path) -> None:
    """Two clients ask without a pause while each load alternates between two exports of the model."""
    counts = {1.0: 0, 2.0: 0}
    stop = threading.Event()
    failures: list[Exception] = []

    def keep_asking(address: str) -> None:
        with triton.InferenceServerClient(address) as mine:
            while not stop.is_set():
                try:
                    counts[ask(mine)] += 1
                except Exception as error:  # noqa: BLE001 - any at all is what the test looks for
                    failures.append(error)

    with controlled(tmp_path, "--control", "explicit") as (worker, client):
        callers = [threading.Thread(target=keep_asking, args=(worker.address,)) for _ in range(2)]
        for caller in callers:
            caller.start()
        for i in range(100):
            models.write_model(tmp_path, "m", times(1 + (i + 1) % 2))
            client.load_model("m")
        stop.set()
        for caller in callers:
            caller.join()
        assert worker.stop() == 0
    assert not failures
    assert min(counts.values()) > 50


def test_an_unloaded_model_is_not_ready_until_it_is_loaded(tmp_path: Path) -> None:
    """Clients that ask meanwhile are told that it is known and not there; the index says so as well."""
    with controlled(tmp_path, "--control", "explicit") as (_, client):
        assert states(client) == {"1": "READY"}
        client.unload_model("m", unload_dependents=True)
        assert not client.is_model_ready("m")
        assert not client.is_server_ready()
        with pytest.raises(triton.InferenceServerException, match=r"UNAVAILABLE.*not ready"):
            ask(client)
        eventually(lambda: states(client) == {"1": "UNAVAILABLE"}, within_s=5, what="it has drained")
        client.load_model("m")
        assert (ask(client), client.is_server_ready()) == (1, True)


def test_a_load_that_fails_says_so_and_leaves_the_old_model_serving(tmp_path: Path) -> None:
    """The caller learns no path; whoever reads the log learns file and cause."""
    with controlled(tmp_path, "--control", "explicit") as (worker, client):
        models.write_model(tmp_path, "m", models.corrupt(), version=2)
        with pytest.raises(triton.InferenceServerException, match="FAILED_PRECONDITION") as caught:
            client.load_model("m")
        assert str(tmp_path) not in str(caught.value)
        assert ask(client) == 1
        every = client.get_model_repository_index().models
        assert {m.version: (m.state, bool(m.reason)) for m in every} == {
            "1": ("READY", False),
            "2": ("UNAVAILABLE", True),
        }
        assert "2/model.onnx" in worker.log.read_text()


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda c: c.load_model("n"), "NOT_FOUND"),
        (lambda c: c.load_model("m", config="{}"), "UNIMPLEMENTED.*'config'"),
        (lambda c: c.load_model("m", config="{}", files={"file:1/model.onnx": b"x"}), "UNIMPLEMENTED"),
        (lambda c: c.update_log_settings({"log_file": "log"}), "INVALID_ARGUMENT.*log_file"),
        (lambda c: c.update_trace_settings("m", {"trace_level": "TENSORS"}), "UNIMPLEMENTED.*spans"),
    ],
)
def test_what_a_call_may_not_change_is_refused(tmp_path: Path, call: Any, match: str) -> None:
    """A model comes from the repository only, and no call names a file."""
    with (
        controlled(tmp_path, "--control", "explicit") as (_, client),
        pytest.raises(triton.InferenceServerException, match=match),
    ):
        call(client)


def test_what_is_logged_can_be_changed(tmp_path: Path) -> None:
    """With log_info off, a load leaves no line; on again, it does."""
    with controlled(tmp_path, "--control", "explicit") as (worker, client):
        client.update_log_settings({"log_info": False})
        before = len(worker.events())
        client.load_model("m")
        assert len(worker.events()) == before
        client.update_log_settings({"log_info": True})
        client.load_model("m")
        assert len(worker.events()) > before


def test_polling_serves_what_changed_and_keeps_what_was_good(tmp_path: Path) -> None:
    """A new version takes over, a bad one does not, and a mended one does."""
    with controlled(tmp_path, "--control", "poll", "--poll-s", "0.1") as (worker, client):
        models.write_model(tmp_path, "m", times(2), version=2)
        eventually(lambda: ask(client) == 2, within_s=10, what="version 2 takes over")
        with pytest.raises(triton.InferenceServerException, match="NOT_FOUND"):
            ask(client, "1")
        models.write_model(tmp_path, "m", models.corrupt(), version=3)
        eventually(lambda: "3/model.onnx" in worker.log.read_text(), within_s=10, what="version 3 fails")
        assert ask(client) == 2
        models.write_model(tmp_path, "m", times(3), version=3)
        eventually(lambda: ask(client) == 3, within_s=10, what="version 3 takes over")


def test_without_control_nothing_is_loaded_again(tmp_path: Path) -> None:
    """The default: what was started is what is served, and the calls are not there."""
    with controlled(tmp_path) as (_, client):
        with pytest.raises(triton.InferenceServerException, match="UNIMPLEMENTED"):
            client.load_model("m")
        with pytest.raises(triton.InferenceServerException, match="UNIMPLEMENTED"):
            client.get_model_repository_index()
