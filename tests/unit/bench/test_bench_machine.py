"""The machine: who used its CPUs, and what is told of it."""

from __future__ import annotations

import doctest
import platform
import time
from pathlib import Path

import pytest

from bench import machine
from bench.machine import Clocks, facts, others

START = Clocks(all_s=100.0, idle_s=40.0, own_s=20.0)


def test_examples_are_true() -> None:
    """What the docstring shows is what the function returns."""
    found = doctest.testmod(machine)
    assert found.attempted >= 1
    assert found.failed == 0


@pytest.mark.parametrize(
    ("idle_s", "own_s", "share"),
    [(10.0, 0.0, 0.0), (0.0, 10.0, 0.0), (4.0, 6.0, 0.0), (0.0, 0.0, 1.0), (5.0, 2.5, 0.25)],
)
def test_others_are_what_is_neither_idle_nor_ours(idle_s: float, own_s: float, share: float) -> None:
    """Of ten seconds of CPU time, what was idle and what we used ourselves is nobody else's."""
    assert others(START, Clocks(110.0, 40.0 + idle_s, 20.0 + own_s)) == pytest.approx(share)


def test_clocks_of_different_grain_yield_no_negative_share() -> None:
    """Our own clock may tick before the machine's does."""
    assert others(START, Clocks(110.0, 45.0, 25.01)) == 0.0


def test_own_work_counts_as_own() -> None:
    """A process that computes sees its own clock run, and all CPUs' clock at least as fast."""
    before, until = Clocks.read(), time.process_time() + 0.05
    while time.process_time() < until:
        pass
    assert Clocks.read().own_s - before.own_s > 0.02


def test_facts_name_no_machine() -> None:
    """What is published tells the kind of machine; neither a host nor a path."""
    text = str(facts())
    assert (platform.node() or "nameless") not in text
    assert str(Path.cwd()) not in text
