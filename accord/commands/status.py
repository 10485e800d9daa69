"""``accord status``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from accord.commands.output import fail, out, print_json

if TYPE_CHECKING:
    from accord.v1 import ensemble_pb2 as pb

__all__ = ["command"]

_POLL_S = 0.2


def command(
    address: Annotated[
        str, typer.Option(envvar="ACCORD_ADDRESS", help="The gateway's gRPC address.")
    ] = "127.0.0.1:8001",
    *,
    wait_s: Annotated[float, typer.Option(min=0, help="Wait this long for everything to be ready.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a running gateway serves, and which members are ready. Exit code 1 if anything is not."""
    from accord.client import CallError  # noqa: PLC0415 - gRPC is not needed to list commands

    until = time.monotonic() + wait_s
    while True:
        try:
            served = _ask(address)
            if all(summary.ready for summary, _ in served) or time.monotonic() >= until:
                break
        except CallError as error:
            if time.monotonic() >= until:
                fail(f"{address}: {error}", as_json=as_json)
        time.sleep(_POLL_S)
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


def _ask(address: str) -> list[tuple[pb.EnsembleSummary, pb.DescribeEnsembleResponse]]:
    from accord.client import Client  # noqa: PLC0415 - gRPC is not needed to list commands

    with Client(address, timeout_s=5.0) as client:
        return [(summary, client.describe(summary.name)) for summary in client.list()]
