"""The commands of training where training is not installed."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
import typer
from typer.testing import CliRunner

from accord.commands import compress, export

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("module", [compress, export])
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
