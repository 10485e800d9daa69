"""Writes what the cases found into docs/benchmarks.md: tables between markers, plots beside the page."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from bench import ROOT, BenchFailed
from bench.cases import CASES, case
from bench.report import short
from bench.show import HOLDS, between_markers, describe, markdown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["PAGE", "claims", "section", "write"]

PAGE = ROOT / "docs" / "benchmarks.md"


def write(out: Path, page: Path = PAGE) -> None:
    """Renew the page from the reports of all cases.

    Args:
        out: Where reports and plots lie.
        page: The page; plots are copied into its folder.

    Raises:
        BenchFailed: If a case has no report, or the page lacks markers.
    """
    reports = {name: _report(out, name) for name in CASES}
    text = between_markers(page.read_text("utf-8"), "claims", claims(list(reports.values())))
    for name, report in reports.items():
        plots = sorted(out.glob(f"{name}*.png")) + sorted(out.glob(f"{name}*.svg"))
        for old in [*page.parent.glob(f"bench-{name}*.png"), *page.parent.glob(f"bench-{name}*.svg")]:
            old.unlink()
        for plot in plots:
            shutil.copy(plot, page.with_name(f"bench-{plot.name}"))
        text = between_markers(text, name, section(report, case(name).TEXT, [plot.name for plot in plots]))
    page.write_text(text, "utf-8")


def claims(reports: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of all claims, each with the command that measures it."""
    rows = []
    for report in reports:
        for claim in report["claims"]:
            found = claim["found"]
            figure = "" if found is None else short(found["median"])
            if found is not None and found["low"] != found["high"]:
                figure += f" ({short(found['low'])}-{short(found['high'])})"
            wanted = f"{'at least' if claim['at_least'] else 'at most'} {claim['bound']:g} {claim['unit']}"
            rows.append([claim["text"], wanted, figure, HOLDS[claim["holds"]], f"`{report['command']}`"])
    return markdown(["claim", "wanted", "found", "holds", "command"], rows, numbers=5)


def section(report: Mapping[str, Any], text: str, plots: Sequence[str]) -> str:
    """Return what the page says of one case.

    Args:
        report: The case's report.
        text: What the case is.
        plots: File names of its plots.
    """
    quick = " **Measured with `--quick`: quote no figures.**" if report["quick"] else ""
    parts = [f"`{report['command']}`: {describe(report['machine'], report['how'])}{quick}"]
    for table in report["tables"]:
        parts.append(f"{table['title']}:\n\n{markdown(table['columns'], table['rows'], table['numbers'])}")
        parts += [f"- {' '.join(note.split())}" for note in table["notes"]]
    parts += [f"![{text}](bench-{plot})" for plot in plots]
    return "\n\n".join(parts)


def _report(out: Path, name: str) -> dict[str, Any]:
    try:
        report: dict[str, Any] = json.loads((out / f"{name}.json").read_text("utf-8"))
    except FileNotFoundError:
        raise BenchFailed(f"{name} was not measured; run: python -m bench {name}") from None
    return report
