"""What changes a running server is taken at the admin address only, and no call notices."""

from __future__ import annotations

import shutil
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import tritonclient.grpc as triton

from tests import models
from tests.integration.loading import ask, asking, load_in_turn, times
from tests.serving import eventually, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.serving import Served

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


@dataclass(frozen=True)
class Administered:
    """A running server, where its models lie, and a client of each of its addresses."""

    server: Served
    folder: Path
    public: triton.InferenceServerClient
    admin: triton.InferenceServerClient

    def write(self, factor: float, *, version: int = 1) -> None:
        models.write_model(self.folder / "models", "m", times(factor), version=version)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Administered]:
    folder = tmp_path_factory.mktemp("admin")
    with (
        serving(folder) as server,
        triton.InferenceServerClient(server.listening()) as public,
        triton.InferenceServerClient(f"unix:{folder}/admin.sock") as admin,
    ):
        yield Administered(server, folder, public, admin)


@pytest.fixture
def own(shared: Administered) -> Iterator[Administered]:
    """The shared server; whatever a test loads, unloads or sets, the next one finds it as it started."""
    yield shared
    shutil.rmtree(shared.folder / "models" / "m")
    shared.write(1)
    shared.admin.load_model("m")
    shared.admin.load_model("e")
    shared.admin.update_log_settings({"log_info": True})


def test_a_model_is_loaded_again_and_again_under_load_without_a_failed_call(own: Administered) -> None:
    """Each load alternates between two exports, on both instances, while callers ask model and ensemble."""
    before = own.public.get_inference_statistics("m").model_stats[0]
    with asking(own.server.listening(), "m", "e") as told:
        load_in_turn(own.folder / "models", own.admin, told, loads=10)
    model, ensemble = told
    after = own.public.get_inference_statistics("m").model_stats[0]
    assert not model.failures
    assert not ensemble.failures
    assert min(model.factors[1.0], model.factors[2.0]) >= 5
    assert after.inference_stats.fail.count == before.inference_stats.fail.count
    assert after.inference_count - before.inference_count == sum(model.factors.values())


def test_a_new_version_is_told_everywhere_once_it_is_loaded(own: Administered) -> None:
    """Metadata, answers and the index name the version that now answers; the old one is gone."""
    public, admin = own.public, own.admin
    own.write(3, version=2)
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
    with serving(tmp_path) as server, triton.InferenceServerClient(server.listening()) as public:
        assert list(public.get_model_metadata("m").versions) == ["1", "2"]
        assert [ask(public, version=version) for version in ("1", "2", "")] == [1, 2, 2]
        assert "it has 1, 2" in refusal(ask, public, version="3")


def test_a_model_that_is_unloaded_takes_its_ensemble_with_it_until_it_is_back(own: Administered) -> None:
    """Both are known and not ready meanwhile; a client is invited to retry."""
    public, admin = own.public, own.admin
    admin.unload_model("m")
    assert not public.is_model_ready("m")
    assert "UNAVAILABLE" in refusal(ask, public)
    assert "UNAVAILABLE" in refusal(ask, public, "e")
    admin.load_model("m")
    assert (ask(public), ask(public, "e")) == (1, 1)


def test_an_ensemble_is_unloaded_alone_or_with_what_it_is_made_of(own: Administered) -> None:
    """Triton's unload_dependents; loading the ensemble brings everything back."""
    public, admin = own.public, own.admin
    admin.unload_model("e")
    assert "UNAVAILABLE" in refusal(ask, public, "e")
    assert ask(public) == 1
    admin.unload_model("e", unload_dependents=True)
    assert "UNAVAILABLE" in refusal(ask, public)
    admin.load_model("e")
    assert (ask(public), ask(public, "e")) == (1, 1)


def test_a_load_that_fails_leaves_the_old_model_serving_and_tells_no_path(own: Administered) -> None:
    """FAILED_PRECONDITION, and the log of the worker has file and cause."""
    public, admin = own.public, own.admin
    models.write_model(own.folder / "models", "m", models.corrupt(), version=2)
    told = refusal(admin.load_model, "m")
    assert "FAILED_PRECONDITION" in told
    assert str(own.folder) not in told
    assert ask(public) == 1
    assert "2/model.onnx" in own.server.log.read_text()


def test_what_is_not_ours_to_load_is_refused(own: Administered) -> None:
    """A model of another server is that server's; an unknown one is not found."""
    admin = own.admin
    assert "FAILED_PRECONDITION" in refusal(admin.load_model, "elsewhere")
    assert "NOT_FOUND" in refusal(admin.load_model, "nobody")
    assert "UNIMPLEMENTED" in refusal(admin.load_model, "m", config="{}")


def test_callers_can_change_nothing(own: Administered) -> None:
    """At the public address the calls are not there, and settings are read only."""
    public, admin = own.public, own.admin
    for call in (public.load_model, public.unload_model):
        assert "UNIMPLEMENTED" in refusal(call, "m")
    assert "UNIMPLEMENTED" in refusal(public.get_model_repository_index)
    assert "PERMISSION_DENIED" in refusal(public.update_log_settings, {"log_info": False})
    assert public.get_log_settings().settings["log_info"].bool_param
    assert admin.update_log_settings({"log_info": False})
    assert not public.get_log_settings().settings["log_info"].bool_param
    extensions = set(admin.get_server_metadata().extensions) - set(public.get_server_metadata().extensions)
    assert extensions == {"model_repository", "model_repository(unload_dependents)"}
    assert stat.S_IMODE((own.folder / "admin.sock").stat().st_mode) == 0o600


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
