"""How cost grows with the number of members: 1 to 16 tiny models and their mean."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from bench import plot as plots
from bench.cases import ours
from bench.configs import BACKENDS
from bench.figures import Load, spread
from bench.report import Claim, Outcome, between, figures_table
from bench.rounds import measured

if TYPE_CHECKING:
    from pathlib import Path

    from bench.rounds import Bench

__all__ = ["TEXT", "measure", "plot"]

TEXT = "1 to 16 members: how cost grows"
COLUMNS = 256
COUNTS = (1, 2, 3, 4, 8, 16)
BUSY = Load("64 in flight, 1 row", **ours.in_flight(64))
ALONE = Load("1 in flight, 1 row", **ours.in_flight(1))


def measure(bench: Bench) -> Outcome:
    """Measure ensembles of every size, on the same gateway."""
    counts = (1, 3, 16) if bench.quick else COUNTS
    with ExitStack() as stack:
        mine = ours.start(stack, bench, COLUMNS, counts)
        targets = {}
        for backend, gateway in mine.gateways.items():
            for ensemble, members in mine.ensembles.items():
                what = ours.question(mine.repository, ensemble, members, COLUMNS, 1)
                targets[_name(backend, len(members))] = (gateway, what)
        results = measured(bench, ours.turns(stack, bench, targets, (ALONE, BUSY)), failed=mine.failed)
    claims = [
        Claim(
            f"{backend}: time per call with 16 members beside 3, {BUSY.name}",
            bound=3.0,
            at_least=False,
            unit="times as much",
            found=between(results, BUSY.name, _name(backend, 3), _name(backend, 16), "calls_per_s"),
        )
        for backend in BACKENDS
    ]
    return Outcome([figures_table("Growing ensembles", results)], claims, results)


def plot(outcome: Outcome, path: Path, caption: str) -> None:
    """Draw the time per call over the number of members."""
    legs = {result.target: result.legs for result in outcome.results if result.load == BUSY}
    series = {
        backend: [
            (float(count), spread([1e3 / leg.calls_per_s for leg in own]))
            for count in COUNTS
            for own in [legs.get(_name(backend, count), ())]
            if own and all(leg.calls for leg in own)
        ]
        for backend in BACKENDS
    }
    shown = {backend: points for backend, points in series.items() if points}
    plots.lines(path, shown, caption, across="members", up=f"ms per call, {BUSY.name}")


def _name(backend: str, count: int) -> str:
    return f"{backend}, {count} member{'s' if count > 1 else ''}"
