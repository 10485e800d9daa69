"""How often a tensor of 1 MB is copied: memray counts the allocations that are as large."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from bench import BenchFailed
from bench import plot as plots
from bench.answers import asked
from bench.cases import ours
from bench.figures import spread
from bench.profiling.memory import copies, large, watched
from bench.report import Claim, Outcome, Table

if TYPE_CHECKING:
    from pathlib import Path

    from bench.rounds import Bench

__all__ = ["TEXT", "measure", "plot"]

TEXT = "copies of a 1 MB tensor in our own code (memray)"
COLUMNS, ENSEMBLE = 262_144, "mean-3"
LARGE = 512 * 1024
REPEATS, QUICK_REPEATS = 8, 2
OURS, TRANSPORT = "our code", "gRPC"


def measure(bench: Bench) -> Outcome:
    """Ask each of our gateways, one request at a time, and count its large allocations."""
    rows, claims, notes = [], [], []
    facts: dict[str, object] = {}
    repeats = QUICK_REPEATS if bench.quick else REPEATS
    backends = [name for name in ours.BACKENDS if bench.wants(name)]
    for i, backend in enumerate(backends):
        bench.progress(i / len(backends), backend)
        file = bench.out / f"{backend}.memray"
        bench.out.mkdir(parents=True, exist_ok=True)
        try:
            with watched(file), ExitStack() as stack:
                mine = ours.start(stack, bench.limited(backend), COLUMNS, [3])
                what = ours.question(mine.repository, ENSEMBLE, mine.ensembles[ENSEMBLE], COLUMNS, 1)
                for _ in range(repeats):
                    asked(mine.gateways[backend].address, what)
            found = copies(large(file, LARGE), repeats * len(what.feeds))
        except BenchFailed as error:
            notes.append(f"{backend}: not measured: {error}")
            continue
        whose = {True: OURS, False: TRANSPORT}
        rows += [
            [backend, whose[copy.ours], copy.place, f"{copy.size / 1e6:.2f}", f"{copy.per_request:.1f}"]
            for copy in sorted(found, key=lambda copy: (not copy.ours, -copy.per_request))
        ]
        totals = {
            name: sum(copy.per_request for copy in found if copy.ours is own) for own, name in whose.items()
        }
        facts[backend] = totals
        claims.append(
            Claim(
                f"{backend}: copies of a 1 MB tensor in our own code",
                bound=2.0,
                at_least=False,
                unit="per request",
                found=spread([totals[OURS]]),
            )
        )
    how = f"memray; allocations of {LARGE // 1024} kB or more, one request at a time."
    columns = ["asked", "whose", "where", "MB", "per request"]
    return Outcome(
        [Table("Large allocations", columns, rows, numbers=3, notes=notes)], claims, facts=facts, how=how
    )


def plot(outcome: Outcome, path: Path, caption: str) -> None:
    """Draw how many there are, ours and gRPC's."""
    bars = {
        backend: {name: spread([count]) for name, count in totals.items()}
        for backend, totals in outcome.facts.items()
    }
    plots.bars(path, bars, caption, across="allocations of 512 kB or more per request")
