"""Which program counts as the pinned one, and what is said when it cannot be built."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from deploy.ghz.tool import TOOL as GHZ
from deploy.gotool import GoTool, ToolMissing

if TYPE_CHECKING:
    from pathlib import Path

MARK = f"mod\t{GHZ.module}\t{GHZ.version}\t{GHZ.checksum}".encode()


@pytest.mark.parametrize(
    ("content", "pinned"),
    [
        (b"\x7fELF....path\tghz\n" + MARK + b"\ndep\t", True),
        (MARK.replace(GHZ.version.encode(), b"v0.120.0"), False),
        (MARK.replace(b"h1:C", b"h1:D"), False),
        (b"", False),
    ],
)
def test_only_the_pinned_build_is_used(tmp_path: Path, content: bytes, *, pinned: bool) -> None:
    """A ghz built from another version or other content does not count."""
    (tmp_path / "ghz").write_bytes(content)
    assert GHZ.is_pinned(tmp_path / "ghz") is pinned


def test_an_absent_ghz_is_not_pinned(tmp_path: Path) -> None:
    """A missing file is no error, it is a reason to build."""
    assert not GHZ.is_pinned(tmp_path / "ghz")


def test_without_go_the_message_says_what_to_install(tmp_path: Path) -> None:
    """Where Go is missing, both ways out are named."""
    with pytest.raises(ToolMissing, match=r"Go is not installed.*go\.dev/dl.*put ghz v"):
        GHZ.build(tmp_path, which=lambda _: None)


def test_a_failed_build_shows_what_go_said(tmp_path: Path) -> None:
    """Go's own words come along."""
    go = program(tmp_path / "go", "echo 'no route to proxy.golang.org' >&2; exit 1")
    with pytest.raises(ToolMissing, match=r"no route to proxy\.golang\.org"):
        GHZ.build(tmp_path, which=lambda _: str(go))


def test_a_build_of_something_else_is_refused(tmp_path: Path) -> None:
    """Go's success is not enough: the binary has to say that it is the pinned ghz."""
    go = program(tmp_path / "go", 'echo else > "$GOBIN/ghz"')
    with pytest.raises(ToolMissing, match="built something else"):
        GHZ.build(tmp_path, which=lambda _: str(go))


def test_a_build_of_the_pinned_module_is_accepted(tmp_path: Path) -> None:
    """The version asked for is the pinned one, and the result lands where it is looked for."""
    (tmp_path / "mark").write_bytes(MARK)
    go = program(tmp_path / "go", f'echo "$@" > {tmp_path}/arguments; cat {tmp_path}/mark > "$GOBIN/ghz"')
    GHZ.build(tmp_path, which=lambda _: str(go))
    assert GHZ.is_pinned(tmp_path / "ghz")
    assert f"{GHZ.module}/cmd/ghz@{GHZ.version}" in (tmp_path / "arguments").read_text()


@pytest.mark.parametrize(("package", "name"), [("", "probe"), ("cmd/probe-cli", "probe-cli")])
def test_a_program_is_named_by_its_package(package: str, name: str) -> None:
    """Go names a program after its package, or after the module where that is the package."""
    tool = GoTool(module="example.org/probe", version="v1.0.0", checksum="h1:x", package=package)
    assert tool.name == name


def program(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path
