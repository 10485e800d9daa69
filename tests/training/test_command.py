"""``accord train``: what it says, and with which exit code."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import typer
from typer.testing import CliRunner

from accord.commands.train import command
from tests.training.rows import sentences
from training.run import Run

if TYPE_CHECKING:
    from pathlib import Path

APP = typer.Typer()
APP.command()(command)

CONFIG = """
data: {source: rows.csv, split: {parts: [0.6, 0.2, 0.2]}, max_length: 32}
encoder: {name: bert, layers: 1, width: 16, vocabulary: 64}
tasks:
  mood: {kind: classify, labels: [bad, good]}
  force: {kind: regress}
train: {epochs: 2, batch: 16, threads: 1, device: cpu, precision: fp32}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    dataset = sentences(80)
    mood, force = dataset.labels["mood"], dataset.labels["force"]
    with (tmp_path / "rows.csv").open("w", newline="") as rows:
        writer = csv.writer(rows)
        writer.writerow(["text", "mood", "force"])
        for i, text in enumerate(dataset.inputs.texts):
            known = mood.known[i], force.known[i]
            cells = mood.classes[mood.values[i]] if known[0] else "", force.values[i] if known[1] else ""
            writer.writerow([f"{text} row{i}", *cells])
    path = tmp_path / "small.yaml"
    path.write_text(CONFIG)
    return path


def _run(*arguments: Any) -> Any:
    return CliRunner().invoke(APP, [*map(str, arguments)], catch_exceptions=False)


def test_it_trains_and_says_how_good_the_model_is(file: Path) -> None:
    done = _run(file)
    assert done.exit_code == 0
    assert "accuracy" in done.stdout
    assert "trained:" in done.stdout
    assert Run.read(file.parent / "runs" / "small").metrics["metrics"]["test"]["mood"]["accuracy"] >= 0


def test_for_programs_it_prints_one_document(file: Path) -> None:
    done = _run(file, "--json", "--out", file.parent / "there")
    said = json.loads(done.stdout)
    assert said["ok"]
    assert said["run"] == str(file.parent / "there")
    assert said["losses"].keys() == {"validation", "test"}


def test_a_dry_run_tells_rows_steps_and_minutes_and_leaves_nothing(file: Path) -> None:
    done = _run(file, "--dry-run", "--json")
    said = json.loads(done.stdout)
    assert sum(said["rows"].values()) == 80
    assert said["labelled"]["mood"]["train"] < said["rows"]["train"]
    assert said["steps"] > 0
    assert said["minutes"] > 0
    assert {path.name for path in file.parent.iterdir()} == {"rows.csv", "small.yaml"}
    assert re.search(r"\d+ steps of \d+ ms: \d+ s\n", _run(file, "--dry-run").stdout)


def test_a_second_run_does_not_overwrite_the_first_and_says_what_to_do(file: Path) -> None:
    assert _run(file).exit_code == 0
    again = _run(file)
    assert again.exit_code == 1
    assert "holds something already; go on by --resume, or name another folder by --out" in again.output
    assert _run(file, "--resume").exit_code == 0


@pytest.mark.parametrize(
    ("old", "new", "code", "words"),
    [
        ("epochs: 2", "epoch: 2", 2, "train.epoch: unknown key"),
        ("kind: regress", "kind: guess", 2, "tasks.force.kind: must be"),
        ("rows.csv", "gone.csv", 1, "gone.csv"),
        ("labels: [bad, good]", "labels: [bad, fair]", 1, "good"),
        ("device: cpu", "device: cuda", 1, "there is no GPU that torch can use"),
    ],
)
def test_bad_input_is_named_with_a_remedy(file: Path, old: str, new: str, code: int, words: str) -> None:
    file.write_text(CONFIG.replace(old, new))
    done = _run(file)
    assert done.exit_code == code
    assert words in done.output.replace("\n", "")
    assert "Traceback" not in done.output


def test_ctrl_c_says_how_to_go_on(file: Path) -> None:
    file.write_text(CONFIG.replace("epochs: 2", "epochs: 5000"))
    main = "import typer, accord.commands.train as t; app = typer.Typer(); app.command()(t.command); app()"
    with subprocess.Popen(
        [sys.executable, "-c", main, str(file), "--out", str(file.parent / "there")],
        env=os.environ | {"PYTHONPATH": "."},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        last = file.parent / "there" / "checkpoints" / "last"
        while process.poll() is None and not last.exists():
            pass
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert process.returncode == 1
    assert "can be resumed" in said
    assert f"--resume --out {file.parent / 'there'}" in said.replace("\n", "")
    assert "Traceback" not in said
