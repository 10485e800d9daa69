"""Where a process spends its time, by sampling: py-spy's stacks, summed up by function and by part.

Source: py-spy "record", ``--format raw``: a line for each stack, outermost frame first, and its samples.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from typing import TYPE_CHECKING

from bench import BenchFailed
from bench.peers.environment import environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["RATE", "by_function", "by_part", "read", "record"]

#: Samples per second; odd, so as not to beat with timers.
RATE = 199
_FRAME = re.compile(r"^(?P<function>.*) \((?P<file>[^()]*?)(?::\d+)?\)$")
#: The thread that runs the event loop; the others wait, or run no Python.
_MAIN = "_run_module_as_main"
#: What runs when the innermost Python frame is the event loop's: it calls C code, which has no frames.
_LOOP = {
    "Handle._run (asyncio/events.py)": "gRPC's Cython and C",
    "EpollSelector.select (selectors.py)": "epoll",
}
_OURS = ("gateway/", "protos/", "workers/")


def record(pid: int, seconds: float, folder: Path) -> Counter[tuple[str, ...]]:
    """Sample a process and return its stacks.

    Args:
        pid: The process.
        seconds: How long.
        folder: Where py-spy's file goes.

    Raises:
        NotInstalled: If py-spy cannot be installed.
        BenchFailed: If it cannot attach, with its own words.
    """
    program, raw = environment("profilers").home / "bin" / "py-spy", folder / "py-spy.raw"
    done = subprocess.run(  # noqa: S603 - a program that we installed
        [
            *(program, "record", "--pid", str(pid), "--duration", f"{seconds:.0f}", "--rate", str(RATE)),
            *("--format", "raw", "--output", raw),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchFailed(f"py-spy cannot attach; it needs the right to trace: {done.stderr.strip()[-500:]}")
    return read(raw.read_text("utf-8"))


def read(raw: str) -> Counter[tuple[str, ...]]:
    r"""Return the main thread's stacks without line numbers, from the first frame that the event loop called.

    Example:
        >>> loop = "_run_module_as_main (<frozen runpy>:1);Handle._run (asyncio/events.py:80)"
        >>> read(f"{loop};f (gateway/a.py:3) 2\n{loop};f (gateway/a.py:4) 3\nThread.run (threading.py:9) 1\n")
        Counter({('f (gateway/a.py)',): 5})
    """
    found: Counter[tuple[str, ...]] = Counter()
    for line in raw.splitlines():
        text, _, count = line.rpartition(" ")
        if not text.startswith(_MAIN):
            continue
        frames = [_named(frame) for frame in text.split(";")]
        last = max((i for i, frame in enumerate(frames) if frame in _LOOP), default=-1)
        called = frames[last + 1 :] if last >= 0 else frames[-1:]
        found[tuple(called) or (_LOOP[frames[-1]],)] += int(count)
    return found


def by_function(stacks: Mapping[tuple[str, ...], int]) -> Counter[str]:
    """Return each function's own samples.

    Example:
        >>> by_function({("a (x.py)", "b (y.py)"): 2, ("a (x.py)",): 1})
        Counter({'b (y.py)': 2, 'a (x.py)': 1})
    """
    found: Counter[str] = Counter()
    for stack, count in stacks.items():
        found[stack[-1]] += count
    return found


def by_part(stacks: Mapping[tuple[str, ...], int]) -> Counter[str]:
    """Return samples by part: a folder of ours, or the library that one of ours called.

    Example:
        >>> by_part({("a (gateway/engine/x.py)", "b (numpy/_core/y.py)"): 2, ("c (gateway/engine/x.py)",): 1})
        Counter({'gateway/engine': 3})
    """
    found: Counter[str] = Counter()
    for stack, count in stacks.items():
        own = next((frame for frame in reversed(stack) if _file(frame).startswith(_OURS)), None)
        found[_part(own or stack[-1])] += count
    return found


def _part(frame: str) -> str:
    file = _file(frame)
    if not file:
        return frame
    return "/".join(file.split("/")[:2]).removesuffix(".py") if file.startswith(_OURS) else file.split("/")[0]


def _file(frame: str) -> str:
    match = _FRAME.match(frame)
    return match["file"] if match else ""


def _named(frame: str) -> str:
    """Return a frame without its line."""
    match = _FRAME.match(frame)
    return f"{match['function']} ({match['file']})" if match else frame
