"""A worker's model is loaded again, taken out and replaced while clients ask."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import tritonclient.grpc as triton

from tests import models
from tests.integration.loading import ask, asking, load_in_turn, times
from tests.integration.test_worker import working
from tests.serving import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.test_worker import Worker


def states(client: triton.InferenceServerClient, **options: Any) -> dict[str, str]:
    return {m.version: m.state for m in client.get_model_repository_index(**options).models}


@dataclass(frozen=True)
class Controlled:
    """A worker that may be told what to load, and where its model lies."""

    folder: Path
    worker: Worker
    client: triton.InferenceServerClient


@contextmanager
def controlled(folder: Path, *arguments: str) -> Iterator[tuple[Worker, triton.InferenceServerClient]]:
    with (
        working(folder, "m", times(1), f"unix:{folder}/s", *arguments) as worker,
        triton.InferenceServerClient(worker.address) as client,
    ):
        yield worker, client


@pytest.fixture(scope="module")
def explicit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controlled]:
    folder = tmp_path_factory.mktemp("w")
    with controlled(folder, "--control", "explicit") as (worker, client):
        yield Controlled(folder, worker, client)
        assert worker.stop() == 0


@pytest.fixture
def own(explicit: Controlled) -> Iterator[Controlled]:
    """The shared worker; whatever a test loads, the next one finds version 1 with factor 1."""
    yield explicit
    shutil.rmtree(explicit.folder / "m")
    models.write_model(explicit.folder, "m", times(1))
    explicit.client.load_model("m")


def test_a_model_is_loaded_again_and_again_under_load_without_a_failed_call(own: Controlled) -> None:
    """Two clients ask without a pause while each load alternates between two exports of the model."""
    with asking(own.worker.address, "m", "m") as told:
        load_in_turn(own.folder, own.client, told, loads=10)
    for asked in told:
        assert not asked.failures
        assert min(asked.factors[1.0], asked.factors[2.0]) >= 5


def test_an_unloaded_model_is_not_ready_until_it_is_loaded(own: Controlled) -> None:
    """Clients that ask meanwhile are told that it is known and not there; the index says so as well."""
    client = own.client
    assert states(client)["1"] == "READY"
    client.unload_model("m", unload_dependents=True)
    assert not client.is_model_ready("m")
    assert not client.is_server_ready()
    with pytest.raises(triton.InferenceServerException, match=r"UNAVAILABLE.*not ready"):
        ask(client)
    eventually(lambda: states(client)["1"] == "UNAVAILABLE", within_s=5, what="it has drained")
    client.load_model("m")
    assert (ask(client), client.is_server_ready()) == (1, True)


def test_a_load_that_fails_says_so_and_leaves_the_old_model_serving(own: Controlled) -> None:
    """The caller learns no path; whoever reads the log learns file and cause."""
    client = own.client
    models.write_model(own.folder, "m", models.corrupt(), version=2)
    with pytest.raises(triton.InferenceServerException, match="FAILED_PRECONDITION") as caught:
        client.load_model("m")
    assert str(own.folder) not in str(caught.value)
    assert ask(client) == 1
    every = client.get_model_repository_index().models
    assert {m.version: (m.state, bool(m.reason)) for m in every} == {
        "1": ("READY", False),
        "2": ("UNAVAILABLE", True),
    }
    assert "2/model.onnx" in own.worker.log.read_text()


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
def test_what_a_call_may_not_change_is_refused(explicit: Controlled, call: Any, match: str) -> None:
    """A model comes from the repository only, and no call names a file."""
    with pytest.raises(triton.InferenceServerException, match=match):
        call(explicit.client)


def test_what_is_logged_can_be_changed(own: Controlled) -> None:
    """With log_info off, a load leaves no line; on again, it does."""
    worker, client = own.worker, own.client
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
            ask(client, version="1")
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
