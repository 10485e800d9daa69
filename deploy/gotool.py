"""Programs written in Go, pinned by version and content, built where they are missing."""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["GoTool", "ToolMissing"]


class ToolMissing(Exception):  # noqa: N818 - a state of the machine, not a fault of ours
    """There is no such program, and it cannot be built; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoTool:
    """One pinned program.

    Args:
        module: The Go module that holds it.
        version: The module's version.
        checksum: The module's checksum in Go's database, sum.golang.org; Go records it in what it builds.
        package: The program's package inside the module; empty if it is the module itself.
    """

    module: str
    version: str
    checksum: str
    package: str = ""

    @property
    def path(self) -> str:
        """The program's import path."""
        return f"{self.module}/{self.package}".rstrip("/")

    @property
    def name(self) -> str:
        """The program's file name."""
        return self.path.rpartition("/")[2]

    def is_pinned(self, path: Path) -> bool:
        """Tell whether a file is this program, built by Go from exactly the pinned module."""
        # Go writes what it built from into the binary: "mod<TAB>path<TAB>version<TAB>checksum"
        mark = f"mod\t{self.module}\t{self.version}\t{self.checksum}".encode()
        try:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
                return view.find(mark) >= 0
        except (FileNotFoundError, ValueError):  # absent, or empty
            return False

    def build(self, folder: Path, *, which: Callable[[str], str | None] = shutil.which) -> Path:
        """Build it with Go; it takes about a minute and downloads the module and what it needs.

        Args:
            folder: Where it has to be.
            which: Finds programs.

        Returns:
            The program.

        Raises:
            ToolMissing: If Go is not installed or the build fails.
        """
        go, program = which("go"), folder / self.name
        if go is None:
            raise ToolMissing(
                f"{program} is missing and Go is not installed to build it. "
                f"Install Go (https://go.dev/dl), or put {self.name} {self.version} there."
            )
        done = subprocess.run(  # noqa: S603 - fixed arguments
            [go, "install", "-trimpath", f"{self.path}@{self.version}"],
            env={**os.environ, "GOBIN": str(folder.resolve()), "GOFLAGS": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ToolMissing(f"{self.name} {self.version} cannot be built:\n{done.stderr.strip()}")
        if not self.is_pinned(program):
            raise ToolMissing(
                f"Go built something else than {self.name} {self.version} ({self.checksum}) at {program}"
            )
        return program
