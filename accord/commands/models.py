"""``accord models``."""

from __future__ import annotations

from dataclasses import asdict

from rich.table import Table

from accord.commands.admin import AdminAddress, AsJson, TimeoutS, TokenFile, connected
from accord.commands.output import out, print_json

__all__ = ["command"]

_COLOURS = {"READY": "green", "UNAVAILABLE": "red"}


def command(
    *, admin: AdminAddress, token_file: TokenFile = None, timeout_s: TimeoutS = 10.0, as_json: AsJson = False
) -> None:
    """List every ensemble and model of a running server, and the state of each version.

    Exit codes: 0 the server answered, whatever the states; 1 it did not; 2 wrong usage.
    """
    with connected(admin, token_file, timeout_s=timeout_s, as_json=as_json) as server:
        states = server.index()
    if as_json:
        print_json([asdict(state) for state in states])
        return
    table = Table("name", "version", "state", "reason")
    for state in states:
        colour = _COLOURS.get(state.state, "yellow")
        table.add_row(state.name, state.version, f"[{colour}]{state.state}[/]", state.reason)
    out.print(table)
