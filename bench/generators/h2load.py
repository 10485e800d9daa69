"""h2load, from nghttp2: HTTP/1.1, HTTP/2, and gRPC as a body that is already framed.

Source: h2load(1) of nghttp2 1.52. ``--log-file`` has one line for each call: when it began and how long it
took, in microseconds, and the HTTP status between them.

It does not know gRPC: a call that fails there is HTTP 200 with a trailer. But such an answer has no message,
so the bytes of all answers together tell how many are missing; they count as ``no message``.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
from typing import TYPE_CHECKING

from bench.figures import OK, Call
from bench.generators import GeneratorFailed, Missing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.figures import Load
    from bench.generators import Ask

__all__ = ["calls", "drive", "ensure", "without_message"]

_GRPC = {"content-type": "application/grpc", "te": "trailers"}
_PREFIX_BYTES = 5
_EXTRA_S = 60.0
_DATA = re.compile(r"^traffic: .*\((\d+)\) data$", re.MULTILINE)


def ensure() -> None:
    """Find it.

    Raises:
        Missing: If it is not installed, with what to do.
    """
    if shutil.which("h2load") is None:
        raise Missing("h2load is not installed; it is in Debian's and Ubuntu's package nghttp2-client")


def drive(ask: Ask, load: Load, seconds: float, folder: Path) -> tuple[Sequence[Call], float]:
    """Send a load in a closed loop; see :class:`bench.generators.Generator`.

    Raises:
        GeneratorFailed: If it fails itself. Calls that fail are told by their status.
    """
    log, body = folder / "h2load.log", folder / "body.bin"
    log.unlink(missing_ok=True)
    body.write_bytes(_framed(ask.bodies[0]) if ask.grpc else ask.bodies[0])
    headers = _GRPC if ask.grpc else ask.headers
    # over HTTP/1.1 a connection carries one call at a time
    clients = load.connections if ask.grpc else load.in_flight
    command = [
        *("h2load", "--duration", f"{seconds * 1000:.0f}ms", "--log-file", str(log), "--data", str(body)),
        *("--clients", str(clients), "--max-concurrent-streams", str(max(1, load.in_flight // clients))),
        *(part for name, value in headers.items() for part in ("--header", f"{name}: {value}")),
        *(() if ask.grpc else ("--h1",)),
        ask.url,
    ]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    before = os.times()
    try:
        done = subprocess.run(  # noqa: S603 - a program of the system, our own arguments
            command, capture_output=True, text=True, check=False, timeout=seconds + _EXTRA_S
        )
    except subprocess.TimeoutExpired:
        raise GeneratorFailed(f"h2load did not end within {seconds + _EXTRA_S:.0f} s") from None
    after = os.times()
    if done.returncode or not log.exists():
        raise GeneratorFailed(f"h2load failed: {(done.stderr or done.stdout).strip()[-500:]}")
    made = calls(log.read_text("utf-8"))
    if ask.grpc:
        made = without_message(made, done.stdout, ask.reply_bytes)
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return made, cpu_s


def calls(log: str) -> list[Call]:
    r"""Read the calls of a log file.

    Raises:
        GeneratorFailed: If it is not such a file.

    Example:
        >>> calls("5000000\t200\t2000\n")
        [Call(ended_s=5.002, took_s=0.002, status='OK')]
    """
    found = []
    try:
        for line in log.splitlines():
            began, status, took = map(int, line.split("\t"))
            text = OK if status == 200 else f"HTTP {status}" if status > 0 else "no answer"
            found.append(Call((began + took) / 1e6, took / 1e6, text))
    except ValueError as error:
        raise GeneratorFailed(f"not a log of h2load: {error}") from None
    return found


def without_message(made: Sequence[Call], summary: str, reply_bytes: int) -> list[Call]:
    r"""Mark as many calls as lack a message, going by the bytes of all answers.

    Which ones they are is not known, so the first ones are taken.

    Args:
        made: The calls.
        summary: What h2load printed.
        reply_bytes: Length of a right reply.

    Raises:
        GeneratorFailed: If the summary does not tell the bytes.

    Example:
        >>> made = [Call(1.0, 0.1, "OK"), Call(2.0, 0.1, "OK")]
        >>> text = "traffic: 1KB (1000) total, 100B (100) headers (space savings 50%), 62B (62) data"
        >>> [call.status for call in without_message(made, text, reply_bytes=57)]
        ['no message', 'OK']
    """
    told = _DATA.search(summary)
    if told is None:
        raise GeneratorFailed(f"h2load did not tell what it received: {summary.strip()[-500:]}")
    missing = max(0, len(made) - int(told[1]) // (_PREFIX_BYTES + reply_bytes))
    lost = [Call(call.ended_s, call.took_s, "no message") for call in made[:missing]]
    return [*lost, *made[missing:]]


def _framed(message: bytes) -> bytes:
    """Return a message as gRPC sends it: uncompressed, after its length."""
    return b"\0" + len(message).to_bytes(_PREFIX_BYTES - 1, "big") + message
