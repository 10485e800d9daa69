"""Where each microsecond of a request goes: py-spy on the gateway's process, with 64 calls in flight."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from bench import BenchFailed, flame
from bench import plot as plots
from bench.answers import asked
from bench.cases import ours
from bench.figures import OK, Load, spread
from bench.profiling.time import RATE, by_function, by_part, record
from bench.report import Outcome, Table

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping
    from pathlib import Path

    from bench.generators import Ask
    from bench.rounds import Bench
    from bench.targets import Target

__all__ = ["TEXT", "measure", "plot"]

TEXT = "where each microsecond of a request goes (py-spy)"
COLUMNS, ENSEMBLE = 256, "mean-3"
BUSY = Load("64 in flight, 1 row", **ours.in_flight(64))
SECONDS, QUICK_SECONDS, LEAD_S = 20.0, 2.0, 0.5
#: Rows of the table of functions; what is below is noise.
FUNCTIONS = 25
_OTHERS = "gRPC's own threads"


def measure(bench: Bench) -> Outcome:
    """Profile each of our gateways under load."""
    parts, functions, notes = [], [], []
    facts: dict[str, object] = {}
    with ExitStack() as stack:
        mine = ours.start(stack, bench, COLUMNS, [3])
        notes += [f"{name}: not measured: {why}" for name, why in mine.failed.items()]
        what = ours.question(mine.repository, ENSEMBLE, mine.ensembles[ENSEMBLE], COLUMNS, 1)
        for i, (backend, gateway) in enumerate(mine.gateways.items()):
            bench.progress(i / len(mine.gateways), backend)
            stacks, main_us, others_us = _sampled(bench, gateway, asked(gateway.address, what)[0])
            worth = main_us / sum(stacks.values())
            totals = {name: count * worth for name, count in by_part(stacks).items()} | {_OTHERS: others_us}
            totals = dict(sorted(totals.items(), key=lambda pair: -pair[1]))
            whole = sum(totals.values())
            parts += [[backend, part, f"{us:.1f}", f"{us / whole:.0%}"] for part, us in totals.items()]
            functions += [
                [backend, name, f"{count * worth:.1f}", f"{count * worth / whole:.1%}"]
                for name, count in by_function(stacks).most_common(FUNCTIONS)
            ]
            facts[backend] = {
                "us_per_request": whole,
                "parts": totals,
                "stacks": [[list(frames), count] for frames, count in stacks.most_common()],
                "us_per_sample": worth,
            }
    headings = ("asked", "us per request", "share")
    return Outcome(
        [
            Table("By part", [headings[0], "part", *headings[1:]], parts, notes=notes),
            Table("By function, own time", [headings[0], "function", *headings[1:]], functions),
        ],
        facts=facts,
        how=f"py-spy, {RATE} samples per second, without waits; {BUSY.name}.",
    )


def plot(outcome: Outcome, path: Path, caption: str) -> None:
    """Draw the parts as bars, and a flame graph for each backend beside it."""
    bars = {}
    for backend, found in outcome.facts.items():
        bars[backend] = {part: spread([us]) for part, us in found["parts"].items()}
        stacks = {tuple(frames): count for frames, count in found["stacks"]}
        title = f"{backend}, {BUSY.name}: {found['us_per_request']:.0f} us of CPU time per request"
        svg = flame.draw(stacks, title, found["us_per_sample"], "us per request")
        path.with_name(f"{path.stem}-{backend}.svg").write_text(svg, "utf-8")
    plots.bars(path, bars, caption, across="CPU time per request, us")


def _sampled(bench: Bench, gateway: Target, ask: Ask) -> tuple[Counter[tuple[str, ...]], float, float]:
    """Return stacks, and microseconds per request of the main thread and of all others together."""
    process = gateway.front()[0]
    seconds = QUICK_SECONDS if bench.quick else SECONDS
    answered: list[int] = []

    def load() -> None:
        calls, _ = bench.drive(ask, BUSY, seconds + 2 * LEAD_S, bench.out)
        answered.append(sum(call.status == OK for call in calls))

    before = {thread.id: thread.user_time + thread.system_time for thread in process.threads()}
    loading = threading.Thread(target=load)
    loading.start()
    try:
        time.sleep(LEAD_S)
        stacks = record(process.pid, seconds, bench.out)
    finally:
        loading.join()
    after = {thread.id: thread.user_time + thread.system_time for thread in process.threads()}
    if not answered or not answered[0] or not stacks:
        raise BenchFailed("nothing was sampled: no call was answered")
    spent: Mapping[int, float] = {thread: after[thread] - before.get(thread, 0.0) for thread in after}
    main_us = 1e6 * spent[process.pid] / answered[0]
    return stacks, main_us, 1e6 * sum(spent.values()) / answered[0] - main_us
