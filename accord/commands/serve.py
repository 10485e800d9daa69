"""``accord serve``."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from accord.commands.output import err, fail, refuse_config
from gateway.config import ConfigError, load
from gateway.supervise import Supervisor
from protos import logs

__all__ = ["command"]


def command(
    file: Annotated[Path, typer.Argument(help="The configuration file.")],
    *,
    log_format: Annotated[
        Literal["text", "json"], typer.Option(help="For people, or for machines.")
    ] = "text",
    announce: Annotated[
        Path | None, typer.Option(help="Keep addresses and process ids in this JSON file, once ready.")
    ] = None,
) -> None:
    """Serve a configuration: its workers, its gateways and the metrics port, until SIGTERM or Ctrl-C.

    Exit codes: 0 after a drain; 2 bad configuration; 4 an address cannot be bound; 1 anything else.
    """
    logs.configure(log_format)
    try:
        config, _ = load(file, os.environ)
    except ConfigError as error:
        refuse_config(error)
    try:
        code = asyncio.run(_serve(Supervisor, config, file, log_format, announce))
    except OSError as error:
        fail(str(error), code=4)
    if code:
        err.print("[bold red]stopped with an error[/]")
    raise typer.Exit(code)


async def _serve(
    supervisor: type[Supervisor], config: object, file: Path, log_format: str, announce: Path | None
) -> int:
    return await supervisor(config, file, log_format=log_format, announce=announce).run()  # type: ignore[arg-type]
