"""What the admin commands share: their options, and how they reach the admin address."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from accord.commands.calls import fail_call
from accord.commands.output import fail
from protos.address import Address, AddressError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from accord.admin import Admin

__all__ = ["AdminAddress", "AsJson", "TimeoutS", "TokenFile", "connected"]

AdminAddress = Annotated[
    str,
    typer.Option(
        "--admin",
        envvar="ACCORD_ADMIN",
        metavar="ADDRESS",
        help="The server's admin address: unix:PATH or host:port.",
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(envvar="ACCORD_ADMIN_TOKEN_FILE", help="File with the token that a port asks for."),
]
TimeoutS = Annotated[float, typer.Option(min=0.001, help="Deadline in seconds.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextmanager
def connected(address: str, token_file: Path | None, *, timeout_s: float, as_json: bool) -> Iterator[Admin]:
    """Connect to an admin address, and end with an error message and exit code where that or a call fails.

    Args:
        address: ``unix:PATH`` or a loopback ``host:port``.
        token_file: The file that holds the token; None where there is none.
        timeout_s: Deadline of each call in seconds.
        as_json: Whether errors are told as JSON.
    """
    from accord.admin import Admin  # noqa: PLC0415 - gRPC is not needed to list commands
    from accord.client import CallError  # noqa: PLC0415 - likewise

    try:
        local = Address.parse(address).is_local
    except AddressError as error:
        fail(f"--admin: {error}", code=2, as_json=as_json)
    if not local:
        problem = "is no loopback address, and calls are not encrypted; forward its port to this machine"
        fail(f"--admin: {address} {problem}", code=2, as_json=as_json)
    token = "" if token_file is None else _read_token(token_file, as_json=as_json)
    try:
        with Admin(address, token=token, timeout_s=timeout_s) as admin:
            yield admin
    except CallError as error:
        fail_call(error, as_json=as_json)


def _read_token(path: Path, *, as_json: bool) -> str:
    try:
        token = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        token = ""
    if not token or not token.isprintable():
        fail(f"--token-file {path}: cannot be read, or holds no line of ASCII text", code=2, as_json=as_json)
    return token
