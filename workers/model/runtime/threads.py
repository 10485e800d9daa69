"""How many threads a model may compute with: what the process is really given, not what the host has.

The CPU affinity of the process and the CPU quota of its cgroup both bound it; more threads than that only
throttle each other. Sources: ``sched_getaffinity(2)``; kernel "Control Group v2" (``cpu.max``) and "CFS
Bandwidth Control" (``cpu.cfs_quota_us``).
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ThreadsError", "available_cpus", "intra_op_threads"]

_OPTION = re.compile(r"auto(?:/([1-9][0-9]{0,3}))?|([1-9][0-9]{0,3})")


class ThreadsError(ValueError):
    """A ``threads`` option that cannot be read. The message is for the operator."""


def intra_op_threads(option: str, cpus: float, *, configured: int = 0) -> int:
    """Return the number of threads for one operator.

    Args:
        option: ``auto`` for all CPUs, ``auto/K`` for one of K workers that share them, or a number.
        cpus: CPUs that the process may use.
        configured: What the model's config says; 0 for nothing. A number as ``option`` wins over it, and
            ``auto`` gives way to it.

    Raises:
        ThreadsError: If the option is none of these.

    Example:
        >>> intra_op_threads("auto/3", 8.0), intra_op_threads("auto", 0.5), intra_op_threads("6", 2.0)
        (2, 1, 6)
        >>> intra_op_threads("auto/3", 8.0, configured=4), intra_op_threads("6", 2.0, configured=4)
        (4, 6)
    """
    match = _OPTION.fullmatch(option)
    if match is None:
        raise ThreadsError(
            f"threads is {option[:32]!r}; use 'auto', 'auto/K' for K workers on this host, or a number"
        )
    if match[2]:
        return int(match[2])
    return configured or max(1, int(cpus / int(match[1] or 1)))


def available_cpus(root: Path = Path("/")) -> float:
    """Return how many CPUs the process may use: the least of affinity and cgroup quotas.

    Args:
        root: Where ``proc`` and ``sys`` are.
    """
    return min([float(len(os.sched_getaffinity(0))), *_quotas(root)])


def _quotas(root: Path) -> Iterator[float]:
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return
    mounts = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:
            for directory in _up(mounts, group):
                yield from _quota_v2(directory)
        elif "cpu" in controllers.split(","):
            for directory in _up(mounts / "cpu", group):
                yield from _quota_v1(directory)


def _up(mount: Path, group: str) -> Iterator[Path]:
    """Yield a group's directory and those above it; inside a container only the mount itself may exist."""
    path = PurePosixPath(group.lstrip("/"))
    yield mount / path
    for parent in path.parents if path.parts else ():
        yield mount / parent


def _quota_v2(directory: Path) -> Iterator[float]:
    words = _read(directory / "cpu.max").split()
    if len(words) == 2 and words[0] != "max":
        yield _ratio(words[0], words[1])


def _quota_v1(directory: Path) -> Iterator[float]:
    quota, period = (_read(directory / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
    if quota and period and not quota.startswith("-"):
        yield _ratio(quota, period)


def _ratio(quota: str, period: str) -> float:
    try:
        return int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return math.inf


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError:
        return ""
