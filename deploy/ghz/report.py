"""How results look: a table for people, ``summary.json`` for programs."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from deploy.ghz.tool import TOOL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.ghz.loss import Loss
    from deploy.ghz.result import Run

__all__ = ["summary", "table"]


def table(runs: Sequence[Run]) -> Table:
    """Return one line for each run; latencies are in milliseconds."""
    made = Table(caption="latencies of OK calls in ms")
    made.add_column("run", no_wrap=True)
    made.add_column("load", justify="right", no_wrap=True)
    made.add_column("answers")
    for title in ("calls/s", "p50", "p95", "p99", "max"):
        made.add_column(title, justify="right", no_wrap=True)
    for run in runs:
        made.add_row(
            run.name,
            f"{run.rate}/s" if run.rate else f"{run.concurrency} at once",
            Text(_statuses(run), style="red" if run.problem else "green"),
            f"{run.per_second:,.0f}",
            *(_ms(value) for value in (run.p50_s, run.p95_s, run.p99_s, run.slowest_s)),
        )
    return made


def summary(
    runs: Sequence[Run], loss: Loss | None, *, address: str, problems: Sequence[str]
) -> dict[str, Any]:
    """Return everything as plain values.

    Args:
        runs: All runs.
        loss: The worker that was killed, if one was.
        address: The server.
        problems: Why the load test failed; empty when it passed.
    """
    return {
        "ok": not problems,
        "problems": list(problems),
        "calls": sum(run.calls for run in runs),
        "calls_ok": sum(run.statuses.get("OK", 0) for run in runs),
        "address": address,
        "ghz": TOOL.version,
        "machine": {
            "cpus": len(os.sched_getaffinity(0)),
            "architecture": platform.machine(),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        "runs": [asdict(run) for run in runs],
        "killed": None if loss is None else asdict(loss),
    }


def _statuses(run: Run) -> str:
    return ", ".join(f"{status} {count}" for status, count in sorted(run.statuses.items())) or "none"


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1e3:.1f}" if value < 0.1 else f"{value * 1e3:,.0f}"
