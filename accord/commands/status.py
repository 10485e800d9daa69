"""``accord status``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from accord.commands.output import fail, out, print_json

__all__ = ["command"]


def command(
    address: Annotated[
        str, typer.Option(envvar="ACCORD_ADDRESS", help="The gateway's gRPC address.")
    ] = "127.0.0.1:8001",
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a running gateway serves, and which members are ready. Exit code 1 if anything is not."""
    from accord.client import CallError, Client  # noqa: PLC0415 - gRPC is not needed to list commands

    try:
        with Client(address, timeout_s=5.0) as client:
            served = [(summary, client.describe(summary.name)) for summary in client.list()]
    except CallError as error:
        fail(f"{address}: {error}")
    if as_json:
        print_json(
            [
                {
                    "name": s.name,
                    "version": s.version,
                    "strategy": s.strategy,
                    "ready": s.ready,
                    "members": [{"seat": m.seat, "ready": m.ready, "problem": m.problem} for m in d.members],
                }
                for s, d in served
            ]
        )
    else:
        table = Table("name", "version", "strategy", "ready", "members", "not ready")
        for summary, description in served:
            problems = [f"{m.seat}: {m.problem}" for m in description.members if not m.ready]
            table.add_row(
                summary.name,
                summary.version,
                summary.strategy or "[dim]model[/]",
                "[green]yes[/]" if summary.ready else "[red]no[/]",
                f"{summary.members_ready}/{summary.members}" if summary.members else "",
                "\n".join(problems),
            )
        out.print(table)
    raise typer.Exit(0 if all(summary.ready for summary, _ in served) else 1)
