"""``accord train``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from accord.commands.explain import explained
from accord.commands.output import err, fail, out, print_json
from accord.commands.progress import Shown

__all__ = ["command"]


def command(
    file: Annotated[Path, typer.Argument(help="The training's configuration file.", metavar="CONFIG")],
    *,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="The run's folder, new or empty unless --resume; default: as the file says.",
            metavar="DIR",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the run's checkpoint, if it has one.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Say what it will take: rows, steps, minutes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train the models that a file describes.

    Ctrl-C ends it with a checkpoint, from which --resume goes on.

    Exit codes: 0 it is trained; 1 it failed or was stopped; 2 the file cannot be used.
    """
    with explained(as_json=as_json):
        from training import loop, plan  # noqa: PLC0415 - they load torch
        from training.config import load  # noqa: PLC0415 - few ask for training
        from training.data.load import load as load_data  # noqa: PLC0415 - likewise
        from training.evaluate.metrics import measure  # noqa: PLC0415 - likewise

        config, _ = load(file)
        with err.status("reading the data"):
            dataset = load_data(config)
        if dry_run:
            with err.status("timing a few steps"):
                made = plan.plan(config, dataset)
            _show_plan(asdict(made), as_json=as_json)
            return
        where = folder or config.out
        try:
            with Shown() as shown:
                run = loop.train(config, dataset, where, resume=resume, measure=measure, report=shown.report)
        except loop.Stopped as stopped:
            there = "" if folder is None else f" --out {folder}"
            fail(f"{stopped}: accord train {file} --resume{there}", as_json=as_json)
    if as_json:
        print_json({"ok": True, "run": str(run.folder)} | dict(run.metrics))
        return
    _show(run.metrics)
    for each in (run, *run.parts.values()):
        for what, counts in each.card.get("cut", {}).items():
            if any(counts.values()):
                told = ", ".join(f"{part} {count}" for part, count in counts.items())
                err.print(f"[yellow]note:[/] {what} cut off by data.max_length: {told}", highlight=False)
    out.print(f"[green]trained:[/] {run.folder}", highlight=False)


def _show_plan(made: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json({"ok": True} | made)
        return
    table = Table("", *made["rows"], title="rows")
    table.add_row("all", *(str(count) for count in made["rows"].values()))
    for task, counts in made["labelled"].items():
        table.add_row(f"labelled for {task}", *(str(count) for count in counts.values()))
    out.print(table)
    frozen = f", frozen layers {made['frozen_s']:.0f} s" if made["frozen_s"] else ""
    whole_s = made["minutes"] * 60
    takes = f"{made['minutes']:.1f} minutes" if whole_s >= 120 else f"{whole_s:.0f} s"
    out.print(f"{made['steps']} steps of {made['step_s'] * 1000:.0f} ms{frozen}: {takes}")


def _show(metrics: Any) -> None:
    table = Table("task", "metric", *metrics["metrics"], title="metrics")
    tasks: dict[str, Any] = next(iter(metrics["metrics"].values()), {})
    for task, found in tasks.items():
        for name in found:
            values = [each[task].get(name) for each in metrics["metrics"].values()]
            table.add_row(task, name, *("-" if value is None else f"{value:.4f}" for value in values))
    out.print(table)
