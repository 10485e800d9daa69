"""How a failed call looks on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import typer
from rich.markup import escape

from accord.commands.output import err, fail, print_json

if TYPE_CHECKING:
    from accord.client import CallError

__all__ = ["fail_call"]


def fail_call(error: CallError, *, as_json: bool, indent: int | None = 2) -> NoReturn:
    """Print why a call failed, and which members did, and end with exit code 1."""
    if as_json:
        told = {"ok": False, "code": error.code, "reason": error.reason, "message": error.message}
        print_json(told, indent=indent)
        raise typer.Exit(1)
    for member in error.members:
        err.print(f"  {member.seat}: {escape(member.message)}")
    fail(str(error))
