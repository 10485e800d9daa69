"""The exit codes of the load test that need neither a server nor ghz."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[3]


def load(cwd: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.ghz.load", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a working directory that has the rows and nothing else."""
    (tmp_path / "build/data").mkdir(parents=True)
    np.savez(tmp_path / "build/data/digits.npz", pixels=np.zeros((2, 64), np.float32))
    return tmp_path


def test_without_go_and_ghz_it_ends_with_its_own_code(folder: Path) -> None:
    """Exit code 3 tells a missing tool from a failed load; the message says what to install."""
    done = load(folder, str(ROOT / "deploy/ghz/oip-c1.json"), PATH="")
    assert done.returncode == 3
    assert "Go is not installed" in done.stderr


def test_without_models_it_says_how_to_make_them(tmp_path: Path) -> None:
    """Exit code 2 and the command to run."""
    done = load(tmp_path, str(ROOT / "deploy/ghz/oip-c1.json"))
    assert done.returncode == 2
    assert "make models" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--kill", "--address", "127.0.0.1:1"), "--kill needs a server that is started here"),
        (("--kill", str(ROOT / "deploy/ghz/oip-c1.json")), "--kill strikes in the run"),
        (("--calls", "0"), "is not a number from 1 up"),
    ],
)
def test_wrong_usage_is_refused(folder: Path, arguments: tuple[str, ...], problem: str) -> None:
    """Exit code 2 and what is wrong, before anything is started."""
    done = load(folder, *arguments)
    assert done.returncode == 2
    assert problem in done.stderr
