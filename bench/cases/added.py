"""What the gateway adds to the latency of the slowest member, asked directly in the same round."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from bench import plot as plots
from bench.cases import demo, ours
from bench.figures import Load, spread
from bench.report import Outcome, Table, cell, figures_table
from bench.rounds import measured
from bench.targets import worker

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from bench.figures import Result, Spread
    from bench.rounds import Bench

__all__ = ["TEXT", "added", "measure", "plot"]

TEXT = "latency added over asking the slowest member directly: p50, p99"
COLUMNS, ENSEMBLE = 256, "mean-3"
DIRECTLY = "directly"
RATE = 50


def measure(bench: Bench) -> Outcome:
    """Measure our gateways and each member's worker, with tiny models and with the digits."""
    results: list[Result] = []
    with ExitStack() as stack:
        mine = ours.start(stack, bench, COLUMNS, [3])
        members = mine.ensembles[ENSEMBLE]
        ask = partial(ours.question, mine.repository, columns=COLUMNS, count=1)
        targets = {
            f"{name} {DIRECTLY}": (
                stack.enter_context(worker(mine.repository, name, bench.out / "members")),
                ask(name, [name]),
            )
            for name in members
        }
        targets |= {name: (gateway, ask(ENSEMBLE, members)) for name, gateway in mine.gateways.items()}
        results += measured(bench, ours.turns(stack, bench, targets, _loads("tiny")), failed=mine.failed)
    with ExitStack() as stack:
        gateways, failed = demo.digits(stack, bench)
        targets = {
            f"{name} {DIRECTLY}": (
                stack.enter_context(worker(demo.MODELS, name, bench.out / "members")),
                demo.digits_question(name, [name]),
            )
            for name in demo.DIGITS
        }
        what = demo.digits_question("digits", demo.DIGITS)
        targets |= {name: (gateway, what) for name, gateway in gateways.items()}
        results += measured(bench, ours.turns(stack, bench, targets, _loads("digits")), failed=failed)
    return Outcome([_table(results), figures_table("Members and ensembles", results)], (), results)


def added(results: Sequence[Result], load: Load, target: str, figure: str) -> Spread | None:
    """Return how much longer a target took than the slowest member did in the same round, in seconds.

    Args:
        results: Of the target and of the members under the same load.
        load: The load.
        target: The target.
        figure: Which latency, such as ``p50_s``.
    """
    own = {result.target: result.legs for result in results if result.load == load}
    members = [legs for name, legs in own.items() if name.endswith(DIRECTLY)]
    rounds = [
        (getattr(mine, figure), [getattr(leg, figure) for leg in theirs])
        for mine, *theirs in zip(own.get(target, ()), *members, strict=False)
    ]
    if not rounds or any(took is None or None in theirs for took, theirs in rounds):
        return None
    return spread([took - max(theirs) for took, theirs in rounds])


def plot(outcome: Outcome, path: Path, caption: str) -> None:
    """Draw latency and throughput of all targets."""
    plots.ranges(path, outcome.results, caption)


def _loads(which: str) -> Iterable[Load]:
    yield Load(f"{which}, 1 in flight", **ours.in_flight(1))
    yield Load(f"{which}, {RATE} calls/s", in_flight=8, connections=4, rate=RATE)


def _table(results: Sequence[Result]) -> Table:
    rows = []
    for load, target in dict.fromkeys((result.load, result.target) for result in results):
        if target.endswith(DIRECTLY):
            continue
        found = [added(results, load, target, figure) for figure in ("p50_s", "p99_s")]
        if target != "echo" and None not in found:
            cells = [cell(spread, 1e3) for spread in found if spread]
            rows.append([load.name, target, *cells])
    return Table("Added to the slowest member", ["load", "asked", "p50 ms", "p99 ms"], rows)
