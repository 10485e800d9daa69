"""Half a run, or a damaged one: every command names the file and a remedy, for programs as one object."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import typer
from typer.testing import CliRunner

from accord.commands import compress, evaluate, export, train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COMMANDS = {"train": train, "compress": compress, "evaluate": evaluate, "export": export}
CONFIG = """
data: {source: rows.csv, max_length: 16}
encoder: {name: bert, layers: 1, width: 16, vocabulary: 64}
tasks: {label: {kind: classify}}
train: {epochs: 1, batch: 16, threads: 1, device: cpu, precision: fp32}
compress: [{kind: fp16}]
export: {repository: models}
"""


def call(name: str, *arguments: object) -> tuple[int, dict[str, Any]]:
    app = typer.Typer()
    app.command()(COMMANDS[name].command)
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, json.loads(done.stdout)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a configuration whose run and variant are made."""
    folder = tmp_path_factory.mktemp("made")
    lines = [f"row {i} w{i % 7} is {'bad' if i % 2 else 'good'},{'ab'[i % 2]}" for i in range(80)]
    (folder / "rows.csv").write_text("\n".join(["text,label", *lines]), "utf-8")
    (folder / "small.yaml").write_text(CONFIG, "utf-8")
    for name in ("train", "compress", "evaluate", "export"):
        code, found = call(name, folder / "small.yaml")
        assert code == 0, found
    return folder


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def another(path: Path) -> None:
    path.write_text("[]", "utf-8")


DAMAGES: list[Callable[[Any], None]] = [lambda path: path.unlink(), emptied, halved, another]


@pytest.mark.parametrize("damage", DAMAGES, ids=["lost", "emptied", "halved", "another"])
@pytest.mark.parametrize(
    ("file", "readers"),
    [
        ("card.json", ["evaluate", "compress", "export"]),
        ("metrics.json", ["evaluate", "compress", "export"]),
        ("model.json", ["compress", "export"]),
        ("model.safetensors", ["compress", "export"]),
        ("tokenizer.json", ["compress", "export"]),
        ("predictions.npz", ["evaluate"]),
        ("variants/fp16/predictions.npz", ["evaluate"]),
        ("variants/fp16/variant.json", ["export"]),
        ("variants/fp16/model.onnx", ["export"]),
    ],
)
def test_a_damaged_file_of_a_run_is_named_by_all_who_read_it(
    made: Path, tmp_path: Path, file: str, readers: list[str], damage: Callable[[Path], None]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(made, folder)
    damage(folder / "runs" / "small" / file)
    for name in readers:
        code, found = call(name, folder / "small.yaml")
        assert code == 1
        assert "runs/small" in found["message"]
        assert "; " in found["message"]
    if damage is DAMAGES[0] and "history" not in file and "model" not in file and "variant" not in file:
        assert file in found["message"]


def test_a_history_that_was_cut_off_is_named(made: Path, tmp_path: Path) -> None:
    """It is read line by line; a lost one would leave a report without its curves."""
    shutil.copytree(made, tmp_path / "run")
    halved(tmp_path / "run" / "runs" / "small" / "history.jsonl")
    code, found = call("evaluate", tmp_path / "run" / "small.yaml")
    assert (code, "history.jsonl: cannot be read" in found["message"]) == (1, True)


def test_weights_of_another_model_are_refused(made: Path, tmp_path: Path) -> None:
    """Both files can be read; together they are no model, to continue from or to export."""
    shutil.copytree(made, tmp_path / "run")
    about = tmp_path / "run" / "runs" / "small" / "model.json"
    told = json.loads(about.read_text("utf-8"))
    told["encoder"]["config"]["hidden_size"] = 32
    about.write_text(json.dumps(told), "utf-8")
    assert "is no finished run" in call("export", tmp_path / "run" / "small.yaml")[1]["message"]
    other = tmp_path / "run" / "other.yaml"
    other.write_text(CONFIG.replace("{name: bert,", "{name: bert, from: runs/small,"), "utf-8")
    assert "is no finished run" in call("train", other)[1]["message"]


@pytest.mark.parametrize(
    ("out", "words"),
    [("rows.csv", "is no folder"), ("rows.csv/run", "Not a directory"), ("x" * 300, "name too long")],
)
def test_a_folder_that_cannot_be_made_is_named(made: Path, tmp_path: Path, out: str, words: str) -> None:
    """By the system's own words; nothing is left behind."""
    shutil.copy(made / "rows.csv", tmp_path)
    (tmp_path / "small.yaml").write_text(f"{CONFIG}out: {out}\n", "utf-8")
    code, found = call("train", tmp_path / "small.yaml")
    assert (code, words in found["message"], out in found["message"]) == (1, True, True)
    assert {path.name for path in tmp_path.iterdir()} == {"rows.csv", "small.yaml"}
