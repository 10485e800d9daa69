"""ghz: calls over gRPC, in a closed loop or at a steady rate.

Source: ghz v0.121.0, ``runner/requester.go`` and ``runner/reporter.go``. With ``-z`` and ``--duration-stop
wait`` it stops sending when the time is over and waits for the answers; ``details`` tells of every call when
it ended, how long it took (in nanoseconds) and its status.
"""

from __future__ import annotations

import json
import os
import subprocess
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bench.figures import Call
from bench.generators import GeneratorFailed, Missing
from deploy.ghz.payload import protoset
from deploy.ghz.tool import GHZ, TOOL
from deploy.gotool import ToolMissing
from protos.oip import messages

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bench.figures import Load
    from bench.generators import Ask

__all__ = ["calls", "drive", "ensure"]

CALL_TIMEOUT_S = 10.0
#: What a run may take longer than it was asked to: the last calls' timeout, and writing the report.
_EXTRA_S = CALL_TIMEOUT_S + 20.0


def ensure() -> None:
    """Build it with Go if it is missing.

    Raises:
        Missing: If that is not possible, with what to do.
    """
    if not TOOL.is_pinned(GHZ):
        try:
            TOOL.build(GHZ.parent)
        except ToolMissing as error:
            raise Missing(str(error)) from None


def drive(ask: Ask, load: Load, seconds: float, folder: Path) -> tuple[Sequence[Call], float]:
    """Send a load; see :class:`bench.generators.Generator`.

    Raises:
        GeneratorFailed: If it fails itself. Calls that fail are told by their status.
    """
    url = urlsplit(ask.url)
    (folder / "oip.protoset").write_bytes(protoset(messages.DESCRIPTOR))
    (folder / "requests.bin").write_bytes(b"".join(_varint(len(body)) + body for body in ask.bodies))
    report = folder / "ghz.json"
    report.unlink(missing_ok=True)
    command = [
        *(
            str(GHZ.resolve()),
            "--insecure",
            "--protoset",
            str(folder / "oip.protoset"),
            "--call",
            url.path[1:],
        ),
        *("--binary-file", str(folder / "requests.bin"), "--format", "json", "--output", str(report)),
        *("--duration", f"{seconds:g}s", "--duration-stop", "wait", "--timeout", f"{CALL_TIMEOUT_S:g}s"),
        *("--concurrency", str(load.in_flight), "--connections", str(load.connections)),
        *(("--rps", str(load.rate), "--async") if load.rate else ()),
        *("--disable-template-functions", "--disable-template-data", "--cpus", "1", url.netloc),
    ]
    before = os.times()
    try:
        done = subprocess.run(  # noqa: S603 - a pinned program, our own arguments
            command, capture_output=True, text=True, check=False, timeout=seconds + _EXTRA_S
        )
    except subprocess.TimeoutExpired:
        raise GeneratorFailed(f"ghz did not end within {seconds + _EXTRA_S:.0f} s") from None
    after = os.times()
    if done.returncode or not report.exists():
        raise GeneratorFailed(f"ghz failed: {done.stderr.strip() or f'exit code {done.returncode}'}")
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return calls(json.loads(report.read_bytes())), cpu_s


def calls(report: Mapping[str, Any]) -> list[Call]:
    """Read the calls of the report that ``ghz --format json`` writes.

    Raises:
        GeneratorFailed: If it is not such a report.

    Example:
        >>> detail = {"timestamp": "2026-11-01T10:00:00.25+01:00", "latency": 2_000_000, "status": "OK"}
        >>> [(call.ended_s % 60, call.took_s, call.status) for call in calls({"details": [detail]})]
        [(0.25, 0.002, 'OK')]
    """
    try:
        return [
            Call(
                datetime.fromisoformat(detail["timestamp"]).timestamp(),
                detail["latency"] / 1e9,
                detail["status"],
            )
            for detail in report["details"] or ()
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise GeneratorFailed(f"not a report of ghz: {error!r}") from None


def _varint(number: int) -> bytes:
    """Return a number as protobuf's delimited messages have it before each."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
