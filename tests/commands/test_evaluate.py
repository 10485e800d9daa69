"""``accord evaluate`` as a person or a program runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.unit.training.made_runs import Made, make_runs

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_runs(tmp_path_factory.mktemp("runs"), rows=200)


def evaluate(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "accord.cli", "evaluate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_configuration_and_a_run_are_compared(made: Made, tmp_path: Path) -> None:
    """A table for each task, sentences, and where the report is."""
    done = evaluate(made.config, made.individual, "--out", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    assert "polarity: " in done.stdout
    assert "joint" in done.stdout
    assert (tmp_path / "report" / "report.html").exists()
    assert "written: " in done.stdout


def test_programs_read_one_document(made: Made) -> None:
    """All of standard output is JSON; the report lies in the run unless it is said."""
    done = evaluate(made.config, "--no-baselines", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ok"]
    assert found["report"] == str(made.joint[0] / "evaluation" / "report.html")
    assert found["study"]["models"][0]["name"] == "joint"


def test_a_run_that_is_named_twice_counts_once(made: Made) -> None:
    """By its configuration and by its folder: two of it would make intervals narrower than they are."""
    done = evaluate(made.config, made.joint[0], "--no-baselines", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["notes"] == []


def test_faults_are_told_without_a_trace(made: Made, tmp_path: Path) -> None:
    """A run that is not there: 1; a configuration that cannot be used: 2, with its line."""
    done = evaluate(tmp_path)
    assert (done.returncode, "no finished run" in done.stderr) == (1, True)
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(made.config.read_text("utf-8").replace("epochs", "epoch"), "utf-8")
    done = evaluate(wrong, "--json")
    assert done.returncode == 2
    (complaint,) = json.loads(done.stdout)["complaints"]
    assert (complaint["line"], complaint["path"]) == (7, "train.epoch")
    assert "Traceback" not in done.stderr


def test_what_is_neither_a_run_nor_a_file_is_named(tmp_path: Path) -> None:
    """A slip of the pen."""
    done = evaluate(tmp_path / "nothing.yaml")
    assert done.returncode == 2
    assert "nothing.yaml" in done.stderr
