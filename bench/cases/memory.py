"""Memory of the gateway's process: idle, and over a million requests."""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np

from bench import BenchFailed
from bench import plot as plots
from bench.cases import ours
from bench.figures import OK, Load, spread
from bench.generators import h2load
from bench.report import Claim, Outcome, Table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.rounds import Bench, Turn

    #: Requests so far, and the memory then, in bytes.
    Point = tuple[int, int]

__all__ = ["TEXT", "growth", "measure", "plot"]

TEXT = "memory idle, and over a million requests"
COLUMNS, ENSEMBLE = 256, "mean-3"
BUSY = Load("64 in flight, 1 row", **ours.in_flight(64))
REQUESTS, QUICK_REQUESTS = 1_000_000, 2000
#: Seconds after which a backend has had enough time, even if fewer requests were answered.
LIMITS_S, QUICK_LIMIT_S = {"worker": 230.0, "inprocess": 90.0}, 4.0
CHUNK_S, QUICK_CHUNK_S = 5.0, 0.5
#: Share of the requests after which pools and caches are full; what grows then, leaks.
SETTLED = 0.2


def measure(bench: Bench) -> Outcome:
    """Look at each of our gateways before anybody asked it, and while it answers."""
    rows, claims = [], []
    points: dict[str, list[Point]] = {}
    with ExitStack() as stack:
        mine = ours.start(stack, bench, COLUMNS, [3])
        idle = {name: target.memory() for name, target in mine.gateways.items()}
        what = ours.question(mine.repository, ENSEMBLE, mine.ensembles[ENSEMBLE], COLUMNS, 1)
        targets = {name: (target, what) for name, target in mine.gateways.items()}
        turns = [turn for turn in ours.turns(stack, bench, targets, [BUSY]) if turn.name in idle]
        for i, turn in enumerate(turns):
            points[turn.name] = _asked(bench, turn, i, len(turns))
    for name, found in points.items():
        last, size = found[-1]
        rows.append(
            [name, f"{idle[name] / 1e6:.1f}", f"{last:,}", f"{size / 1e6:.1f}", f"{growth(found) / 1e6:.2f}"]
        )
        claims += [
            Claim(
                f"{name}: memory when idle",
                150.0,
                at_least=False,
                unit="MB",
                found=spread([idle[name] / 1e6]),
            ),
            Claim(
                f"{name}: growth over {last:,} requests, without the first {SETTLED:.0%}",
                bound=5.0,
                at_least=False,
                unit="MB",
                found=spread([growth(found) / 1e6]),
            ),
        ]
    columns = ["asked", "MB idle", "requests", "MB after them", "MB grown"]
    notes = [f"{name}: not measured: {why}" for name, why in mine.failed.items()]
    table = Table("Memory of the gateway's process", columns, rows, numbers=1, notes=notes)
    how = f"Resident memory without workers and parent; {BUSY.name} until {REQUESTS:,} or time is up."
    return Outcome([table], claims, facts={"idle": idle, "points": points}, how=how)


def growth(points: Sequence[Point], settled: float = SETTLED) -> float:
    """Return by how many bytes memory grows from the settled point to the end, by least squares.

    Args:
        points: In order; at least one.
        settled: Share of the requests that are left out at the beginning.

    Example:
        >>> round(growth([(0, 50), (10, 100), (20, 100), (30, 101), (40, 102), (50, 103)], settled=0.4), 1)
        3.0
    """
    kept = [point for point in points if point[0] >= settled * points[-1][0]]
    requests, sizes = np.asarray(kept, float).T
    if len(kept) < 2:
        return 0.0
    slope, _ = np.polyfit(requests, sizes, 1)
    return float(slope * (requests[-1] - requests[0]))


def plot(outcome: Outcome, path: Path, caption: str) -> None:
    """Draw the memory over the requests."""
    series = {
        name: [(float(count), spread([size / 1e6])) for count, size in points]
        for name, points in outcome.facts["points"].items()
    }
    plots.lines(path, series, caption, across="requests answered", up="resident memory, MB")


def _asked(bench: Bench, turn: Turn, index: int, count: int) -> list[Point]:
    """Ask until there were enough requests or time is up; look at the memory in between."""
    # h2load leaves more of the CPUs to the server
    drive = h2load.drive if shutil.which("h2load") else bench.drive
    wanted = QUICK_REQUESTS if bench.quick else REQUESTS
    until = time.monotonic() + (QUICK_LIMIT_S if bench.quick else LIMITS_S[turn.name])
    answered, points = 0, [(0, turn.target.memory())]
    while answered < wanted and time.monotonic() < until:
        bench.progress((index + answered / wanted) / count, f"{turn.name}: {answered:,} requests")
        calls, _ = drive(turn.ask, turn.load, QUICK_CHUNK_S if bench.quick else CHUNK_S, bench.out)
        failed = [call.status for call in calls if call.status != OK]
        if failed or not calls:
            raise BenchFailed(f"{turn.name}: {len(failed)} of {len(calls)} calls failed: {failed[:1]}")
        answered += len(calls)
        points.append((answered, turn.target.memory()))
    return points
