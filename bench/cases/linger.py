"""How requests share batches, in virtual time: what waiting for company costs, and what it brings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench import plot as plots
from bench.report import Outcome, Table, short
from bench.simulation import Alone, Fixed, Machine, bursts, poisson, simulate, steady, unlimited
from gateway.policies.linger import Linger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from bench.rounds import Bench
    from bench.simulation import Ridden

__all__ = ["TEXT", "measure", "plot"]

TEXT = "the policy of waiting for company, simulated: steady, bursty and single arrivals"
CAP_S, FOR_S = 0.005, 4.0
OURS = "Accord"
COLUMNS = ("answered/s", "in a batch", "waited ms", "p50 ms", "p99 ms")

POLICIES: Mapping[str, Callable[[], Linger]] = {
    OURS: lambda: Linger(cap_s=CAP_S),
    "a fixed delay of 5 ms": lambda: Fixed(cap_s=CAP_S),
    "no batches": lambda: Alone(cap_s=0.0),
}
MACHINES = {
    "inline": Machine(batch_s=0.0003, request_s=0.00003, inline=True, read_s=0.0001),
    "busy": Machine(batch_s=0.001, request_s=0.00005),
    "remote": Machine(batch_s=0.02, request_s=0.00002, side_by_side=True),
}
#: Arrivals, and how many of them are clients that ask again when they are answered.
TRACES: Mapping[str, tuple[list[float], int]] = {
    "one client": ([0.0], 1),
    "64 clients": ([0.0] * 64, 64),
    "10/s, steady": (steady(10.0, FOR_S), 0),
    "800/s, at random": (poisson(800.0, FOR_S), 0),
    "5,000/s, at random": (poisson(5000.0, FOR_S), 0),
    "50 at once, ten times a second": (bursts(50, 0.1, FOR_S), 0),
}


def measure(bench: Bench) -> Outcome:
    """Let every policy answer every trace on every machine."""
    rows, facts = [], {}
    for i, (machine, model) in enumerate(MACHINES.items()):
        for j, (trace, (arrivals, clients)) in enumerate(TRACES.items()):
            bench.progress((i + j / len(TRACES)) / len(MACHINES), f"{machine}: {trace}")
            for policy, linger in POLICIES.items():
                places = None if policy == OURS else unlimited()
                ridden = simulate(linger(), model, arrivals, clients=clients, until_s=FOR_S, places=places)
                found = _figures(ridden)
                facts[f"{machine}: {trace}: {policy}"] = found
                first = policy == OURS
                rows.append(
                    [
                        f"{machine}: {trace}" if first else "",
                        policy,
                        *(short(found[name]) for name in COLUMNS),
                    ]
                )
    table = Table(
        "Waiting for company, in virtual time",
        ["arrivals", "policy", *COLUMNS],
        rows,
    )
    busy, remote = MACHINES["busy"], MACHINES["remote"]
    how = (
        f"{FOR_S:g} s of virtual time each. Busy: one batch after another, {busy.batch_s * 1e3:g} ms"
        f" and {busy.request_s * 1e6:g} us a request; remote: side by side, {remote.batch_s * 1e3:g} ms."
    )
    return Outcome([table], facts=facts, how=how)


def plot(outcome: Outcome, path: Path, caption: str) -> None:
    """Draw the mean latency of every policy under every trace."""
    dots: dict[str, dict[str, float]] = {}
    for name, found in outcome.facts.items():
        trace, _, policy = name.rpartition(": ")
        dots.setdefault(policy, {})[trace] = found["mean ms"]
    plots.dots(path, dots, caption, across="mean milliseconds from arrival to answer")


def _figures(ridden: Sequence[Ridden]) -> dict[str, float]:
    took = np.array([each.answered - each.arrived for each in ridden])
    span_s = max(each.answered for each in ridden) - min(each.arrived for each in ridden)
    return {
        "answered/s": len(ridden) / span_s,
        "in a batch": float(np.mean([each.riders for each in ridden])),
        "waited ms": 1e3 * float(np.mean([each.left - each.arrived for each in ridden])),
        "p50 ms": 1e3 * float(np.quantile(took, 0.5)),
        "p99 ms": 1e3 * float(np.quantile(took, 0.99)),
        "mean ms": 1e3 * float(took.mean()),
    }
