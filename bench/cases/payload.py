"""How cost grows with the tensor: rows of 1 kB, 64 kB and 1 MB for three models that read all of it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from bench import plot as plots
from bench.cases import ours
from bench.figures import Load
from bench.report import Claim, Outcome, figures_table, relative
from bench.rounds import Turn, measured

if TYPE_CHECKING:
    from pathlib import Path

    from bench.rounds import Bench

__all__ = ["TEXT", "measure", "plot"]

TEXT = "tensors of 1 kB, 64 kB and 1 MB; three models that read all of it"
SIZES = {"1 kB": 256, "64 kB": 16_384, "1 MB": 262_144}
ENSEMBLE = "mean-3"
FEW = 16


def measure(bench: Bench) -> Outcome:
    """Measure the echo and our gateways with each size."""
    failed: dict[str, str] = {}
    turns: list[Turn] = []
    with ExitStack() as stack:
        for size, columns in SIZES.items():
            mine = ours.start(stack, bench, columns, [3])
            failed.update(mine.failed)
            what = ours.question(mine.repository, ENSEMBLE, mine.ensembles[ENSEMBLE], columns, 1)
            targets = {name: (target, what) for name, target in mine.gateways.items()}
            loads = [Load(_name(count, size), **ours.in_flight(count)) for count in (1, FEW)]
            turns += ours.turns(stack, bench, targets, loads)
        results = measured(bench, turns, failed=failed)
    claims = [
        Claim(
            f"{target}: throughput, {_name(FEW, '1 MB')}",
            bound=0.7,
            at_least=True,
            unit="of the echo's",
            found=relative(results, _name(FEW, "1 MB"), target, "calls_per_s"),
        )
        for target in ("worker", "inprocess")
    ]
    return Outcome([figures_table("Growing tensors", results)], claims, results)


def plot(outcome: Outcome, path: Path, caption: str) -> None:
    """Draw latency and throughput of all targets."""
    plots.ranges(path, outcome.results, caption)


def _name(count: int, size: str) -> str:
    return f"{count} in flight, {size}"
