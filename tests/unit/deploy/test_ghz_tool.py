"""Which ghz is used, and what is said when there is none."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from deploy.ghz import tool
from deploy.ghz.tool import GhzFailed, GhzMissing, Plan

if TYPE_CHECKING:
    from pathlib import Path

MARK = f"mod\t{tool.MODULE}\t{tool.VERSION}\t{tool.CHECKSUM}".encode()


@pytest.mark.parametrize(
    ("content", "pinned"),
    [
        (b"\x7fELF....path\tghz\n" + MARK + b"\ndep\t", True),
        (MARK.replace(tool.VERSION.encode(), b"v0.120.0"), False),
        (MARK.replace(b"h1:C", b"h1:D"), False),
        (b"", False),
    ],
)
def test_only_the_pinned_build_is_used(tmp_path: Path, content: bytes, *, pinned: bool) -> None:
    """A ghz built from another version or other content does not count."""
    (tmp_path / "ghz").write_bytes(content)
    assert tool.is_pinned(tmp_path / "ghz") is pinned


def test_an_absent_ghz_is_not_pinned(tmp_path: Path) -> None:
    """A missing file is no error, it is a reason to build."""
    assert not tool.is_pinned(tmp_path / "ghz")


def test_without_go_the_message_says_what_to_install(tmp_path: Path) -> None:
    """Where Go is missing, both ways out are named."""
    with pytest.raises(GhzMissing, match=r"Go is not installed.*go\.dev/dl.*put ghz v"):
        tool.build(tmp_path / "ghz", which=lambda _: None)


def test_a_failed_build_shows_what_go_said(tmp_path: Path) -> None:
    """Go's own words come along."""
    go = program(tmp_path / "go", "echo 'no route to proxy.golang.org' >&2; exit 1")
    with pytest.raises(GhzMissing, match=r"no route to proxy\.golang\.org"):
        tool.build(tmp_path / "ghz", which=lambda _: str(go))


def test_a_build_of_something_else_is_refused(tmp_path: Path) -> None:
    """Go's success is not enough: the binary has to say that it is the pinned ghz."""
    go = program(tmp_path / "go", 'echo else > "$GOBIN/ghz"')
    with pytest.raises(GhzMissing, match="built something else"):
        tool.build(tmp_path / "ghz", which=lambda _: str(go))


def test_a_build_of_the_pinned_module_is_accepted(tmp_path: Path) -> None:
    """The version asked for is the pinned one, and the result lands where it is looked for."""
    (tmp_path / "mark").write_bytes(MARK)
    go = program(tmp_path / "go", f'echo "$@" > {tmp_path}/arguments; cat {tmp_path}/mark > "$GOBIN/ghz"')
    tool.build(tmp_path / "ghz", which=lambda _: str(go))
    assert tool.is_pinned(tmp_path / "ghz")
    assert f"{tool.MODULE}/cmd/ghz@{tool.VERSION}" in (tmp_path / "arguments").read_text()


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
