"""The commands of training where training is not installed."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
import typer
from typer.testing import CliRunner

from accord.commands import compress, export, train
from accord.commands.explain import explained
from protos.document import Complaint, ConfigError
from training.errors import TrainingError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("module", [train, compress, export])
def test_without_torch_they_name_the_extra(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before they read anything, as an error of one line, for programs too."""
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("training.")]:
        monkeypatch.delitem(sys.modules, name)
    app = typer.Typer(add_completion=False)
    app.command()(module.command)
    result = CliRunner().invoke(app, [str(tmp_path / "absent.yaml"), "--json"])
    assert result.exit_code == 1
    assert "install accord-gateway[train]" in json.loads(result.stdout)["message"]


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (TrainingError("r.csv:7", "unknown label", "mend it"), 1, "r.csv:7: unknown label; mend it"),
        (OSError(28, "No space left on device", "runs/x"), 1, "runs/x: No space left on device; mend it, or"),
        (OSError("no answer"), 1, "the disk: no answer; "),
        (MemoryError(), 1, "the memory is used up; "),
        (ConfigError([Complaint("t.yaml", 3, "train", "unknown key")]), 2, "t.yaml:3: train: unknown key"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_what_a_person_can_mend_ends_a_command_in_words(
    error: Exception, code: int, words: str, as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """On standard error; for programs as one object on standard output. What is no such thing goes on."""
    with pytest.raises(typer.Exit) as ended, explained(as_json=as_json):
        raise error
    assert ended.value.exit_code == code
    told = capsys.readouterr()
    if not as_json:
        assert (told.out, words in told.err) == ("", True)
    else:
        found = json.loads(told.out)
        assert not found["ok"]
        assert code == 2 or words in found["message"]
    with pytest.raises(ZeroDivisionError), explained(as_json=as_json):
        raise ZeroDivisionError
