"""The admin commands do what a client of the repository extension does; words and exit codes tell it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import tritonclient.grpc as triton

from tests import models
from tests.integration.test_admin import ask, refusal, serving, times
from tests.serving import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.serving import Served

PORT = "127.0.0.1:0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("admin")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Served]:
    with serving(folder) as server:
        yield server


@pytest.fixture
def public(server: Served) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.listening()) as client:
        yield client


def accord(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "accord.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def states(address: str) -> dict[str, tuple[str, str, str]]:
    done = accord("models", "--admin", address, "--json")
    assert done.returncode == 0, done.stdout
    return {m["name"]: (m["version"], m["state"], m["reason"]) for m in json.loads(done.stdout)}


def test_a_new_version_is_loaded_by_command(
    server: Served, folder: Path, public: triton.InferenceServerClient
) -> None:
    """It answers when the command returns; the list names versions and states, in colours for nobody."""
    admin = f"unix:{folder}/admin.sock"
    assert states(admin)["m"] == ("1", "READY", "")
    models.write_model(folder / "models", "m", times(3), version=2)
    done = accord("load", "m", "--admin", admin)
    assert (done.returncode, done.stdout, done.stderr) == (0, "loaded: m\n", "")
    assert ask(public) == 3
    table = accord("models", "--admin", admin).stdout
    assert "\x1b" not in table
    assert any(line.split()[1:7:2] == ["m", "2", "READY"] for line in table.splitlines())
    assert states(admin)["elsewhere"] == ("", "UNAVAILABLE", "not ready")


def test_an_ensemble_is_unloaded_by_command_alone_or_with_its_members(
    server: Served, folder: Path, public: triton.InferenceServerClient
) -> None:
    """Its models answer on, unless they are to go as well; loading it brings all back."""
    admin = f"unix:{folder}/admin.sock"
    assert json.loads(accord("unload", "e", "--admin", admin, "--json").stdout) == {"ok": True, "name": "e"}
    assert states(admin)["e"] == ("1", "UNAVAILABLE", "unloaded")
    assert public.is_model_ready("m")
    assert accord("unload", "e", "--with-members", "--admin", admin).returncode == 0
    assert "UNAVAILABLE" in refusal(ask, public)
    assert accord("load", "e", "--admin", admin).returncode == 0
    assert public.is_model_ready("m")
    assert public.is_model_ready("e")


def test_a_refused_call_is_told_with_its_reason(server: Served, folder: Path) -> None:
    """Exit code 1; programs read status, reason and message apart."""
    admin = f"unix:{folder}/admin.sock"
    told = accord("load", "elsewhere", "--admin", admin, "--json")
    assert told.returncode == 1
    assert json.loads(told.stdout) == {
        "ok": False,
        "code": "FAILED_PRECONDITION",
        "reason": "CONFIG_REJECTED",
        "message": "model 'elsewhere' is served by another server; load and unload it there",
    }
    plain = accord("unload", "[/nobody]", "--admin", admin)
    assert (plain.returncode, plain.stdout) == (1, "")
    assert "NOT_FOUND (MODEL_NOT_FOUND): there is no model '[/nobody]'" in plain.stderr
    # where nobody listens
    assert accord("models", "--admin", f"unix:{folder}/none.sock", "--timeout-s", "1").returncode == 1
    # callers' address
    assert "UNIMPLEMENTED" in accord("models", "--admin", server.listening()).stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "--admin"),
        (("--admin", "somewhere"), "use host:port"),
        (("--admin", "10.0.0.7:8003"), "forward its port"),
        (("--admin", "unix:x.sock", "--token-file", "/nonexistent"), "--token-file"),
        (("--admin", "unix:x.sock", "--token-file", "/dev/null"), "--token-file"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_called(arguments: tuple[str, ...], told: str) -> None:
    """Exit code 2, and the option is named."""
    done = accord("models", *arguments)
    assert done.returncode == 2
    assert told in done.stderr


def test_a_port_is_reached_with_the_token_of_a_file(tmp_path: Path) -> None:
    """Without it, or with another one, the command fails and does not show it."""
    secret, wrong = tmp_path / "token", tmp_path / "wrong"
    secret.write_text("s3cret\n")
    wrong.write_text("gu3ss\n")
    with serving(tmp_path, PORT, ", admin_token: token") as server:
        address = eventually(
            lambda: [e["admin"] for e in server.events() if e["event"] == "gateway listens"],
            within_s=10,
            what="the admin address is told",
        )[0]
        assert "AUTH_MISSING" in accord("models", "--admin", address).stderr
        refused = accord("models", "--admin", address, "--token-file", str(wrong))
        assert "AUTH_INVALID" in refused.stderr
        assert "gu3ss" not in refused.stderr
        assert accord("models", "--admin", address, "--token-file", str(secret)).returncode == 0
