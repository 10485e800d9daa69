"""ghz itself: pinned by version and content, built with Go when it is not there."""

from __future__ import annotations

import json
import mmap
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

__all__ = ["GHZ", "GhzFailed", "GhzMissing", "Plan", "Running", "build", "is_pinned", "read_plans", "start"]

MODULE = "github.com/bojand/ghz"
VERSION = "v0.121.0"
#: The module's checksum in Go's database, sum.golang.org; Go records it in what it builds.
CHECKSUM = "h1:CmXNDxDChmTI8eq6cs6ob3N+OUQIXeLQPCaKsw4oXXg="

GHZ = Path("build/tools/ghz")


class GhzMissing(Exception):  # noqa: N818 - a state of the machine, not a fault of ours
    """There is no ghz, and it cannot be built; the message says what to do."""


class GhzFailed(RuntimeError):  # noqa: N818 - as above
    """ghz ended without a report."""


def is_pinned(path: Path) -> bool:
    """Tell whether a file is a ghz that Go built from exactly the pinned module."""
    # Go writes what it built from into the binary: "mod<TAB>path<TAB>version<TAB>checksum"
    mark = f"mod\t{MODULE}\t{VERSION}\t{CHECKSUM}".encode()
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            return view.find(mark) >= 0
    except (FileNotFoundError, ValueError):  # absent, or empty
        return False


def build(path: Path = GHZ, *, which: Callable[[str], str | None] = shutil.which) -> None:
    """Build ghz with Go; it takes about a minute and downloads the module and what it needs.

    Args:
        path: Where it has to be; its name must be ``ghz``.
        which: Finds programs.

    Raises:
        GhzMissing: If Go is not installed or the build fails.
    """
    go = which("go")
    if go is None:
        raise GhzMissing(
            f"{path} is missing and Go is not installed to build it. "
            f"Install Go 1.23 or newer (https://go.dev/dl), or put ghz {VERSION} there."
        )
    done = subprocess.run(  # noqa: S603 - fixed arguments
        [go, "install", "-trimpath", f"{MODULE}/cmd/ghz@{VERSION}"],
        env={**os.environ, "GOBIN": str(path.parent.resolve()), "GOFLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise GhzMissing(f"ghz {VERSION} cannot be built:\n{done.stderr.strip()}")
    if not is_pinned(path):
        raise GhzMissing(f"Go built something else than ghz {VERSION} ({CHECKSUM}) at {path}")


@dataclass(frozen=True, slots=True)
class Plan:
    """A configuration of ghz.

    Args:
        path: Its file.
        name: Its name.
        calls: How many calls it makes.
    """

    path: Path
    name: str
    calls: int


def read_plans(paths: Iterable[Path], calls: int | None = None) -> tuple[Plan, ...]:
    """Read configurations of ghz.

    Args:
        paths: Their files.
        calls: Calls of each, instead of the configured number.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If one is no JSON object with ``name`` and ``total``.
    """
    plans = []
    for path in paths:
        try:
            config = json.loads(path.read_bytes())
            plans.append(Plan(path, str(config["name"]), calls or int(config["total"])))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: needs 'name' and 'total' in a JSON object ({error!r})") from None
    return tuple(plans)


class Running:
    """A run of ghz that has begun; leaving the context ends it.

    Args:
        process: The process.
        report: File that it writes its report to.
    """

    def __init__(self, process: subprocess.Popen[str], report: Path) -> None:
        self._process = process
        self._report = report

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def ended(self) -> bool:
        """Tell whether it has ended."""
        return self._process.poll() is not None

    def finish(self, within_s: float) -> dict[str, Any]:
        """Wait for the end and return the report.

        Raises:
            GhzFailed: If it ends without one, or not in time.
        """
        try:
            _, problem = self._process.communicate(timeout=within_s)
        except subprocess.TimeoutExpired:
            raise GhzFailed(f"ghz did not end within {within_s:.0f} s") from None
        if self._process.returncode:
            raise GhzFailed(problem.strip() or f"ghz ended with exit code {self._process.returncode}")
        report: dict[str, Any] = json.loads(self._report.read_bytes())
        return report


def start(plan: Plan, *, address: str, report: Path, ghz: Path = GHZ) -> Running:
    """Start ghz; relative paths in its configuration are relative to the working directory.

    Args:
        plan: What it does.
        address: The server, ``host:port``.
        report: Where the JSON report goes.
        ghz: The program.
    """
    report.unlink(missing_ok=True)
    arguments = [str(ghz.resolve()), "--config", str(plan.path), "--total", str(plan.calls)]
    process = subprocess.Popen(  # noqa: S603 - a pinned program, our own files
        [*arguments, "--format", "json", "--output", str(report), address],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    return Running(process, report)
