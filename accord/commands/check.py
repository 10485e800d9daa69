"""``accord check``."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table

from accord.commands.output import err, fail, out, print_json, refuse_config
from gateway.config import Complaint, ConfigError, load

if TYPE_CHECKING:
    from accord.graph.shown import Shown
    from gateway.config import Config, Document
    from gateway.config.schema import InProcess, Worker
    from protos.model import ModelSpec

__all__ = ["command"]


def command(
    file: Annotated[Path, typer.Argument(help="The configuration file.")],
    picture: Annotated[
        Path | None, typer.Argument(help="With --graph: also draw the plans, into this .svg or .png file.")
    ] = None,
    *,
    online: Annotated[bool, typer.Option(help="Also ask remote servers about their models.")] = False,
    graph: Annotated[
        bool, typer.Option("--graph", help="Also show what each ensemble asks, and who reads what of whom.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Prove a configuration: load every local model and show that the members' answers can be merged.

    Local models are also asked whether a row's answer depends on the rows beside it.

    Exit codes: 0 it can be served; 1 the picture cannot be written; 2 it cannot be served.
    """
    if picture is not None:
        _check_picture(picture, graph=graph, as_json=as_json)
    try:
        config, document = load(file, os.environ)
    except ConfigError as error:
        refuse_config(error, as_json=as_json)
    logging.disable(logging.WARNING)  # what loading has to say comes back as complaints
    specs, complaints, unproved = _learn(config, document, online=online)

    from gateway.check import prove, warnings  # noqa: PLC0415 - it imports gRPC

    complaints += prove(config, document, specs)
    if complaints:
        refuse_config(ConfigError(complaints), as_json=as_json)
    found = list(warnings(config, specs))
    plans = _plans(config, specs) if graph else []
    if picture is not None:
        _draw(plans, picture, as_json=as_json)
    if as_json:
        models = {name: _rows(config, name, spec) for name, spec in specs.items()}
        about = {"ok": True, "complaints": [], "warnings": found, "unproved": unproved, "models": models}
        print_json(about | ({"plans": [asdict(plan) for plan in plans]} if graph else {}))
        return
    _show(config, specs)
    _show_models(config, specs)
    for plan in plans:
        _show_plan(plan)
    for warning in found:
        err.print(f"[yellow]warning:[/] {warning}")
    for name in unproved:
        err.print(f"[yellow]unproved:[/] model {name!r} is remote; use --online to ask its server")
    out.print(f"[green]ok:[/] {file}", highlight=False)


def _check_picture(picture: Path, *, graph: bool, as_json: bool) -> None:
    if not graph:
        fail(f"{picture} would show the plans: add --graph", code=2, as_json=as_json)
    if picture.suffix not in (".svg", ".png"):
        fail(f"a picture is an .svg or a .png, not {picture.name!r}", code=2, as_json=as_json)


def _plans(config: Config, specs: dict[str, ModelSpec | None]) -> list[Shown]:
    from accord.graph.shown import show  # noqa: PLC0415 - few ask for it
    from gateway.engine.compile import compile_ensemble  # noqa: PLC0415 - it imports gRPC

    return [show(compile_ensemble(config, name, specs)[0]) for name in config.ensembles]


def _draw(plans: list[Shown], picture: Path, *, as_json: bool) -> None:
    from accord.graph import png, svg  # noqa: PLC0415 - few ask for it
    from accord.graph.drawing import drawing  # noqa: PLC0415 - likewise
    from accord.graph.layout import layout  # noqa: PLC0415 - likewise

    layouts = [layout(drawing(plan)) for plan in plans]
    if not layouts:
        fail("there is no ensemble to draw", as_json=as_json)
    try:
        if picture.suffix == ".svg":
            picture.write_text(svg.draw(layouts), encoding="utf-8")
        else:
            png.save(layouts, picture)
    except OSError as error:
        fail(f"{picture} cannot be written: {error.strerror}", as_json=as_json)
    except ImportError:
        fail("a .png needs matplotlib: install accord-gateway[demo], or name an .svg", as_json=as_json)


