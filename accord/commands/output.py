"""What all commands share: where to print, and how errors look."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from rich.console import Console

if TYPE_CHECKING:
    from gateway.config import ConfigError

__all__ = ["err", "fail", "out", "print_json", "refuse_config"]

out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """Print a value for programs; without indent, on one line and at once."""
    print(json.dumps(value, indent=indent), flush=True)  # noqa: T201 - rich would colour and wrap it


def fail(message: str, *, code: int = 1, as_json: bool = False) -> NoReturn:
    """Print an error and end with an exit code."""
    if as_json:
        print_json({"ok": False, "message": message})
        raise typer.Exit(code)
    err.print(f"[bold red]error:[/] {_plain(message)}")
    raise typer.Exit(code)


def refuse_config(error: ConfigError, *, as_json: bool = False) -> NoReturn:
    """Print every complaint about a configuration and end with exit code 2."""
    if as_json:
        print_json({"ok": False, "complaints": [_complaint(c) for c in error.complaints]})
    else:
        for complaint in error.complaints:
            err.print(f"[bold red]error:[/] {_plain(str(complaint))}")
    raise typer.Exit(2)


def _complaint(complaint: Any) -> dict[str, Any]:
    return {
        "source": complaint.source,
        "line": complaint.line,
        "path": complaint.path,
        "problem": complaint.problem,
    }


def _plain(text: str) -> str:
    return text.replace("[", r"\[")
