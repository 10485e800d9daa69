"""The scalar values of a configuration, each with its rule."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from protos.address import Address

__all__ = [
    "MAX_WEIGHT",
    "SEAT_NAME",
    "AdminAddress",
    "Directory",
    "File",
    "Header",
    "HeaderValue",
    "HostPort",
    "Name",
    "Passed",
    "Processes",
    "Seconds",
    "Target",
    "Version",
]

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
SEAT_NAME = r"^[A-Za-z0-9_-]{1,64}$"

Name = Annotated[str, Field(pattern=NAME)]
#: Largest weight of a seat: sums of such weights cannot overflow.
MAX_WEIGHT = 1e9

Seconds = Annotated[float, Field(gt=0, le=86_400)]


def _version(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _processes(value: object) -> object:
    # before the union is tried: its two accounts of what is wrong would be one too many
    number = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_PROCESSES
    if value != "auto" and not number:
        raise ValueError(f"must be a number from 1 to {MAX_PROCESSES}, or auto, not {value!r:.64}")
    return value


#: Most gateway processes of a server.
MAX_PROCESSES = 64
Processes = Annotated[
    Annotated[int, Field(ge=1, le=MAX_PROCESSES)] | Literal["auto"], BeforeValidator(_processes)
]
Version = Annotated[str, BeforeValidator(_version), Field(pattern=r"^[A-Za-z0-9._-]{0,64}$")]


def _beside_file(value: Path, info: ValidationInfo) -> Path:
    return (info.context["base"] / value).resolve() if info.context else value


def _host_port(value: str) -> str:
    if Address.parse(value).socket_path is not None:
        raise ValueError("must be host:port, e.g. 127.0.0.1:8001")
    return value


def _admin_address(value: str, info: ValidationInfo) -> str:
    if not value:
        return value
    path = Address.parse(value).socket_path
    return value if path is None else Address.parse(f"unix:{_beside_file(path, info)}").text


def _readable(value: Path, info: ValidationInfo) -> Path:
    path = _beside_file(value, info)
    try:
        path.open("rb").close()
    except OSError as error:
        raise ValueError(f"the file {str(value)!r} cannot be read: {error.strerror}") from None
    return path


def _target(value: str) -> str:
    host, colon, port = value.removeprefix("dns:///").rpartition(":")
    is_path = value.startswith("unix:") and len(value) > len("unix:")
    if not is_path and not (colon and host and "/" not in host and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"must be host:port, unix:PATH or dns:///host:port, not {value!r}")
    return value


def _header(value: str) -> str:
    if not re.fullmatch(HEADER, value) or value.startswith("grpc-") or value.endswith("-bin"):
        raise ValueError(
            f"{value!r} cannot be sent: use lower-case letters, digits, '-_.', neither grpc-... nor ...-bin"
        )
    return value


File = Annotated[Path, AfterValidator(_readable)]
Target = Annotated[str, AfterValidator(_target)]
#: A name of call metadata. Source: gRPC ``PROTOCOL-HTTP2.md``, "Custom-Metadata".
HEADER = r"[a-z0-9_.-]{1,128}"
Header = Annotated[str, AfterValidator(_header)]
HeaderValue = Annotated[str, Field(pattern=r"^[ -~]{1,4096}$")]


HostPort = Annotated[str, AfterValidator(_host_port)]
#: Empty, or an address; a socket's path is relative to the file.
AdminAddress = Annotated[str, AfterValidator(_admin_address)]
#: A path relative to the file.
Directory = Annotated[Path, AfterValidator(_beside_file)]
#: Of one hop only, or set by the transport. Sources: RFC 9110, section 7.6.1; gRPC ``PROTOCOL-HTTP2.md``.
_OF_ONE_HOP = frozenset(
    {
        "connection",
        "content-length",
        "content-type",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)


def _passable(value: str) -> str:
    if value in _OF_ONE_HOP:
        raise ValueError(f"{value!r} belongs to the connection and cannot be passed on")
    return _header(value)


Passed = Annotated[str, AfterValidator(_passable)]
