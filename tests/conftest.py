"""What holds for all tests: a skip is never silent, and in CI only listed ones are allowed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

#: Reasons a test may be skipped for in CI, by their first words: tool chains that a machine may lack.
ALLOWED_SKIPS = (
    "needs Go",
    "needs Node.js",
    "needs a GPU",
    "needs a JDK",
    "needs h2load",
    "needs the extra train",
)


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print every skip with its reason."""
    for report in terminalreporter.stats.get("skipped", []):
        terminalreporter.write_line(f"skipped: {report.nodeid}: {_reason(report)}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run in CI when something was skipped that is not on the list."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    odd = [report for report in skipped if not _reason(report).startswith(ALLOWED_SKIPS)]
    if odd and os.environ.get("CI"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _reason(report: pytest.TestReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")
