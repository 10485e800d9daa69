"""The demonstration's findings as tables for people, and as one JSON document."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from examples.demo.outage import Call, Outage
    from examples.demo.promises import Promise
    from examples.demo.refusals import Refusal
    from examples.demo.scores import Comparison
    from examples.demo.studies import Studies
    from examples.demo.wrong_graphs import Complaint
    from training.evaluate.compare import Interval

__all__ = ["as_json", "show"]


def show(console: Console, studies: Studies, kept: Sequence[Promise]) -> None:
    """Print everything."""
    digits, reviews, sentiment = studies.digits, studies.reviews, studies.sentiment
    for study in (digits, reviews, sentiment):
        console.print(_accuracies(study.comparison))
        console.print(f"{escape(study.comparison.claim)}\n", highlight=False)
    console.print(
        f"In the same calls: domain {_percent(reviews.domain)} right; intensity off by "
        f"{reviews.intensity_rmse:.2f} (root mean square, scale -4 to 4), correlation "
        f"{reviews.intensity_correlation:.2f}.\n",
        highlight=False,
    )
    console.print(_outage(digits.outage))
    console.print(_refusals((*digits.refusals, *reviews.refusals)))
    console.print(_wrong_graphs(sentiment.complaints))
    console.print(_promises(kept))


def as_json(studies: Studies, kept: Sequence[Promise]) -> dict[str, Any]:
    """Return everything as plain values."""
    digits, reviews, sentiment = studies.digits, studies.reviews, studies.sentiment
    return {
        "digits": {
            "comparison": _plain(digits.comparison),
            "matches": [asdict(match) for match in (*digits.matches, digits.outage_match)],
            "outage": _phases(digits.outage),
        },
        "reviews": {
            "comparison": _plain(reviews.comparison),
            "domain_accuracy": asdict(reviews.domain),
            "intensity_rmse": reviews.intensity_rmse,
            "intensity_correlation": reviews.intensity_correlation,
            "matches": [asdict(match) for match in reviews.matches],
        },
        "sentiment": {
            "comparison": _plain(sentiment.comparison),
            "matches": [asdict(match) for match in sentiment.matches],
            "critical_path": sentiment.critical_path,
            "wrong_graphs": [asdict(complaint) for complaint in sentiment.complaints],
        },
        "refusals": [asdict(refusal) for refusal in (*digits.refusals, *reviews.refusals)],
        "promises": [asdict(promise) for promise in kept],
    }


def _plain(comparison: Comparison) -> dict[str, Any]:
    return {**asdict(comparison), "claim": comparison.claim}


def _phases(outage: Outage) -> dict[str, Any]:
    lacking, calls = outage.without_victim, outage.calls
    return {
        "victim": outage.victim,
        "killed_s": outage.killed_s,
        "calls": len(calls),
        "failed": len(outage.failed),
        "degraded": sum(call.degraded for call in calls),
        "causes": sorted({call.missing[outage.victim] for call in lacking}),
        "back_s": outage.back_s,
        "slowest_s": max((call.took_s for call in calls), default=0.0),
    }


def _accuracies(comparison: Comparison) -> Table:
    table = Table(title=f"{comparison.ensemble}: accuracy as served, {comparison.rows:,} held-out rows")
    table.add_column("model")
    table.add_column("accuracy", justify="right")
    table.add_column("95 % interval", justify="right")
    for name, interval in sorted(comparison.members.items(), key=lambda member: member[1].estimate):
        best = " (best member)" if name == comparison.best else ""
        table.add_row(f"{name}{best}", _percent(interval), _range(interval))
    table.add_section()
    table.add_row(
        f"{comparison.ensemble} ({comparison.how})",
        _percent(comparison.merged),
        _range(comparison.merged),
        style="bold",
    )
    return table


def _outage(outage: Outage) -> Table:
    table = Table(title=f"The worker of {outage.victim} is killed under load")
    for column in ("when", "calls", "failed", "degraded", "slowest"):
        table.add_column(column, justify="left" if column == "when" else "right")
    back_s = float("inf") if outage.back_s is None else outage.killed_s + outage.back_s
    phases: dict[str, list[Call]] = {
        "before the kill": [],
        f"until it is back, {back_s - outage.killed_s:.1f} s later": [],
        "after": [],
    }
    before, during, after = phases.values()
    for call in outage.calls:
        # a call that was under way at the kill belongs to what follows it
        (before if call.ended_s < outage.killed_s else after if call.sent_s >= back_s else during).append(
            call
        )
    for name, calls in phases.items():
        table.add_row(
            name,
            f"{len(calls):,}",
            str(sum(bool(call.error) for call in calls)),
            f"{sum(call.degraded for call in calls):,}",
            f"{1000 * max((call.took_s for call in calls), default=0.0):.0f} ms",
        )
    return table


def _refusals(refusals: Sequence[Refusal]) -> Table:
    table = Table(title="Wrong requests and their answers", show_lines=True)
    for column in ("what is wrong", "status and reason", "message"):
        table.add_column(column, overflow="fold")
    for refusal in refusals:
        table.add_row(refusal.problem, f"{refusal.code}\n{refusal.reason}", escape(refusal.message))
    return table


def _wrong_graphs(complaints: Sequence[Complaint]) -> Table:
    table = Table(title="Wrong graphs and what accord check says", show_lines=True)
    for column in ("what is wrong", "complaint"):
        table.add_column(column, overflow="fold")
    for complaint in complaints:
        table.add_row(complaint.problem, escape("\n".join(complaint.told)))
    return table


def _promises(kept: Sequence[Promise]) -> Table:
    table = Table(title="Promises")
    for column in ("", "promise", "evidence"):
        table.add_column(column, overflow="fold")
    for promise in kept:
        mark = "[green]kept[/]" if promise.kept else "[bold red]BROKEN[/]"
        table.add_row(mark, promise.text, escape(promise.evidence))
    return table


def _percent(interval: Interval) -> str:
    return f"{interval.estimate * 100:.1f} %"


def _range(interval: Interval) -> str:
    return f"{interval.low * 100:.1f} - {interval.high * 100:.1f}"
