"""Interleaved rounds: in each, every target meets every load once, one right after the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.figures import BASE, Leg, Load, Result, leg, results
from bench.idle import opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from bench.generators import Ask, Generator
    from bench.targets import Target

__all__ = ["Bench", "Pace", "Turn", "measured"]


@dataclass(frozen=True, slots=True)
class Pace:
    """How long and how often each target is measured.

    Args:
        rounds: Rounds, in each of which every target has its turn.
        lead_s: Seconds of the same load before the window opens, for connections and caches to settle.
        window_s: Seconds for which calls count.
    """

    rounds: int
    lead_s: float
    window_s: float

    @property
    def text(self) -> str:
        """Say so in a sentence."""
        plural = "s" if self.rounds > 1 else ""
        return (
            f"{self.rounds} round{plural} of {self.window_s:g} s after a lead of {self.lead_s:g} s; medians, "
            "with least and greatest of all rounds."
        )


@dataclass(frozen=True, slots=True)
class Bench:
    """What every case is given.

    Args:
        out: Folder for reports, plots and logs.
        pace: How long and how often.
        quick: Whether only to see that everything works.
        only: Targets to measure, by name; empty = all. The base is always measured.
        drive: The load generator for gRPC.
        progress: Told the share that is done and what comes next.
    """

    out: Path
    pace: Pace
    quick: bool
    only: frozenset[str]
    drive: Generator
    progress: Callable[[float, str], None]

    def wants(self, target: str) -> bool:
        """Tell whether a target is to be measured."""
        return not self.only or target == BASE or target in self.only

    def limited(self, *targets: str) -> Bench:
        """Return the same with other targets to measure."""
        return replace(self, only=frozenset(targets))


@dataclass(frozen=True, slots=True)
class Turn:
    """One target under one load.

    Args:
        load: The load.
        name: The target's name in tables.
        target: The target.
        ask: What it is asked.
        drive: The load generator, if not the case's own.
        held: Connections that are open meanwhile, beside those of the load.
    """

    load: Load
    name: str
    target: Target
    ask: Ask
    drive: Generator | None = None
    held: int = 0


def measured(
    bench: Bench, turns: Iterable[Turn], *, base: str = BASE, failed: Mapping[str, str] | None = None
) -> tuple[Result, ...]:
    """Give every turn its go in each round and sum up.

    Args:
        bench: How long and how often.
        turns: In the order of measurement; turns of one load stand together, the base among them.
        base: The name of the target that the others are divided by.
        failed: Targets that cannot be measured, and why; each is reported under every load.

    Raises:
        BenchFailed: If a load generator fails, or a server is gone.
    """
    turns = tuple(turns)
    legs: dict[Load, dict[str, list[Leg]]] = {}
    for i in range(bench.pace.rounds):
        for j, turn in enumerate(turns):
            bench.progress(
                (i * len(turns) + j) / (bench.pace.rounds * len(turns)), f"{turn.load.name}: {turn.name}"
            )
            legs.setdefault(turn.load, {}).setdefault(turn.name, []).append(_leg(bench, turn))
    found = results(legs, base)
    missing = [
        Result(load, name, f"not measured: {why}", {}, {}, ())
        for load in legs
        for name, why in (failed or {}).items()
    ]
    order = list(legs)
    return tuple(sorted([*found, *missing], key=lambda result: order.index(result.load)))


def _leg(bench: Bench, turn: Turn) -> Leg:
    pace = bench.pace
    drive = turn.drive or bench.drive
    with opened(turn.ask, turn.held):
        before_s = turn.target.cpu_s()
        calls, generator_cpu_s = drive(turn.ask, turn.load, pace.lead_s + pace.window_s, bench.out)
        cpu_s = turn.target.cpu_s() - before_s
    return leg(
        calls, lead_s=pace.lead_s, window_s=pace.window_s, cpu_s=cpu_s, generator_cpu_s=generator_cpu_s
    )
