"""``accord compress`` and ``accord export``, from a finished run to versions in a repository."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer
from typer.testing import CliRunner

from accord.commands import compress as compress_command
from accord.commands import export as export_command
from tests.training import small
from training.config import load
from training.data.load import load as load_data
from training.loop import train

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
data: {{source: rows.csv, max_length: 24}}
encoder: {{name: bert, layers: 2, width: 32, vocabulary: 64}}
tasks:
  mood: {{kind: classify, labels: [bad, so-so, good]}}
  strength: {{kind: regress}}
train: {{mode: {mode}, epochs: 1, threads: 1, device: cpu}}
compress: [{{kind: int8}}, {{kind: int8, mode: dynamic}}]
export: {{repository: models, variants: [fp32, int8]}}
out: run
"""


def invoke(module: Any, *arguments: str) -> Any:
    """Run a command; return exit code and what it printed."""
    app = typer.Typer(add_completion=False)
    app.command()(module.command)
    return CliRunner().invoke(app, arguments)


def trained(folder: Path, mode: str = "joint") -> Path:
    """Train a model of texts in a file, and return its configuration."""
    rows = small.dataset(200)
    lines = ["text,mood,strength"]
    for i, text in enumerate(rows.inputs.texts):
        labels = rows.labels
        lines.append(f"{text},{small.MOODS[labels['mood'].values[i]]},{labels['strength'].values[i]}")
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    (folder / "moods.yaml").write_text(CONFIG.format(mode=mode))
    config, _ = load(folder / "moods.yaml")
    train(config, load_data(config), config.out)
    return folder / "moods.yaml"


def test_a_run_becomes_models_in_a_repository(tmp_path: Path) -> None:
    """Twice gives two versions; a variant that depends on its batch is refused, and nothing is written."""
    file = trained(tmp_path)
    made = invoke(compress_command, str(file), "--json")
    assert made.exit_code == 0, made.output
    variants = json.loads(made.stdout)["variants"]
    assert [each["name"] for each in variants] == ["fp32", "int8", "int8-dynamic"]
    for version in ("1", "2"):
        result = invoke(export_command, str(file), "--json")
        assert result.exit_code == 0, result.output
        models = json.loads(result.stdout)["models"]
        assert [(each["model"], each["version"]) for each in models] == [
            ("run", version),
            ("run-int8", version),
        ]
    other = ("--repository", str(tmp_path / "other"), "--json")
    told = invoke(export_command, str(tmp_path / "run"), "--variant", "int8-dynamic", *other)
    assert told.exit_code == 1
    assert "depends on the rows beside it" in json.loads(told.stdout)["message"]
    assert not (tmp_path / "other").exists()
    named = invoke(export_command, str(tmp_path / "run"), "--variant", "int8", "--name", "moods", *other)
    assert named.exit_code == 0, named.output
    assert (tmp_path / "other" / "moods-int8" / "1" / "card.json").exists()


def test_individual_models_are_exported_one_by_one(tmp_path: Path) -> None:
    """Each under its task's name, with plain names of outputs."""
    file = trained(tmp_path, "individual")
    assert invoke(compress_command, str(file), "--json").exit_code == 0
    result = invoke(export_command, str(file), "--variant", "fp32", "--json")
    assert result.exit_code == 0, result.output
    assert [each["model"] for each in json.loads(result.stdout)["models"]] == ["run-mood", "run-strength"]
    assert 'name: "probabilities"' in (tmp_path / "models" / "run-mood" / "config.pbtxt").read_text()


def test_a_run_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    """With what to do."""
    (tmp_path / "rows.csv").write_text("text,mood,strength\n")
    (tmp_path / "moods.yaml").write_text(CONFIG.format(mode="joint"))
    for module in (compress_command, export_command):
        result = invoke(module, str(tmp_path / "moods.yaml"), "--json")
        assert result.exit_code == 1
        assert "is no finished run" in json.loads(result.stdout)["message"]


def test_a_file_that_says_nonsense_is_refused_with_its_line(tmp_path: Path) -> None:
    """As by all commands: exit code 2."""
    (tmp_path / "moods.yaml").write_text(CONFIG.format(mode="joint").replace("int8}", "int9}", 1))
    result = invoke(compress_command, str(tmp_path / "moods.yaml"), "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["complaints"][0]["line"] == 8
