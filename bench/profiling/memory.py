"""Which large allocations a request causes, and whose they are.

An allocation as large as a tensor is a copy of it, or room for one. It is ours when the innermost Python
frame is in our code or in a library that our code called, or where gRPC runs a serialiser that we gave it; it
is gRPC's when another frame of gRPC's or of the event loop, which runs gRPC's C code, is the innermost, or
when the thread runs no Python at all.
"""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import ROOT, BenchFailed
from bench.peers.environment import environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Copy", "copies", "large", "watched"]

HERE = Path(__file__).parent
#: Innermost frames in these files are the transport's, but for the one that runs our serialisers.
_TRANSPORT = ("grpc/", "asyncio/", "selectors.py", "threading.py")
_SERIALISERS = "grpc/_common.py"
_PACKAGES = "site-packages/"
#: What runs before a request comes: a module while it is imported, and what tries a model out.
_BEFORE = ("<module>", "make_ready")


@dataclass(frozen=True, slots=True)
class Copy:
    """Allocations of one place.

    Args:
        place: Function, file and line.
        ours: Whether it is our code's.
        size: Bytes of the largest.
        per_request: How many one request causes.
    """

    place: str
    ours: bool
    size: int
    per_request: float


@contextmanager
def watched(file: Path) -> Iterator[None]:
    """Make memray watch gateways that are started meanwhile.

    Args:
        file: What it writes; it is complete once the gateway has ended.

    Raises:
        NotInstalled: If memray cannot be installed.
    """
    file.unlink(missing_ok=True)
    ours = {
        "PYTHONPATH": str(HERE / "inside"),
        "BENCH_MEMRAY_PACKAGES": str(environment("profilers").packages),
        "BENCH_MEMRAY_FILE": str(file.resolve()),
    }
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def large(file: Path, least: int) -> list[Any]:
    """Return the allocations of a file, as ``large.py`` tells them.

    Args:
        file: What memray wrote.
        least: Bytes that count as large.

    Raises:
        BenchFailed: If the file cannot be read.
    """
    done = subprocess.run(  # noqa: S603 - an interpreter that we installed, our own script
        [environment("profilers").python, "-P", HERE / "large.py", file, str(least)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchFailed(f"memray's file cannot be read:\n{done.stderr.strip()[-1000:]}")
    found: list[Any] = json.loads(done.stdout)
    return found


def copies(found: Sequence[Any], requests: int, root: Path = ROOT) -> list[Copy]:
    """Sum up allocations by place, without what happens before requests or far less than once a request.

    Args:
        found: As :func:`large` returns them.
        requests: How many requests were made.
        root: Where our code lies.

    Example:
        >>> frames = [["array", "/r/protos/tensor.py", 7], ["answer", "/r/gateway/ask.py", 3]]
        >>> copies([[20, 9, frames], [1, 9, frames[1:]], [10, 5, []]], 10, Path("/r"))
        [Copy(place='array, protos/tensor.py:7', ours=True, size=9, per_request=2.0),
         Copy(place="gRPC's own threads", ours=False, size=5, per_request=1.0)]
    """
    counts: dict[tuple[str, bool], tuple[int, int]] = {}
    for count, size, frames in found:
        if any(function in _BEFORE for function, _, _ in frames):
            continue
        key = _place(frames, root)
        before = counts.get(key, (0, 0))
        counts[key] = before[0] + count, max(before[1], size)
    return [
        Copy(place, ours, size, count / requests)
        for (place, ours), (count, size) in counts.items()
        if 2 * count >= requests
    ]


def _place(frames: Sequence[Any], root: Path) -> tuple[str, bool]:
    """Return where an allocation was made, by our own frame if we called a library, and if it is ours."""
    if not frames:
        return "gRPC's own threads", False
    function, file, line = frames[0]
    short = _short(file, root)
    if short.startswith(_TRANSPORT):
        return f"{function}, {short}:{line}", short.startswith(_SERIALISERS)
    for name, path, at in frames:
        if path.startswith(f"{root}/") and _PACKAGES not in path:
            return f"{name}, {_short(path, root)}:{at}", True
    return f"{function}, {short}:{line}", True


def _short(file: str, root: Path) -> str:
    """Return a file's path inside our repository, its package or the standard library."""
    return (
        file.rpartition(_PACKAGES)[2]
        .rpartition(f"/python{sysconfig.get_python_version()}/")[2]
        .removeprefix(f"{root}/")
    )
