"""``accord export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from accord.commands.explain import explained
from accord.commands.output import err, out, print_json
from accord.commands.progress import Shown

__all__ = ["command"]


def command(
    place: Annotated[
        Path,
        typer.Argument(
            help="A configuration whose run is finished; or a run's folder, with `compress` and `export` "
            "as they were when it was trained.",
            metavar="CONFIG|RUN",
        ),
    ],
    *,
    repository: Annotated[
        Path | None,
        typer.Option(help="The model repository; default: as the configuration says.", metavar="DIR"),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="The model's name; a variant's is appended unless it is the trained model."),
    ] = None,
    variants: Annotated[
        list[str] | None,
        typer.Option(
            "--variant", help="Which variant; may be given several times. Default: all.", metavar="NAME"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a trained model and its variants into a model repository that a worker serves.

    A Triton serves it too, where the input is no text.

    Each becomes the next version of its model, whole or not at all. A file that does not answer as what was
    trained, or whose answers depend on the rows beside them, is refused.

    Exit codes: 0 all are written; 1 one is refused or cannot be written, those before it are; 2 the
    configuration cannot be used.
    """
    written: list[dict[str, Any]] = []
    with explained(as_json=as_json):
        from training.compress.opened import open_run  # noqa: PLC0415 - it loads torch
        from training.config import load  # noqa: PLC0415 - few ask for training
        from training.export.run import export_all  # noqa: PLC0415 - it loads torch

        config = None if place.is_dir() else load(place)[0]
        with err.status("reading the run"):
            models = open_run(place if config is None else config.out, config)
        with Shown() as shown:
            for each in models:
                for variant, version in export_all(
                    each,
                    repository=repository,
                    name=name or "",
                    variants=tuple(variants or ()),
                    tell=shown.tell,
                    report=shown.report,
                ):
                    written.append(
                        {
                            "model": version.parent.name,
                            "version": version.name,
                            "variant": variant,
                            "path": str(version),
                        }
                    )
    if as_json:
        print_json({"ok": True, "models": written})
        return
    for model in written:
        out.print(
            f"[green]exported:[/] {model['model']} version {model['version']}: {model['path']}",
            highlight=False,
        )