def _show_plan(plan: Shown) -> None:
    from accord.graph.text import tree  # noqa: PLC0415 - few ask for it

    out.print(tree(plan), soft_wrap=False)


def _learn(
    config: Config, document: Document, *, online: bool
) -> tuple[dict[str, ModelSpec | None], list[Complaint], list[str]]:
    """Find out what each model says of itself."""
    from gateway.members.oip import learn  # noqa: PLC0415 - it imports gRPC
    from workers.model.errors import ModelError  # noqa: PLC0415 - likewise

    specs: dict[str, ModelSpec | None] = dict.fromkeys(config.models)
    complaints: list[Complaint] = []
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    ) as progress:
        for name, model in config.models.items():
            progress.add_task(f"model {name}")
            if model.local is not None:
                try:
                    specs[name] = _loaded(name, model.local)
                except ModelError as error:
                    backend = "worker" if model.worker else "inprocess"
                    complaints.append(document.complain(("models", name, backend), str(error)))
            elif model.oip is not None and online:
                specs[name] = asyncio.run(learn(name, model.oip))
                if specs[name] is None:
                    servers = ", ".join(model.oip.targets)
                    problem = f"none of {servers} answered that the model is ready"
                    complaints.append(document.complain(("models", name, "oip"), problem))
    unproved = [
        name for name, model in config.models.items() if model.oip is not None and specs[name] is None
    ]
    return specs, complaints, unproved


def _loaded(name: str, local: Worker | InProcess) -> ModelSpec:
    """Load a model and find out what it is.

    Raises:
        ModelError: If it cannot be served.
    """
    from workers.model import repository, session  # noqa: PLC0415 - they load the model runtime
    from workers.model.independence import examine  # noqa: PLC0415 - likewise
    from workers.model.runtime.instances import CPU  # noqa: PLC0415 - likewise

    files = repository.find(local.repository, local.model or name, local.version)
    # on the CPU, so that a configuration can be proved where there is no GPU
    loaded = session.load(files, wanted=("cpu",), placement=CPU, require_digests=local.require_digests)
    examine(loaded)
    return loaded.spec


def _rows(config: Config, name: str, spec: ModelSpec | None) -> dict[str, bool | None]:
    """Say how the rows of a model's requests may travel; None = not known."""
    from gateway.engine.mixing import may_mix  # noqa: PLC0415 - it imports gRPC

    return {
        "independent": None if spec is None else spec.independent,
        "mixes": may_mix(config.models[name], spec),
    }


def _show_models(config: Config, specs: dict[str, ModelSpec | None]) -> None:
    words = {True: "yes", False: "no", None: "not known"}
    table = Table("model", "backend", "rows per call", "rows independent", "requests share calls")
    for name, spec in specs.items():
        model = config.models[name]
        backend = next(kind for kind in ("worker", "inprocess", "oip") if getattr(model, kind))
        batches = spec is not None and spec.batches
        rows = _rows(config, name, spec)
        table.add_row(
            name,
            backend,
            "" if spec is None else str((model.max_rows or spec.max_rows) if batches else "does not batch"),
            words[rows["independent"]] if batches or spec is None else "",
            words[rows["mixes"]] if batches or spec is None else "",
        )
    out.print(table)


def _show(config: Config, specs: dict[str, ModelSpec | None]) -> None:
    from gateway.engine.compile import compile_ensemble  # noqa: PLC0415 - it imports gRPC

    table = Table("ensemble", "strategy", "members", "inputs", "outputs")
    for name, ensemble in config.ensembles.items():
        plan, _ = compile_ensemble(config, name, specs)
        table.add_row(
            name,
            ensemble.strategy.kind,
            "\n".join(member.seat for member in ensemble.members),
            "\n".join(f"{s.name} {s.datatype} {list(s.shape)}" for s in plan.inputs).replace("[", r"\["),
            "\n".join(f"{s.name} {s.datatype} {list(s.shape)}" for s in plan.outputs).replace("[", r"\["),
        )
    out.print(table)
