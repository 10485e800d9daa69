"""How many threads a model gets, from invented cgroup files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from workers.model.runtime.threads import ThreadsError, available_cpus, intra_op_threads

if TYPE_CHECKING:
    from pathlib import Path

V1 = "sys/fs/cgroup/cpu"
V2 = "sys/fs/cgroup"


@pytest.fixture(autouse=True)
def _many_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(16)))


def host(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


QUOTAS = {
    "no cgroups": ({}, 16),
    "v2 without a limit": ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "max 100000\n"}, 16),
    "v2": ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "150000 100000\n"}, 1.5),
    "v2, limited above": (
        {
            "proc/self/cgroup": "0::/pod/app\n",
            f"{V2}/pod/cpu.max": "200000 100000",
            f"{V2}/pod/app/cpu.max": "800000 100000",
        },
        2,
    ),
    "v2, another's limit": (
        {"proc/self/cgroup": "0::/pod/app\n", f"{V2}/pod/other/cpu.max": "100000 100000"},
        16,
    ),
    "v2, only the mount is visible": (
        {"proc/self/cgroup": "0::/../hidden/app\n", f"{V2}/cpu.max": "300000 100000"},
        3,
    ),
    "v1": (
        {
            "proc/self/cgroup": "3:cpuset:/\n2:cpu,cpuacct:/docker/x\n",
            f"{V1}/docker/x/cpu.cfs_quota_us": "400000\n",
            f"{V1}/docker/x/cpu.cfs_period_us": "100000\n",
        },
        4,
    ),
    "v1 without a limit": (
        {
            "proc/self/cgroup": "2:cpu:/\n",
            f"{V1}/cpu.cfs_quota_us": "-1\n",
            f"{V1}/cpu.cfs_period_us": "100000\n",
        },
        16,
    ),
    "v1, another controller": (
        {
            "proc/self/cgroup": "2:cpuacct:/\n",
            f"{V1}/cpu.cfs_quota_us": "100000\n",
            f"{V1}/cpu.cfs_period_us": "100000\n",
        },
        16,
    ),
    "nonsense": ({"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "a b\n"}, 16),
}


@pytest.mark.parametrize(("files", "cpus"), QUOTAS.values(), ids=QUOTAS)
def test_the_least_quota_on_the_way_up_counts(tmp_path: Path, files: dict[str, str], cpus: float) -> None:
    """CPUs are the least of affinity and of every quota from the process's group to the root."""
    assert available_cpus(host(tmp_path, files)) == cpus


def test_affinity_bounds_a_generous_quota(tmp_path: Path) -> None:
    """A quota above the CPUs that the process may run on gives no more of them."""
    files = {"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "6400000 100000\n"}
    assert available_cpus(host(tmp_path, files)) == 16


@pytest.mark.parametrize(
    ("option", "cpus", "threads"),
    [
        ("auto", 4.0, 4),
        ("auto", 3.9, 3),
        ("auto", 0.2, 1),
        ("auto/3", 8.0, 2),
        ("auto/9", 4.0, 1),
        ("5", 2.0, 5),
    ],
)
def test_threads_follow_the_option(option: str, cpus: float, threads: int) -> None:
    """``auto`` divides what there is, never below one; a number is taken as it is."""
    assert intra_op_threads(option, cpus) == threads


@pytest.mark.parametrize("option", ["", "0", "-1", "auto/0", "auto/", "auto/x", "2.5", "all"])
def test_other_options_are_refused(option: str) -> None:
    """What cannot be read is an error that says what can."""
    with pytest.raises(ThreadsError, match="'auto', 'auto/K'"):
        intra_op_threads(option, 4.0)
