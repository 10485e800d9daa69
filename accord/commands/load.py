"""``accord load``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from accord.commands.admin import AdminAddress, AsJson, TimeoutS, TokenFile, connected
from accord.commands.output import err, out, print_json

__all__ = ["command"]


def command(
    name: Annotated[str, typer.Argument(help="The model, or the ensemble whose models to load.")],
    *,
    admin: AdminAddress,
    token_file: TokenFile = None,
    timeout_s: TimeoutS = 600.0,
    as_json: AsJson = False,
) -> None:
    """Load a model from its repository again, one instance after the other, and return when it serves.

    Exit codes: 0 it serves; 1 it does not, and what was served before is served on; 2 wrong usage.
    """
    with (
        connected(admin, token_file, timeout_s=timeout_s, as_json=as_json) as server,
        err.status(f"loading {escape(name)}"),
    ):
        server.load(name)
    if as_json:
        print_json({"ok": True, "name": name})
    else:
        out.print(f"[green]loaded:[/] {name}", highlight=False)
