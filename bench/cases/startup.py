"""How long a start takes: from the command to the first moment when the server is ready."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench import BenchFailed, models
from bench import plot as plots
from bench.configs import BACKENDS, write_config
from bench.figures import BASE, ratios, spread
from bench.report import Outcome, Table, cell
from bench.targets import echo, gateway

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bench.rounds import Bench
    from bench.targets import Target

__all__ = ["TEXT", "measure", "plot"]

TEXT = "time from the command to the first moment when it is ready"
COLUMNS = 256
COUNTS = (3, 16)


def measure(bench: Bench) -> Outcome:
    """Start and stop each server in turn, round after round."""
    took_s: dict[str, list[float]] = {}
    failed: dict[str, str] = {}
    repository = bench.out / "models"
    names = models.write_tiny(repository, COLUMNS, max(COUNTS))
    counts = COUNTS[:1] if bench.quick else COUNTS
    servers = [
        (BASE, 0),
        *((backend, count) for backend in BACKENDS if bench.wants(backend) for count in counts),
    ]
    turns = [server for _ in range(bench.pace.rounds) for server in servers]
    for i, (backend, count) in enumerate(turns):
        name = f"{backend}, {count} members" if count else backend
        bench.progress(i / len(turns), name)
        if name in failed:
            continue
        try:
            took_s.setdefault(name, []).append(_started(_server(bench, repository, backend, names[:count])))
        except BenchFailed as error:
            failed[name] = str(error)
            took_s.pop(name, None)
    rows = [
        [name, cell(spread(values)), cell(spread(ratios(values, took_s[BASE])))]
        for name, values in took_s.items()
    ]
    notes = [f"{name}: not measured: {why}" for name, why in failed.items()]
    table = Table("From the command to ready", ["started", "s", "times echo"], rows, numbers=1, notes=notes)
    how = f"{bench.pace.rounds} starts of each, in turn; the gateway is looked at every 50 ms."
    return Outcome([table], facts={"took_s": took_s}, how=how)


def plot(outcome: Outcome, path: Path, caption: str) -> None:
    """Draw the seconds of each start."""
    bars = {"s": {name: spread(values) for name, values in outcome.facts["took_s"].items()}}
    plots.bars(path, bars, caption, across="seconds from the command to ready")


def _server(
    bench: Bench, repository: Path, backend: str, members: tuple[str, ...]
) -> AbstractContextManager[Target]:
    if backend == BASE:
        return echo(b"", bench.out / "echo")
    folder = bench.out / f"{backend}-{len(members)}"
    strategy = {"kind": "mean", "output": models.OUTPUT}
    config = write_config(folder / "accord.yaml", repository, backend, {"mean": members}, strategy=strategy)
    return gateway(config, folder)


def _started(server: AbstractContextManager[Target]) -> float:
    before = time.perf_counter()
    with server:
        return time.perf_counter() - before
