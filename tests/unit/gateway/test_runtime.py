"""What the processes of a server know of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.runtime import Decisions, control_socket, gateway_processes, read_decisions, write_decisions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@pytest.mark.parametrize(
    ("cpus", "threads", "processes"),
    [
        (8.0, [], 8),  # only remote models
        (8.0, [2, 2, 1], 3),
        (8.0, [None], 1),  # a worker without threads takes its share: here all
        (8.0, [None, None, None], 2),  # 2 each, and 2 are left
        (8.0, [None, 1], 3),
        (2.5, [1], 1),
        (0.5, [], 1),
        (2.0, [1, 1, 1], 1),
        (256.0, [8], 64),
    ],
)
def test_auto_is_what_the_workers_leave(cpus: float, threads: Sequence[int | None], processes: int) -> None:
    """At least one, at most 64."""
    assert gateway_processes("auto", cpus, threads) == processes


def test_a_number_is_a_number() -> None:
    """Whatever there is."""
    assert gateway_processes(7, 1.0, [4]) == 7


def test_decisions_are_read_as_they_were_left(tmp_path: Path) -> None:
    """None at first; then always the last, whole."""
    assert read_decisions(tmp_path) == Decisions()
    for decisions in (Decisions(out=("m", "e"), log={"log_info": False}), Decisions()):
        write_decisions(decisions, tmp_path)
        assert read_decisions(tmp_path) == decisions


def test_every_process_has_a_socket_of_its_own(tmp_path: Path) -> None:
    """None of them is a worker's."""
    names = {control_socket(tmp_path, number).name for number in range(64)}
    assert len(names) == 64
    assert not any(name.startswith("w") for name in names)
