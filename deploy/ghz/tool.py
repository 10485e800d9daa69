"""ghz itself: which one, and how it is run."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from deploy.gotool import GoTool

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

__all__ = ["GHZ", "TOOL", "GhzFailed", "Plan", "Running", "read_plans", "start"]

#: Which one; its module's checksum stands in Go's database, sum.golang.org.
TOOL = GoTool(
    module="github.com/bojand/ghz",
    version="v0.121.0",
    checksum="h1:CmXNDxDChmTI8eq6cs6ob3N+OUQIXeLQPCaKsw4oXXg=",
    package="cmd/ghz",
)

GHZ = Path("build/tools") / TOOL.name


class GhzFailed(RuntimeError):  # noqa: N818 - what happened, not what kind of class it is
    """ghz ended without a report."""


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
