"""The clients of ``examples/clients`` as tests run them: the page's commands."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.peers.environment import alone
from deploy.gotool import GoTool

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["GRPCURL", "HEALTH_PROBE", "SOURCES", "Recipe", "build", "program", "recipes", "run"]

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "examples" / "clients"
#: Where the page's commands expect the server.
PAGE_ADDRESS = "127.0.0.1:8001"
BUILT, TOOLS = ROOT / "build" / "clients", ROOT / "build" / "tools"
MADE = shutil.ignore_patterns("node_modules", "build", "types", "inference", "target", "__pycache__", "*.md")

GRPCURL = GoTool(
    module="github.com/fullstorydev/grpcurl",
    version="v1.9.4",
    checksum="h1:7bC3tlRwS7dPyfhBo0Xmigns8hWH/K4fg9NrafpY57k=",
    package="cmd/grpcurl",
)
HEALTH_PROBE = GoTool(
    module="github.com/grpc-ecosystem/grpc-health-probe",
    version="v0.4.61",
    checksum="h1:H0xktfmTgtHzjY4qW7CkRH9uqdz5LmT6icO9zYQzF6g=",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How the page says that a client is run.

    Args:
        title: The section it stands in.
        folder: Where, inside the clients' folder; empty for anywhere.
        prepare: The commands before the last.
        ask: The last command, which asks the server.
        shown: What it is said to print.
    """

    title: str
    folder: str
    prepare: tuple[str, ...]
    ask: str
    shown: str


def recipes() -> Iterator[Recipe]:
    """Read the page: each block of commands with the output that is shown below it."""
    page = (SOURCES / "README.md").read_text("utf-8")
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        title = section.partition("\n")[0]
        for commands, shown in re.findall(r"```sh\n(.*?)```\n\n```text\n(.*?)```", section, re.DOTALL):
            *before, ask = commands.splitlines()
            folder = ""
            if before and before[0].startswith("cd examples/clients/"):
                folder = before.pop(0).removeprefix("cd examples/clients/")
            yield Recipe(title=title, folder=folder, prepare=tuple(before), ask=ask, shown=shown)


def build(recipe: Recipe) -> Path:
    """Return the folder to run a client in; what precedes its last command has been done there, once."""
    tree = _tree()
    folder = tree / recipe.folder
    done = tree / f".prepared-{recipe.folder.replace('/', '-')}"
    with alone(BUILT / "lock"):
        if recipe.prepare and not done.exists():
            for command in recipe.prepare:
                found = run(command, folder)
                assert found.returncode == 0, f"{command}\n{found.stdout}\n{found.stderr}"
            done.touch()
    return folder


def run(
    command: str, folder: Path, *, address: str = PAGE_ADDRESS, path: tuple[Path, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run one of the page's commands in an activated environment.

    Args:
        command: The command, in which ``address`` takes the place of the page's.
        folder: Where.
        address: The server.
        path: Folders to find programs in before any other.
    """
    places = [*map(str, path), str(Path(sys.executable).parent), os.environ["PATH"]]
    return subprocess.run(
        command.replace(PAGE_ADDRESS, address),
        shell=True,
        cwd=folder,
        env={**os.environ, "PATH": os.pathsep.join(places)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def program(tool: GoTool) -> Path:
    """Return a program written in Go, which is built if it is not there."""
    TOOLS.mkdir(parents=True, exist_ok=True)
    with alone(TOOLS / f"{tool.name}.lock"):
        path = TOOLS / tool.name
        return path if tool.is_pinned(path) else tool.build(TOOLS)


def _tree() -> Path:
    """Return a copy of the clients, one for the state of their sources; older ones are removed."""
    BUILT.mkdir(parents=True, exist_ok=True)
    with alone(BUILT / "lock"):
        scratch = BUILT / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.copytree(SOURCES, scratch, ignore=MADE)
        digest = hashlib.sha256()
        for file in sorted(path for path in scratch.rglob("*") if path.is_file()):
            digest.update(f"{file.relative_to(scratch)}\n".encode() + file.read_bytes())
        tree = BUILT / f"tree-{digest.hexdigest()[:12]}"
        if not tree.exists():
            for older in BUILT.glob("tree-*"):
                shutil.rmtree(older)
            scratch.rename(tree)
    return tree
