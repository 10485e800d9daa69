"""Many connections: throughput with a call on each of 1 to 4,000, and memory of those that only stay open."""

from __future__ import annotations

import resource
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from bench import plot as plots
from bench.cases import ours
from bench.figures import BASE, Load, spread
from bench.generators import h2load
from bench.idle import opened
from bench.report import Claim, Outcome, Table, figures_table
from bench.rounds import measured

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.rounds import Bench, Turn

__all__ = ["TEXT", "allow_files", "measure", "plot"]

TEXT = "1, 100, 1,000 and 4,000 open connections: throughput, and memory of each"
COLUMNS, ENSEMBLE = 256, "mean-3"
COUNTS, QUICK_COUNTS = (1, 100, 1000, 4000), (1, 100)
#: Thousands of connections are not open at once.
LEAD_S = 2.0
MAX_ROUNDS = 3
#: Freed memory is not always given back at once.
_SETTLE_S = 0.5


def measure(bench: Bench) -> Outcome:
    """Measure the echo and our gateways with each number of connections."""
    h2load.ensure()
    allow_files()
    counts = QUICK_COUNTS if bench.quick else COUNTS
    if not bench.quick:
        pace = replace(bench.pace, rounds=min(MAX_ROUNDS, bench.pace.rounds), lead_s=LEAD_S)
        bench = replace(bench, pace=pace)
    bench = replace(bench, drive=h2load.drive)
    loads = [Load(_name(count), in_flight=count, connections=count) for count in counts]
    with ExitStack() as stack:
        mine = ours.start(stack, bench, COLUMNS, [3])
        what = ours.question(mine.repository, ENSEMBLE, mine.ensembles[ENSEMBLE], COLUMNS, 1)
        targets = {name: (target, what) for name, target in mine.gateways.items()}
        turns = ours.turns(stack, bench, targets, loads)
        # before the load: what that leaves behind is taken again without growing
        memory = {turn.name: _memory(turn, counts) for turn in turns if turn.load == loads[0]}
        results = measured(bench, turns, failed=mine.failed)
    per_connection = {name: (sizes[-1] - sizes[0]) / (counts[-1] - 1) for name, sizes in memory.items()}
    rows = [
        [name, *(f"{size / 1e6:.1f}" for size in sizes), f"{per_connection[name] / 1e3:.1f}"]
        for name, sizes in memory.items()
    ]
    columns = ["asked", *(f"MB with {count:,}" for count in counts), "kB each"]
    claims = [
        Claim(
            f"{name}: memory per open connection", 60.0, at_least=False, unit="kB", found=spread([size / 1e3])
        )
        for name, size in per_connection.items()
        if name != BASE
    ]
    return Outcome(
        [
            figures_table("A call on each connection", results),
            Table("Connections that were used once and stay open", columns, rows, numbers=1),
        ],
        claims,
        results,
        facts={"bytes": memory, "connections": counts},
        how=f"{bench.pace.text} Load by h2load.",
    )


def plot(outcome: Outcome, path: Path, caption: str) -> None:
    """Draw the memory over the number of connections."""
    counts = outcome.facts["connections"]
    series = {
        name: [(float(count), spread([size / 1e6])) for count, size in zip(counts, sizes, strict=True)]
        for name, sizes in outcome.facts["bytes"].items()
    }
    plots.lines(path, series, caption, across="open connections", up="resident memory, MB")


def allow_files() -> None:
    """Let this process, and the servers that it starts, open as many files as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _memory(turn: Turn, counts: Sequence[int]) -> list[int]:
    """Return a server's memory while so many connections are open, in bytes."""
    found = []
    for count in counts:
        with opened(turn.ask, count):
            time.sleep(_SETTLE_S)
            found.append(turn.target.memory())
    return found


def _name(count: int) -> str:
    return f"{count:,} connection{'s' if count > 1 else ''}"
