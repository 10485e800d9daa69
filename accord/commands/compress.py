"""``accord compress``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from accord.commands.explain import explained
from accord.commands.output import err, fail, out, print_json
from accord.commands.progress import Shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["command"]


def command(
    file: Annotated[
        Path, typer.Argument(help="The training's configuration file; its run is finished.", metavar="CONFIG")
    ],
    *,
    folder: Annotated[
        Path | None, typer.Option("--run", help="The run's folder; default: as the file says.", metavar="DIR")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make smaller and faster variants of a trained model, as the file's section compress says.

    Each is measured: size, time, metrics, and whether a row's answer is the same alone and among others.
    What was made before of the same weights is kept.

    Exit codes: 0 all are made; 1 one cannot be; 2 the file cannot be used.
    """
    with explained(as_json=as_json):
        from training.compress.opened import open_run  # noqa: PLC0415 - it loads torch
        from training.compress.variants import compress  # noqa: PLC0415 - likewise
        from training.config import load  # noqa: PLC0415 - few ask for training
        from training.loop import Stopped  # noqa: PLC0415 - it loads torch

        config, _ = load(file)
        with err.status("reading the run"):
            models = open_run(folder or config.out, config)
        made = []
        try:
            with Shown() as shown:
                for each in models:
                    found = compress(
                        each.config,
                        each.dataset,
                        each.model,
                        each.folder,
                        tell=shown.tell,
                        report=shown.report,
                    )
                    made += [dict(variant.facts) | {"task": each.task} for variant in found]
        except Stopped:
            fail("stopped; what is made is kept, and the next call goes on behind it", as_json=as_json)
    if as_json:
        print_json({"ok": True, "variants": made})
        return
    _show(made)
    out.print(f"[green]made:[/] {folder or config.out}/variants", highlight=False)


def _points(lost: float | None) -> str:
    return "undefined" if lost is None else f"{lost:+.2f}"


def _show(made: Sequence[Mapping[str, Any]]) -> None:
    tasks = list(dict.fromkeys(task for facts in made for task in facts["tasks"]))
    table = Table(
        "variant", "MB", "ms alone", "ms in 8", *(f"{task}, points lost" for task in tasks), "alone = batch"
    )
    for facts in made:
        lost = facts.get("lost_pt", {})
        name = f"{facts['task']} {facts['name']}".strip()
        alike = "yes" if facts["invariance"]["same"] else f"no, by {facts['invariance']['worst']:.2g}"
        table.add_row(
            name,
            f"{facts['bytes'] / 1e6:.1f}",
            f"{facts['ms_1']:.3f}",
            f"{facts['ms_8']:.3f}",
            *(_points(lost[task]) if task in lost else "" for task in tasks),
            alike,
        )
    out.print(table)
