"""What the figures depend on besides the code: the machine, the libraries, and who else used the CPUs."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

__all__ = ["Clocks", "facts", "others"]

LIBRARIES = ("accord-gateway", "grpcio", "protobuf", "numpy", "onnxruntime")


@dataclass(frozen=True, slots=True)
class Clocks:
    """CPU time since some moment in the past, in seconds.

    Args:
        all_s: Of all CPUs, busy or idle.
        idle_s: Of all CPUs, idle.
        own_s: Of this process and of the children that have ended.
    """

    all_s: float
    idle_s: float
    own_s: float

    @classmethod
    def read(cls) -> Clocks:
        """Read them now."""
        cpus, own = psutil.cpu_times(), psutil.Process().cpu_times()
        idle_s = cpus.idle + cpus.iowait
        busy_s = cpus.user + cpus.nice + cpus.system + cpus.irq + cpus.softirq + cpus.steal
        return cls(busy_s + idle_s, idle_s, own.user + own.system + own.children_user + own.children_system)


def others(before: Clocks, after: Clocks) -> float:
    """Return the share of all CPU time that neither this process nor its children used, nor was idle.

    Example:
        >>> others(Clocks(10.0, 5.0, 1.0), Clocks(30.0, 8.0, 13.0))
        0.25
    """
    spent_s = after.all_s - before.all_s
    return max(0.0, spent_s - (after.idle_s - before.idle_s) - (after.own_s - before.own_s)) / spent_s


def facts() -> dict[str, Any]:
    """Return what kind of machine this is, and nothing that names it."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
    }
