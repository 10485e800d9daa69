"""``accord import``."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table

from accord.commands.output import err, fail, out, print_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from accord.importing.values import BrokenGraphs, Found, Imported
    from protos.model import ModelSpec

__all__ = ["command"]


def command(
    kind: Annotated[Literal["triton"], typer.Argument(help="What is imported.")],
    directory: Annotated[Path, typer.Argument(help="The model repository.", metavar="DIR")],
    *,
    file: Annotated[
        Path | None,
        typer.Option("--out", help="The configuration file to write; default: print it.", metavar="FILE"),
    ] = None,
    triton: Annotated[
        str,
        typer.Option(
            help="A Triton that serves the repository: what we cannot host is asked there.",
            metavar="HOST:PORT",
        ),
    ] = "",
    force: Annotated[bool, typer.Option(help="Overwrite the file if it is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a configuration that serves a Triton repository, its ensembles included.

    What could not be carried over exactly is named: in a table here, and in the file beside its place.

    Exit codes: 0 it is written, whatever was left out; 1 the file is there already, or cannot be
    written; 2 the repository cannot be imported. Unless it is 0, nothing is written.
    """
    from accord.importing import document, repository  # noqa: PLC0415 - they import gRPC
    from accord.importing.values import BrokenGraphs  # noqa: PLC0415 - likewise
    from workers.model.errors import ModelError  # noqa: PLC0415 - likewise

    if file is not None and file.exists() and not force:
        fail(f"{file} is there already; name another file, or overwrite it by --force", as_json=as_json)
    if triton:
        _check_target(triton, as_json=as_json)
    logging.disable(logging.WARNING)  # what reading has to say comes back as notes
    beside = (file or Path("accord.yaml")).resolve().parent
    try:
        found = repository.read(directory)
        imported = _served(found, os.path.relpath(directory.resolve(), beside), triton)
    except ModelError as error:
        fail(str(error), code=2, as_json=as_json)
    except BrokenGraphs as error:
        _refuse(error, as_json=as_json)
    if not imported.models:
        _show(imported, to_error=True, as_json=as_json)
        fail("there is nothing that could be served", code=2, as_json=as_json)
    text = document.write(imported, str(directory))
    if file is not None:
        try:
            file.write_text(text, encoding="utf-8")
        except OSError as error:
            fail(f"{file} cannot be written: {error.strerror}", as_json=as_json)
    if as_json:
        config = {"models": imported.models, "ensembles": imported.ensembles}
        written = None if file is None else str(file)
        print_json(
            {"ok": True, "file": written, "config": config, "notes": [asdict(n) for n in imported.notes]}
        )
        return
    if file is None:
        sys.stdout.write(text)
    _show(imported, to_error=file is None)
    if file is not None:
        parts = f"{len(imported.models)} models, {len(imported.ensembles)} ensembles"
        out.print(f"[green]written:[/] {escape(str(file))}: {parts}", highlight=False)
        out.print(f"Next: accord check {escape(str(file))}", highlight=False)


def _served(found: Mapping[str, Found], folder: str, triton: str) -> Imported:
    """Translate, and compile the plans; an ensemble that does not compile is taken out with the reason."""
    from accord.importing.translate import translate  # noqa: PLC0415 - it imports gRPC
    from gateway.config import Config  # noqa: PLC0415 - only this command of the module needs it
    from gateway.engine.compile import compile_ensemble  # noqa: PLC0415 - likewise

    refused: dict[str, str] = {}
    while True:
        imported = translate(found, folder=folder, triton=triton, refused=refused)
        config = Config.model_validate({"models": imported.models, "ensembles": imported.ensembles})
        whole = {name: _spec(found, name, model) for name, model in imported.models.items()}
        # at its start a gateway knows nothing of what others host
        at_start = {name: spec if config.models[name].local else None for name, spec in whole.items()}
        problems = [
            problem
            for specs in (whole, at_start)
            for name in config.ensembles
            for problem in compile_ensemble(config, name, specs)[1]
        ]
        if not problems:
            return imported
        refused |= {problem.ensemble: problem.message for problem in problems}


def _spec(found: Mapping[str, Found], name: str, model: Mapping[str, Any]) -> ModelSpec | None:
    (backend,) = (model[kind] for kind in ("worker", "oip") if kind in model)
    return found[backend.get("model", name)].spec


def _check_target(triton: str, *, as_json: bool) -> None:
    from gateway.config.schema import Oip  # noqa: PLC0415 - only this option needs it

    try:
        Oip.model_validate({"targets": [triton]})
    except ValueError:
        fail(f"--triton must be host:port, not {triton!r}", code=2, as_json=as_json)


def _refuse(error: BrokenGraphs, *, as_json: bool) -> None:
    if as_json:
        print_json({"ok": False, "faults": [asdict(fault) for fault in error.faults]})
    for fault in () if as_json else error.faults:
        err.print(f"[bold red]error:[/] {escape(str(fault))}", highlight=False)
    if not as_json:
        err.print("nothing is written: Triton would not load these ensembles either")
    raise typer.Exit(2)


def _show(imported: Imported, *, to_error: bool, as_json: bool = False) -> None:
    if as_json or not imported.notes:
        return
    table = Table(title="Not carried over as it is", show_lines=True)
    for heading in ("model", "field", "what it means", "what to do"):
        table.add_column(heading, overflow="fold")
    for note in imported.notes:
        name = f"{escape(note.model)}\n[red]left out[/]" if note.left_out else escape(note.model)
        table.add_row(name, *(escape(text) for text in (note.field, note.meaning, note.remedy)))
    (err if to_error else out).print(table, soft_wrap=False)
