"""``accord version``."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from accord.commands.output import out, print_json

__all__ = ["command"]

_PARTS = ("grpcio", "protobuf", "numpy", "onnxruntime", "onnxruntime-gpu", "tritonclient")


def command(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the versions of Accord and of what it runs on."""
    found = {"accord-gateway": version("accord-gateway"), "python": platform.python_version()}
    for part in _PARTS:
        try:
            found[part] = version(part)
        except PackageNotFoundError:
            continue
    if as_json:
        print_json(found)
    else:
        for name, number in found.items():
            out.print(f"{name} {number}", highlight=False)
