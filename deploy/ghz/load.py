"""Loads a server with ghz and demands that every call succeeds: ``python -m deploy.ghz.load``.

Run it from the repository root, after ``make models``; ``make load`` does both. It starts the demo server
on free ports, or takes a running one by ``--address``, runs each ``deploy/ghz/*.json`` and leaves ghz's
reports and ``summary.json`` in ``build/load/``.

Exit codes: 0 every planned call was made and is OK; 1 a call failed, or the server did; 2 wrong usage or no
models; 3 ghz is missing and cannot be built; 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from accord.client import CallError
from deploy.ghz import tool
from deploy.ghz.loss import Loss, NoVictim, lose_one
from deploy.ghz.payload import ENSEMBLE, write_payload
from deploy.ghz.report import summary, table
from deploy.ghz.result import Run, summarise
from deploy.ghz.server import Server, ServerFailed, serving
from deploy.gotool import ToolMissing

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

CONFIGS = Path("deploy/ghz")
SERVER_CONFIG = Path("examples/digits.yaml")
FOLDER = Path("build/load")
DATA = Path("build/data/digits.npz")

EXIT_FAILED, EXIT_USAGE, EXIT_NO_GHZ, EXIT_INTERRUPTED = 1, 2, 3, 130

#: The run in which ``--kill`` strikes, once this share of its calls is answered. It sends at a steady rate,
#: so that the loss falls into the middle of it.
STRUCK = "steady"
STRIKE_AT = 0.2
#: Longest time of one run, in seconds.
RUN_WITHIN_S = 600.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the load test that the command line asks for and return the exit code."""
    options = _options(arguments)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        plans = tool.read_plans(options.config or sorted(CONFIGS.glob("*.json")), options.calls)
        write_payload(FOLDER, DATA)
    except (OSError, ValueError) as error:
        return _refuse(console, f"{error}; run this from the repository root, after: make models", EXIT_USAGE)
    if options.kill and STRUCK not in {plan.name for plan in plans}:
        return _refuse(console, f"--kill strikes in the run {STRUCK!r}, which is not asked for", EXIT_USAGE)
    try:
        return _load(plans, options, console)
    except ToolMissing as error:
        return _refuse(console, str(error), EXIT_NO_GHZ)
    except (ServerFailed, tool.GhzFailed, NoVictim, CallError, OSError) as error:
        return _refuse(console, str(error), EXIT_FAILED)
    except KeyboardInterrupt:
        return _refuse(console, "interrupted", EXIT_INTERRUPTED)


def _refuse(console: Console, problem: str, code: int) -> int:
    console.print(f"[red]error:[/] {escape(problem)}")
    return code


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deploy.ghz.load", description="Load a server with ghz.")
    parser.add_argument(
        "config", nargs="*", type=Path, help=f"ghz configurations to run; default: {CONFIGS}/*.json"
    )
    parser.add_argument("--address", help="load the server that runs there instead of starting one")
    parser.add_argument(
        "--serve", type=Path, default=SERVER_CONFIG, help="what the started server serves (%(default)s)"
    )
    parser.add_argument("--calls", type=_positive, help="calls of each run, instead of what its file says")
    parser.add_argument(
        "--kill",
        action="store_true",
        help=f"kill an optional worker in the middle of the run {STRUCK!r}; still no call may fail",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    options = parser.parse_args(arguments)
    if options.kill and options.address:
        parser.error("--kill needs a server that is started here; leave out --address")
    return options


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return int(text)


def _load(plans: Sequence[tool.Plan], options: argparse.Namespace, console: Console) -> int:
    if not tool.TOOL.is_pinned(tool.GHZ):
        with console.status(f"building ghz {tool.TOOL.version} with Go: about a minute"):
            tool.TOOL.build(tool.GHZ.parent)
    with ExitStack() as stack:
        if options.address:
            address, victim = options.address, None
        else:
            with console.status(f"starting the server: {options.serve}"):
                server = stack.enter_context(serving(options.serve, FOLDER))
            address, victim = server.address, server if options.kill else None
        runs, loss = _run_all(plans, address, victim, console)
    problems = [f"{run.name}: {run.problem}" for run in runs if run.problem]
    if loss is not None and loss.problem:
        problems.append(loss.problem)
    facts = json.dumps(summary(runs, loss, address=address, problems=problems), indent=2) + "\n"
    (FOLDER / "summary.json").write_text(facts)
    if options.json:
        sys.stdout.write(facts)
    else:
        _show(runs, loss, problems)
    return EXIT_FAILED if problems else 0


def _run_all(
    plans: Sequence[tool.Plan], address: str, victim: Server | None, console: Console
) -> tuple[list[Run], Loss | None]:
    runs: list[Run] = []
    loss = None
    columns = (SpinnerColumn(), TextColumn("{task.description:12}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TextColumn("calls"), TimeElapsedColumn(), console=console) as progress:
        bar = progress.add_task("", total=sum(plan.calls for plan in plans))
        for plan in plans:
            progress.update(bar, description=plan.name)
            with tool.start(plan, address=address, report=FOLDER / f"{plan.name}.json") as running:
                if victim is not None and plan.name == STRUCK:
                    loss = lose_one(victim, ENSEMBLE, after=int(plan.calls * STRIKE_AT), ended=running.ended)
                runs.append(summarise(running.finish(RUN_WITHIN_S)))
            progress.advance(bar, plan.calls)
        progress.update(bar, description="done")
    return runs, loss


def _show(runs: Sequence[Run], loss: Loss | None, problems: Sequence[str]) -> None:
    out = Console(soft_wrap=True, highlight=False)
    out.print(table(runs))
    if loss is not None:
        back = "did not come back" if loss.back_s is None else f"was back after {loss.back_s:.1f} s"
        out.print(
            f"Killed {loss.model} after {loss.answered_before} calls of {STRUCK!r}: "
            f"{loss.without} answers came without it; it {back}."
        )
    for problem in problems:
        out.print(f"[red]failed:[/] {escape(problem)}")
    if not problems:
        out.print(f"[green]ok:[/] all {sum(run.calls for run in runs):,} calls were answered OK")


if __name__ == "__main__":
    sys.exit(main())
