"""The command line. Subcommands load lazily, by the entry-point group ``accord.commands``.

Exit codes: 0 success; 1 the server or the call failed; 2 wrong usage or configuration; 3 a model cannot
be loaded. Programs add ``--json`` and read standard output; what people need to know goes to standard error.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

import typer
from typer.core import TyperGroup

__all__ = ["app", "main"]

GROUP = "accord.commands"


class _LazyGroup(TyperGroup):
    """Commands by entry point: `accord worker` need not import what `accord serve` needs."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(point.name for point in entry_points(group=GROUP))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        for point in entry_points(group=GROUP, name=cmd_name):
            single = typer.Typer(add_completion=False, rich_markup_mode="rich")
            single.command(name=cmd_name, **_SETTINGS.get(cmd_name, {}))(point.load())
            return typer.main.get_command(single)
        return None


# the worker reads its arguments itself: it is also started without this command line
_SETTINGS: dict[str, Any] = {
    "worker": {
        "context_settings": {
            "ignore_unknown_options": True,
            "allow_extra_args": True,
            "help_option_names": [],
        }
    }
}

app = typer.Typer(cls=_LazyGroup, no_args_is_help=True, add_completion=False, rich_markup_mode="rich")


@app.callback()
def _root() -> None:
    """Accord asks several models over gRPC and gives one answer."""


def main() -> None:
    """Run the command line."""
    app(prog_name="accord")


if __name__ == "__main__":
    main()
