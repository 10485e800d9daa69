"""``accord evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from accord.commands.explain import explained
from accord.commands.output import err, out, print_json

if TYPE_CHECKING:
    from training.evaluate.findings import Study, TaskStudy

__all__ = ["command"]


def command(
    places: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of finished runs, or configurations whose runs are finished.",
            metavar="CONFIG|RUN...",
        ),
    ],
    *,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Where the report goes; default: evaluation/ in the first run.", metavar="DIR"
        ),
    ] = None,
    baselines: Annotated[bool, typer.Option(help="Also compare with simple baselines.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare trained models with each other and with simple baselines, on the test rows of their data.

    Every figure and every difference has a 95 % interval. Runs that differ in nothing but their seed count as
    one model. The report is one HTML file, with its figures and the same findings as JSON beside it.

    Exit codes: 0 the report is written; 1 runs, data or report have a fault; 2 a configuration has.
    """
    with explained(as_json=as_json):
        from training.evaluate import report as reports  # noqa: PLC0415 - few have what training needs
        from training.evaluate.runs import gather, simple  # noqa: PLC0415 - likewise
        from training.evaluate.study import compare_models  # noqa: PLC0415 - likewise

        runs = list(dict.fromkeys(_run(place).resolve() for place in places))  # a run counts once
        with err.status("reading runs and their data"):
            found = gather(runs)
        with err.status("fitting simple baselines"):
            models = [*found.models, *(simple(found) if baselines else ())]
        with err.status("drawing test rows"):
            study = compare_models(found.dataset, models, cascades=found.cascades)
        title = f"Evaluation of {found.models[0].name}"
        report = reports.Report(
            title=title, study=study, card=found.dataset.card, histories=found.histories, notes=found.notes
        )
        page = reports.write(report, folder or runs[0] / "evaluation")
    if as_json:
        print_json({"ok": True, "report": str(page), **reports.as_json(report)})
        return
    for task in study.tasks:
        out.print(_table(study, task))
    for sentence in reports.claims(study):
        out.print(sentence, highlight=False, markup=False)
    for note in found.notes:
        err.print(f"[yellow]note:[/] {note}", highlight=False)
    out.print(f"[green]written:[/] {page}", highlight=False)


def _run(place: Path) -> Path:
    if place.is_dir():
        return place
    from training.config import load  # noqa: PLC0415 - only some have what training needs

    return load(place)[0].out


def _table(study: Study, task: TaskStudy) -> Table:
    from training.evaluate.metrics import METRICS  # noqa: PLC0415 - only some have what training needs
    from training.evaluate.words import points, range_of, value  # noqa: PLC0415 - likewise

    names = task.metrics
    headings = ["model", *(METRICS[name].title for name in names), f"{METRICS[task.main].title}, difference"]
    table = Table(*headings, title=f"{task.task}: {task.rows:,} test rows")
    for model in study.models:
        values = task.values.get(model.name)
        if values is None:
            continue
        cells = [
            f"{value(values[name].estimate, name)}\n[dim]{range_of(values[name], name)}[/]" for name in names
        ]
        gain = task.differences.get(model.name, {}).get(task.main)
        said = (
            ""
            if gain is None
            else f"{points(gain, task.main)}\n[dim]{range_of(gain, task.main, signed=True)}[/]"
        )
        table.add_row(f"{model.name}\n[dim]{model.role.value}[/]", *cells, said)
    return table
