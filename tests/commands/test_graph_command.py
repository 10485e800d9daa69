"""``accord check --graph`` shows what a configuration compiles to; ``accord import`` says no in time."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests import models

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
models:
  encoder: {worker: {repository: models}}
  plain: {worker: {repository: models}}
  head: {worker: {repository: models}}
  far: {oip: {targets: ["127.0.0.1:1"]}}
ensembles:
  stacked:
    strategy: {kind: tasks, prefix: false}
    optional_inputs: [side]
    members:
      - {model: encoder, inputs: {x: pixels}, outputs: {embedding: y}, counts: true, timeout_s: 0.5}
      - {model: plain, inputs: {x: side}}
      - model: head
        name: meta
        inputs: {x: {stack: [{member: encoder, output: y}, {member: plain, output: y}]}}
        outputs: {scores: y}
  outer:
    strategy: {kind: mean, output: y}
    quorum: 1
    members:
      - {ensemble: stacked, outputs: {y: scores}, required: true}
      - model: far
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graph")
    for name, (width, out) in {"encoder": (4, 3), "plain": (2, 1), "head": (4, 2)}.items():
        models.write_model(folder / "models", name, models.linear(np.ones((width, out))))
    (folder / "accord.yaml").write_text(CONFIG)
    return folder


def accord(folder: Path, *arguments: str, before: str = "pass") -> subprocess.CompletedProcess[str]:
    code = f"import sys; {before}; from accord.cli import main; main()"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_the_plan_is_a_tree_of_80_columns(folder: Path) -> None:
    """Calls in the order in which they can be made, who reads what, what may be absent, what is merged."""
    done = accord(folder, "check", "accord.yaml", "--graph")
    assert done.returncode == 0, done.stderr
    for line in (
        "side FP32 [-1, 2] optional",
        "1 encoder: requests share it; at most 0.5 s",
        "3 head: seat meta; requests share it",
        "x = 1 encoder.y | 2 plain.y",
        "encoder: embedding = 1 encoder.y",
        "stacked (required): y = merge 1 stacked.scores",
        "far: its model is not known yet",
    ):
        assert line in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


def test_the_plan_is_json(folder: Path) -> None:
    """The same, for programs; without --graph there is none."""
    whole = json.loads(accord(folder, "check", "accord.yaml", "--graph", "--json").stdout)
    plan = whole["plans"][0]
    assert [call["model"] for call in plan["calls"]] == ["encoder", "plain", "head"]
    assert plan["calls"][2]["reads"][0]["ports"] == [
        {"source": "call 1", "output": "y"},
        {"source": "call 2", "output": "y"},
    ]
    assert "plans" not in json.loads(accord(folder, "check", "accord.yaml", "--json").stdout)


def test_the_plan_is_a_picture(folder: Path) -> None:
    """As SVG without anything, as PNG with matplotlib; where that is missing, it says so."""
    assert accord(folder, "check", "accord.yaml", "--graph", "plan.svg").returncode == 0
    assert "seat meta" in (folder / "plan.svg").read_text()
    assert accord(folder, "check", "accord.yaml", "--graph", "plan.png").returncode == 0
    assert (folder / "plan.png").read_bytes().startswith(b"\x89PNG")
    missing = accord(
        folder, "check", "accord.yaml", "--graph", "b.png", before="sys.modules['matplotlib'] = None"
    )
    assert missing.returncode == 1
    assert "accord-gateway[demo]" in missing.stderr
    assert not (folder / "b.png").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("plan.svg",), 2, "add --graph"),
        (("--graph", "plan.jpg"), 2, "an .svg or a .png"),
        (("--graph", "nowhere/plan.svg"), 1, "No such file"),
    ],
)
def test_a_picture_that_cannot_be_is_refused(
    folder: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    """With what is wrong, in words."""
    done = accord(folder, "check", "accord.yaml", *arguments)
    assert done.returncode == code
    assert words in done.stderr


BROKEN = """platform: "ensemble"
input [{name: "in" data_type: TYPE_FP32 dims: [-1, 4]}]
output [{name: "out" data_type: TYPE_FP32 dims: [-1, 3]}]
ensemble_scheduling {step [{model_name: "encoder" model_version: -1
  input_map {key: "x" value: "inn"} output_map {key: "y" value: "out"}}]}
"""


def test_a_broken_graph_is_refused_and_nothing_is_written(folder: Path, tmp_path: Path) -> None:
    """Each fault by itself, as words and as JSON."""
    models.write_model(tmp_path / "models", "encoder", models.linear(np.ones((4, 3))))
    (tmp_path / "models" / "pipe").mkdir()
    (tmp_path / "models" / "pipe" / "config.pbtxt").write_text(BROKEN)
    done = accord(tmp_path, "import", "triton", "models", "--out", "new.yaml")
    assert done.returncode == 2
    assert "pipe: tensor 'inn': step 1 (encoder), input 'x' reads it, but no step writes it" in done.stderr
    told = json.loads(accord(tmp_path, "import", "triton", "models", "--out", "new.yaml", "--json").stdout)
    assert told["ok"] is False
    assert {fault["where"] for fault in told["faults"]} == {"tensor 'inn'", "tensor 'in'"}
    assert not (tmp_path / "new.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere",), "cannot be read as a directory"),
        ((".", "--triton", "here"), "must be host:port"),
        (("models/encoder/1",), "holds no model"),
    ],
)
def test_what_cannot_be_imported_is_told(folder: Path, arguments: tuple[str, ...], words: str) -> None:
    """In one sentence, with exit code 2."""
    done = accord(folder, "import", "triton", *arguments)
    assert done.returncode == 2
    assert words in done.stderr


def test_what_is_printed_is_the_file(folder: Path, tmp_path: Path) -> None:
    """Without --out the file goes to standard output, and what there is to say to standard error."""
    printed = accord(folder, "import", "triton", "models")
    written = accord(folder, "import", "triton", "models", "--out", f"{folder}/imported.yaml")
    assert printed.stdout == (folder / "imported.yaml").read_text()
    assert "Next: accord check" in written.stdout
    assert accord(folder, "check", "imported.yaml").returncode == 0
