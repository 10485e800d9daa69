"""What is read from ghz's reports; the two files beside this one are real ones, with most details cut."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from deploy.ghz.loss import Loss
from deploy.ghz.report import summary, table
from deploy.ghz.result import summarise

HERE = Path(__file__).parent


def real(name: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((HERE / f"{name}.json").read_bytes())
    return report


def test_a_clean_run_has_no_problem() -> None:
    """A report whose calls are all OK gives exact numbers, in seconds, and no problem."""
    report = real("ghz-ok")
    run = summarise(report)
    assert (run.name, run.call) == ("oip-c16", "inference.GRPCInferenceService/ModelInfer")
    assert (run.concurrency, run.connections, run.planned, run.calls) == (16, 2, 60, 60)
    assert run.statuses == {"OK": 60}
    assert run.errors == {}
    assert run.problem == ""
    assert run.per_second == report["rps"]
    latencies = {p["percentage"]: p["latency"] / 1e9 for p in report["latencyDistribution"]}
    assert (run.p50_s, run.p95_s, run.p99_s) == (latencies[50], latencies[95], latencies[99])
    assert run.slowest_s == report["slowest"] / 1e9


def test_a_failed_call_is_a_problem_that_names_status_and_text() -> None:
    """One call that is not OK is enough, and the problem says how many, which status and what was said."""
    run = summarise(real("ghz-shed"))
    assert run.statuses == {"OK": 56, "ResourceExhausted": 4}
    assert run.problem.startswith("4 of 60 calls failed: ResourceExhausted 4 (rpc error")


def test_missing_calls_are_a_problem() -> None:
    """A run that stops before its planned calls has failed, even if every call that it made is OK."""
    report = real("ghz-ok")
    report["options"]["total"] = 61
    assert summarise(report).problem == "60 of 61 planned calls were made"


def test_a_run_without_any_answer_is_a_problem() -> None:
    """Ghz writes null where it has measured nothing; that neither breaks the reading nor counts as passed."""
    report = {**real("ghz-ok"), "latencyDistribution": None, "statusCodeDistribution": {}, "slowest": 0}
    run = summarise(report)
    assert (run.p50_s, run.p99_s, run.slowest_s) == (None, None, None)
    assert run.problem == "0 of 60 planned calls were made"


@pytest.mark.parametrize("report", [{}, {"options": None}, {"options": {"call": "a.B/C"}}])
def test_something_else_is_refused(report: dict[str, Any]) -> None:
    """What is not a report of ghz raises ValueError, nothing else."""
    with pytest.raises(ValueError, match="not a report of ghz"):
        summarise(report)


def test_the_summary_counts_all_calls_and_is_plain_json() -> None:
    """The summary adds up the runs and survives a round trip through JSON."""
    runs = [summarise(real("ghz-ok")), summarise(real("ghz-shed"))]
    loss = Loss(model="m", pid=1, answered_before=2, without=3, back_s=0.5)
    facts = summary(runs, loss, address="127.0.0.1:1", problems=["4 of 60 calls failed"])
    assert (facts["ok"], facts["calls"], facts["calls_ok"]) == (False, 120, 116)
    assert facts["killed"]["without"] == 3
    assert json.loads(json.dumps(facts)) == facts


def test_the_table_shows_every_status() -> None:
    """The status distribution stands in the table, so that an error cannot hide behind good percentiles."""
    console = Console(width=100, file=StringIO(), record=True)
    console.print(table([summarise(real("ghz-shed"))]))
    assert "OK 56, ResourceExhausted 4" in console.export_text()


@pytest.mark.parametrize(
    ("without", "back_s", "problem"),
    [(3, 0.5, ""), (0, 0.5, "did not meet the loss"), (3, None, "did not come back")],
)
def test_a_loss_that_nobody_met_proves_nothing(without: int, back_s: float | None, problem: str) -> None:
    """A kill passes only if answers went without the member and it came back."""
    loss = Loss(model="m", pid=1, answered_before=2, without=without, back_s=back_s)
    assert problem in loss.problem
    assert bool(problem) == bool(loss.problem)
