"""Measures what the gateway costs, against an echo and one member asked directly: ``python -m bench``.

Needs the example models (``make models``); ``make bench`` does both. Exit codes: 0 measured, 1 something
failed or answered wrongly, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import psutil
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bench import BenchFailed, machine, show
from bench.answers import ENSEMBLE
from bench.figures import Result, results
from bench.load import Pace
from bench.machine import Clocks, others
from bench.plot import save_plot
from bench.rounds import measure
from bench.targets import CONFIG, DATA, ROOT, running
from examples import ExampleError
from examples.models import heldout
from gateway.config import load

if TYPE_CHECKING:
    from collections.abc import Sequence

FULL, QUICK = Pace(rounds=7, lead_s=0.3, window_s=1.5), Pace(rounds=2, lead_s=0.1, window_s=0.2)
PAGE = ROOT / "docs" / "benchmarks.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, report and return the exit code."""
    options = _options(arguments)
    console = Console(stderr=True, highlight=False)
    try:
        _run(options, console)
    except (BenchFailed, ExampleError, OSError) as error:
        code, problem = 1, str(error)
    except grpc.aio.AioRpcError as error:
        code, problem = 1, f"a call failed: {error.code().name}: {error.details()}"
    except psutil.NoSuchProcess:
        code, problem = 1, f"a server's process ended under load; its log is in {options.out}"
    except KeyboardInterrupt:
        code, problem = 130, "interrupted"
    else:
        return 0
    console.print(f"[red]error:[/] {escape(problem)}", soft_wrap=True)
    return code


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure what the gateway costs.")
    parser.add_argument(
        "--out", type=Path, default=Path("build/bench"), help="report, plot and logs (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--quick", action="store_true", help="seconds, to see that it works; quote no figures"
    )
    length.add_argument("--docs", action="store_true", help="also write the figures into docs/benchmarks.md")
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace, console: Console) -> None:
    pace = QUICK if options.quick else FULL
    options.out.mkdir(parents=True, exist_ok=True)
    before = Clocks.read()
    found = _measured(pace, options.out, console)
    facts = machine.facts() | {"others": others(before, Clocks.read())}
    caption = show.describe(facts, pace)
    text = json.dumps(show.report(found, facts, pace), indent=2) + "\n"
    (options.out / "report.json").write_text(text, "utf-8")
    save_plot(options.out / "latency.png", found, caption)
    if options.docs:
        figures = f"{caption}\n\n{show.markdown(found)}"
        PAGE.write_text(show.between_markers(PAGE.read_text("utf-8"), figures), "utf-8")
    if options.json:
        sys.stdout.write(text)
    else:
        out = Console(highlight=False)
        out.print(show.table(found))
        out.print(f"{caption}\nReport and plot are in {options.out}.")


def _measured(pace: Pace, out: Path, console: Console) -> tuple[Result, ...]:
    members = [seat.target for seat in load(CONFIG)[0].ensembles[ENSEMBLE].members]
    pixels = heldout.load(DATA)["pixels"]
    columns = (TextColumn("{task.description:27}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("starting the servers", total=1.0)

        def show_progress(share: float, what: str) -> None:
            progress.update(bar, completed=share, description=what)

        with running(out) as targets:
            legs = asyncio.run(measure(targets, members, pixels, pace, show_progress))
            show_progress(1.0, "done")
    return results(legs)


if __name__ == "__main__":
    sys.exit(main())
