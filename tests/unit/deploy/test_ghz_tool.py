"""How ghz is run, and what is said of a run that fails."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from deploy.ghz import tool
from deploy.ghz.tool import GhzFailed, Plan

if TYPE_CHECKING:
    from pathlib import Path


def test_a_ghz_that_fails_tells_why(tmp_path: Path) -> None:
    """What ghz writes to standard error is the error's message; an older report is not taken for its own."""
    ghz = program(tmp_path / "ghz", "echo 'connection refused' >&2; exit 1")
    report = tmp_path / "report.json"
    report.write_text("{}")
    with (
        tool.start(Plan(tmp_path, "x", 1), address="127.0.0.1:1", report=report, ghz=ghz) as running,
        pytest.raises(GhzFailed, match="connection refused"),
    ):
        running.finish(10.0)
    assert not report.exists()


def test_a_ghz_that_hangs_is_given_up_and_ended(tmp_path: Path) -> None:
    """A run has a longest time, and nothing of it is left behind."""
    ghz = program(tmp_path / "ghz", f"echo $$ > {tmp_path}/pid; exec sleep 60")
    with (
        tool.start(Plan(tmp_path, "x", 1), address="127.0.0.1:1", report=tmp_path / "r", ghz=ghz) as running,
        pytest.raises(GhzFailed, match="did not end within"),
    ):
        running.finish(0.3)
    assert running.ended()


@pytest.mark.parametrize("text", ["{}", "[]", '{"name": "x"}', "no json"])
def test_a_configuration_without_name_or_calls_is_refused(tmp_path: Path, text: str) -> None:
    """What is no ghz configuration of ours raises ValueError that names the file."""
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"bad\.json"):
        tool.read_plans([path])


def test_the_number_of_calls_can_be_set(tmp_path: Path) -> None:
    """The command line's number wins over the file's."""
    path = tmp_path / "x.json"
    path.write_text('{"name": "x", "total": 7}')
    assert [p.calls for p in tool.read_plans([path])] == [7]
    assert [p.calls for p in tool.read_plans([path], calls=9)] == [9]


def program(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    assert os.access(path, os.X_OK)
    return path
