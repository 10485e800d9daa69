"""``accord unload``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from accord.commands.admin import AdminAddress, AsJson, TimeoutS, TokenFile, connected
from accord.commands.output import err, out, print_json

__all__ = ["command"]


def command(
    name: Annotated[str, typer.Argument(help="The model or ensemble to take out.")],
    *,
    admin: AdminAddress,
    with_members: Annotated[
        bool, typer.Option("--with-members", help="Take out the models of an ensemble as well.")
    ] = False,
    token_file: TokenFile = None,
    timeout_s: TimeoutS = 600.0,
    as_json: AsJson = False,
) -> None:
    """Answer no more calls to a model or ensemble until it is loaded again; calls under way are finished.

    Exit codes: 0 it is out; 1 it could not be taken out; 2 wrong usage.
    """
    with (
        connected(admin, token_file, timeout_s=timeout_s, as_json=as_json) as server,
        err.status(f"unloading {escape(name)}"),
    ):
        server.unload(name, with_members=with_members)
    if as_json:
        print_json({"ok": True, "name": name})
    else:
        out.print(f"[green]unloaded:[/] {name}", highlight=False)
