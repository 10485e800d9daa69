"""Measures what the gateway costs: ``python -m bench [CASE ...]``; ``--list`` names the cases.

``make bench`` measures everything. Each case leaves ``<case>.json`` and ``<case>.png`` in the output folder;
``--docs`` writes what lies there into docs/benchmarks.md, by itself without measuring anything.

Exit codes: 0 measured, 1 something failed or answered wrongly, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bench import ROOT, BenchFailed, machine, pages, show
from bench.cases import CASES, QUICK_CASES, case
from bench.generators import ghz, h2load
from bench.machine import Clocks, others
from bench.report import as_json
from bench.rounds import Bench, Pace
from examples import ExampleError
from training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.report import Outcome

FULL, QUICK = Pace(rounds=5, lead_s=0.3, window_s=1.0), Pace(rounds=1, lead_s=0.1, window_s=0.3)
#: Characters of a line, where there is no terminal that has a width.
WIDTH = 140
OUT = ROOT / "build" / "bench"
GENERATORS = {"ghz": ghz, "h2load": h2load}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, report and return the exit code."""
    options = _options(arguments)
    console = Console(stderr=True, highlight=False)
    if options.list:
        for name in CASES:
            sys.stdout.write(f"{name:12} {case(name).TEXT}\n")
        return 0
    code = 0
    try:
        for name in options.case or (() if options.docs else QUICK_CASES if options.quick else CASES):
            code = max(code, _tried(name, options, console))
        if options.docs:
            pages.write(options.out)
    except KeyboardInterrupt:
        return _refuse(console, "interrupted", 130)
    except (BenchFailed, OSError) as error:
        return _refuse(console, str(error), 1)
    return code


def _tried(name: str, options: argparse.Namespace, console: Console) -> int:
    """Run a case; one that fails does not keep the others from being run."""
    try:
        _run(name, options, console)
    except (BenchFailed, ExampleError, TrainingError, OSError) as error:
        return _refuse(console, f"{name}: {error}", 1)
    except psutil.NoSuchProcess:
        return _refuse(console, f"{name}: a server's process ended; its log is in {options.out / name}", 1)
    return 0


def _refuse(console: Console, problem: str, code: int) -> int:
    console.print(f"[red]error:[/] {escape(problem)}", soft_wrap=True)
    return code


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure what the gateway costs.")
    parser.add_argument("case", nargs="*", help="what to measure; default: everything, or with --quick some")
    parser.add_argument("--list", action="store_true", help="list the cases")
    parser.add_argument("--out", type=Path, default=OUT, help="reports, plots and logs (build/bench)")
    parser.add_argument("--json", action="store_true", help="print each report as JSON")
    parser.add_argument("--rounds", type=_positive, help="rounds of each case")
    parser.add_argument(
        "--only", action="append", default=[], metavar="TARGET", help="measure no other server"
    )
    parser.add_argument(
        "--load", choices=GENERATORS, default="ghz", help="load generator for gRPC (%(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="only to see that it works; quote no figures")
    parser.add_argument("--docs", action="store_true", help="write the reports into docs/benchmarks.md")
    options = parser.parse_args(arguments)
    for name in options.case:
        if name not in CASES:
            parser.error(f"there is no case {name!r}; there are: {', '.join(CASES)}")
    return options


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return int(text)


def _run(name: str, options: argparse.Namespace, console: Console) -> None:
    generator = GENERATORS[options.load]
    pace = QUICK if options.quick else FULL
    pace = replace(pace, rounds=options.rounds or pace.rounds)
    options.out.mkdir(parents=True, exist_ok=True)
    with console.status("looking for the load generator; building ghz takes a minute"):
        generator.ensure()
    columns = (TextColumn("{task.description:44}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    before = Clocks.read()
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(f"{name}: starting the servers", total=1.0)

        def tell(share: float, what: str) -> None:
            progress.update(bar, completed=share, description=f"{name}: {what}")

        outcome = case(name).measure(
            Bench(options.out / name, pace, options.quick, frozenset(options.only), generator.drive, tell)
        )
        tell(1.0, "done")
    facts = machine.facts() | {"others": others(before, Clocks.read()), "load": options.load}
    report = {
        "case": name,
        "command": f"python -m bench {name}",
        "quick": options.quick,
        "machine": facts,
        "pace": asdict(pace),
        **as_json(outcome),
        "how": outcome.how or pace.text,
    }
    text = json.dumps(report, indent=1, default=str) + "\n"
    (options.out / f"{name}.json").write_text(text, "utf-8")
    caption = show.describe(facts, outcome.how or pace.text)
    case(name).plot(outcome, options.out / f"{name}.png", caption)
    if options.json:
        sys.stdout.write(text)
    else:
        _show(outcome, caption)


def _show(outcome: Outcome, caption: str) -> None:
    out = Console(highlight=False)
    if not out.is_terminal:
        out.width = WIDTH
    for table in outcome.tables:
        out.print(show.on_screen(table))
        for note in table.notes:
            out.print(f"[yellow]{escape(note)}[/]", soft_wrap=True)
    for claim in outcome.claims:
        out.print(show.claim_line(claim), soft_wrap=True)
    out.print(caption, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
