"""Many connections: throughput while 1 to 4,000 are open, and with a call on each; memory of each."""

from __future__ import annotations

import resource
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from bench import plot as plots
from bench.cases import ours
from bench.figures import BASE, Load, spread
from bench.generators import Missing, h2load
from bench.idle import opened
from bench.report import Claim, Outcome, Table, figures_table
from bench.rounds import measured

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.rounds import Bench, Turn

__all__ = ["TEXT", "allow_files", "measure", "plot"]

TEXT = "1 to 4,000 open connections: throughput, and memory of each"
COLUMNS, ENSEMBLE = 256, "mean-3"
COUNTS, QUICK_COUNTS = (1, 100, 1000, 4000), (1, 100)
#: A call on each of so many at once; servers of gRPC refuse calls beyond a thousand that wait.
CROWD, QUICK_CROWD = 500, 50
#: So many connections take a while to be made.
CROWD_LEAD_S = 1.0
IN_FLIGHT, SHARED = 64, 4
MAX_ROUNDS = 3
#: Freed memory is not always given back at once.
_SETTLE_S = 0.5


def measure(bench: Bench) -> Outcome:
    """Measure the echo and our gateways with each number of connections."""
    allow_files()
    counts, crowd = (QUICK_COUNTS, QUICK_CROWD) if bench.quick else (COUNTS, CROWD)
    bench = replace(bench, pace=replace(bench.pace, rounds=min(MAX_ROUNDS, bench.pace.rounds)))
    loads = {
        Load(f"{count:,} open, {IN_FLIGHT} calls in flight", IN_FLIGHT, min(count, SHARED)): count
        for count in counts
    }
    with ExitStack() as stack:
        mine = ours.start(stack, bench, COLUMNS, [3])
        what = ours.question(mine.repository, ENSEMBLE, mine.ensembles[ENSEMBLE], COLUMNS, 1)
        targets = {name: (target, what) for name, target in mine.gateways.items()}
        turns = ours.turns(stack, bench, targets, loads)
        # before the load: what that leaves behind is taken again without growing
        memory = {turn.name: _memory(turn, counts) for turn in turns if loads[turn.load] == counts[0]}
        held = [replace(turn, held=loads[turn.load] - turn.load.connections) for turn in turns]
        results = measured(bench, held, failed=mine.failed)
        notes: tuple[str, ...] = ()
        try:
            h2load.ensure()
        except Missing as error:
            notes = (f"a call on each of {crowd}: not measured: {error}",)
        else:
            load = Load(f"{crowd} open, a call on each", crowd, crowd)
            crowded = [
                replace(turn, load=load, drive=h2load.drive)
                for turn in turns
                if loads[turn.load] == counts[0]
            ]
            slowly = replace(bench, pace=replace(bench.pace, lead_s=CROWD_LEAD_S))
            results += measured(slowly, crowded, failed=mine.failed)
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
            figures_table("Throughput", results),
            Table("Connections that were used once and stay open", columns, rows, 1, notes),
        ],
        claims,
        results,
        facts={"bytes": memory, "connections": counts},
        how=f"{bench.pace.text} A call on each connection: by h2load.",
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
