"""What changes a running server is taken at the admin address only, and no call notices."""

from __future__ import annotations

import stat
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tritonclient.grpc as triton

from tests import models
from tests.serving import eventually, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.serving import Served

X = np.ones((1, 2), np.float32)
CONFIG = """
server: {{drain_s: 5, admin: "{admin}"{token}}}
models:
  m: {{worker: {{repository: models, instances: 2, threads: 1}}}}
  hidden: {{worker: {{repository: models, threads: 1}}, expose: false}}
  elsewhere: {{oip: {{targets: ["127.0.0.1:9"]}}}}
ensembles:
  e:
    strategy: {{kind: mean}}
    members: [{{model: m}}, {{model: hidden}}]
"""


def times(factor: float) -> bytes:
    return models.linear(np.eye(2, dtype=np.float32) * factor)


def ask(client: triton.InferenceServerClient, name: str = "m", version: str = "") -> float:
    """Return the factor by which the model multiplies."""
    tensor = triton.InferInput("x", [1, 2], "FP32")
    tensor.set_data_from_numpy(X)
    return float(client.infer(name, [tensor], model_version=version).as_numpy("y")[0, 0])


def refusal(call: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(triton.InferenceServerException) as caught:
        call(*arguments, **options)
    return str(caught.value)


@contextmanager
def serving(folder: Path, admin: str = "unix:admin.sock", token: str = "") -> Iterator[Served]:
    for name in ("m", "hidden"):
        models.write_model(folder / "models", name, times(1))
    config = folder / "accord.yaml"
    config.write_text(CONFIG.format(admin=admin, token=token))
    server = serve(config, folder, ready=False)
    try:
        with triton.InferenceServerClient(server.listening()) as client:
            eventually(lambda: client.is_model_ready("e"), within_s=30, what="the ensemble is ready")
        yield server
    finally:
        server.stop()


@contextmanager
def clients(
    server: Served, folder: Path
) -> Iterator[tuple[triton.InferenceServerClient, triton.InferenceServerClient]]:
    with (
        triton.InferenceServerClient(server.listening()) as public,
        triton.InferenceServerClient(f"unix:{folder}/admin.sock") as admin,
    ):
        yield public, admin


def test_a_model_is_loaded_a_hundred_times_under_load_without_a_failed_call(tmp_path: Path) -> None:
    """Each load alternates between two exports, on both instances, while callers ask model and ensemble."""
    counts = dict.fromkeys([1.0, 2.0], 0)
    failures: list[Exception] = []
    stop = threading.Event()

    def keep_asking(address: str, name: str) -> None:
        with triton.InferenceServerClient(address) as mine:
            while not stop.is_set():
                try:
                    factor = ask(mine, name)
                    if name == "m":
                        counts[factor] += 1
                except Exception as error:  # noqa: BLE001 - any at all is what the test looks for
                    failures.append(error)

    with serving(tmp_path) as server, clients(server, tmp_path) as (public, admin):
        callers = [threading.Thread(target=keep_asking, args=(server.listening(), n)) for n in ("m", "e")]
        for caller in callers:
            caller.start()
        for i in range(100):
            models.write_model(tmp_path / "models", "m", times(1 + (i + 1) % 2))
            admin.load_model("m")
        stop.set()
        for caller in callers:
            caller.join()
        statistics = public.get_inference_statistics("m").model_stats[0]
    assert not failures
    assert min(counts.values()) > 50
    assert statistics.inference_stats.fail.count == 0
    assert statistics.inference_count == sum(counts.values())


def test_a_new_version_is_told_everywhere_once_it_is_loaded(tmp_path: Path) -> None:
    """Metadata, answers and the index name the version that now answers; the old one is gone."""
    with serving(tmp_path) as server, clients(server, tmp_path) as (public, admin):
        models.write_model(tmp_path / "models", "m", times(3), version=2)
        assert list(public.get_model_metadata("m").versions) == ["1"]
        admin.load_model("m")
        assert list(public.get_model_metadata("m").versions) == ["2"]
        assert ask(public) == ask(public, version="2") == 3
        assert "NOT_FOUND" in refusal(ask, public, version="1")
        index = {m.name: (m.version, m.state) for m in admin.get_model_repository_index().models}
        assert index["m"] == ("2", "READY")
        assert index["e"] == ("1", "READY")
        assert index["hidden"] == ("1", "READY")
        assert index["elsewhere"] == ("", "UNAVAILABLE")


def test_every_version_that_a_worker_serves_can_be_asked_by_its_number(tmp_path: Path) -> None:
    """Clients of a Triton that names versions find them here as well."""
    policy = "version_policy { all {} }"
    for version in (1, 2):
        models.write_model(tmp_path / "models", "m", times(version), version=version, config=policy)
    with serving(tmp_path) as server, clients(server, tmp_path) as (public, _):
        assert list(public.get_model_metadata("m").versions) == ["1", "2"]
        assert [ask(public, version=version) for version in ("1", "2", "")] == [1, 2, 2]
        assert "it has 1, 2" in refusal(ask, public, version="3")


def test_a_model_that_is_unloaded_takes_its_ensemble_with_it_until_it_is_back(tmp_path: Path) -> None:
    """Both are known and not ready meanwhile; a client is invited to retry."""
    with serving(tmp_path) as server, clients(server, tmp_path) as (public, admin):
        admin.unload_model("m")
        assert not public.is_model_ready("m")
        assert "UNAVAILABLE" in refusal(ask, public)
        assert "UNAVAILABLE" in refusal(ask, public, "e")
        admin.load_model("m")
        assert (ask(public), ask(public, "e")) == (1, 1)


def test_an_ensemble_is_unloaded_alone_or_with_what_it_is_made_of(tmp_path: Path) -> None:
    """Triton's unload_dependents; loading the ensemble brings everything back."""
    with serving(tmp_path) as server, clients(server, tmp_path) as (public, admin):
        admin.unload_model("e")
        assert "UNAVAILABLE" in refusal(ask, public, "e")
        assert ask(public) == 1
        admin.unload_model("e", unload_dependents=True)
        assert "UNAVAILABLE" in refusal(ask, public)
        admin.load_model("e")
        assert (ask(public), ask(public, "e")) == (1, 1)


def test_a_load_that_fails_leaves_the_old_model_serving_and_tells_no_path(tmp_path: Path) -> None:
    """FAILED_PRECONDITION, and the log of the worker has file and cause."""
    with serving(tmp_path) as server, clients(server, tmp_path) as (public, admin):
        models.write_model(tmp_path / "models", "m", models.corrupt(), version=2)
        told = refusal(admin.load_model, "m")
        assert "FAILED_PRECONDITION" in told
        assert str(tmp_path) not in told
        assert ask(public) == 1
        assert "2/model.onnx" in server.log.read_text()


def test_what_is_not_ours_to_load_is_refused(tmp_path: Path) -> None:
    """A model of another server is that server's; an unknown one is not found."""
    with serving(tmp_path) as server, clients(server, tmp_path) as (_, admin):
        assert "FAILED_PRECONDITION" in refusal(admin.load_model, "elsewhere")
        assert "NOT_FOUND" in refusal(admin.load_model, "nobody")
        assert "UNIMPLEMENTED" in refusal(admin.load_model, "m", config="{}")


def test_callers_can_change_nothing(tmp_path: Path) -> None:
    """At the public address the calls are not there, and settings are read only."""
    with serving(tmp_path) as server, clients(server, tmp_path) as (public, admin):
        for call in (public.load_model, public.unload_model):
            assert "UNIMPLEMENTED" in refusal(call, "m")
        assert "UNIMPLEMENTED" in refusal(public.get_model_repository_index)
        assert "PERMISSION_DENIED" in refusal(public.update_log_settings, {"log_info": False})
        assert public.get_log_settings().settings["log_info"].bool_param
        assert admin.update_log_settings({"log_info": False})
        assert not public.get_log_settings().settings["log_info"].bool_param
        extensions = set(admin.get_server_metadata().extensions) - set(
            public.get_server_metadata().extensions
        )
        assert extensions == {"model_repository", "model_repository(unload_dependents)"}
        assert stat.S_IMODE((tmp_path / "admin.sock").stat().st_mode) == 0o600


def test_an_admin_port_asks_for_the_token_of_its_file(tmp_path: Path) -> None:
    """None, a wrong one, and the former one after a change are refused; health is for everyone."""
    secret = tmp_path / "token"
    secret.write_text("s3cret\n")
    with serving(tmp_path, "127.0.0.1:0", ", admin_token: token") as server:
        address = eventually(
            lambda: [e["admin"] for e in server.events() if e["event"] == "gateway listens"],
            within_s=10,
            what="the admin address is told",
        )[0]
        with triton.InferenceServerClient(address) as admin:
            assert "UNAUTHENTICATED" in refusal(admin.get_model_repository_index)
            for wrong in ("Bearer s3cre", "Bearer ", "Basic s3cret", "s3cret"):
                told = refusal(admin.get_model_repository_index, headers={"authorization": wrong})
                assert "UNAUTHENTICATED" in told
                assert "s3cret" not in told
            right = {"authorization": "Bearer s3cret"}
            assert len(admin.get_model_repository_index(headers=right).models) == 4
            secret.write_text("other")
            assert "UNAUTHENTICATED" in refusal(admin.get_model_repository_index, headers=right)
        assert "s3cret" not in server.log.read_text()
