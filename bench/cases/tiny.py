"""Three tiny models and their mean: what the gateway itself costs, since the models cost next to nothing."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from bench import plot as plots
from bench.cases import ours
from bench.figures import Load
from bench.report import Claim, Outcome, figures_table, relative
from bench.rounds import measured

if TYPE_CHECKING:
    from pathlib import Path

    from bench.rounds import Bench

__all__ = ["TEXT", "measure", "plot"]

TEXT = "three tiny models and their mean: 1, 64 and 256 in flight, 1 and 8 rows"
COLUMNS, ENSEMBLE = 256, "mean-3"
ONE, SOME, MANY = 1, 64, 256


def measure(bench: Bench) -> Outcome:
    """Measure the echo and our gateways under every load."""
    with ExitStack() as stack:
        mine = ours.start(stack, bench, COLUMNS, [3])
        turns = []
        for rows in (1, 8):
            loads = [
                Load(_name(count, rows), **ours.in_flight(count))
                for count in ((ONE, SOME) if bench.quick else (ONE, SOME, MANY))
            ]
            what = ours.question(mine.repository, ENSEMBLE, mine.ensembles[ENSEMBLE], COLUMNS, rows)
            targets = {name: (target, what) for name, target in mine.gateways.items()}
            turns += ours.turns(stack, bench, targets, loads)
        results = measured(bench, turns, failed=mine.failed)

    def throughput(target: str, count: int, bound: float) -> Claim:
        found = relative(results, _name(count, 1), target, "calls_per_s")
        return Claim(f"{target}: throughput, {_name(count, 1)}", bound, True, "of the echo's", found)

    def latency(target: str, bound: float) -> Claim:
        found = relative(results, _name(ONE, 1), target, "p50_s")
        return Claim(f"{target}: median latency, {_name(ONE, 1)}", bound, False, "times the echo's", found)

    claims = (
        throughput("worker", SOME, 0.5),
        throughput("worker", MANY, 0.6),
        latency("worker", 2.2),
        throughput("inprocess", SOME, 0.6),
        latency("inprocess", 1.6),
    )
    return Outcome([figures_table("Three tiny models and their mean", results)], claims, results)


def plot(outcome: Outcome, path: Path, caption: str) -> None:
    """Draw latency and throughput of all targets."""
    plots.ranges(path, outcome.results, caption)


def _name(count: int, rows: int) -> str:
    return f"{count} in flight, {rows} row{'s' if rows > 1 else ''}"
