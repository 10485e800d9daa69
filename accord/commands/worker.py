"""``accord worker``."""

from __future__ import annotations

import typer

__all__ = ["command"]


def command(ctx: typer.Context) -> None:
    """Serve one model of a repository over the Open Inference Protocol; see `accord worker --help`."""
    from workers.main import main  # noqa: PLC0415 - it imports gRPC, which a listing of commands does not need

    raise typer.Exit(main(ctx.args))
