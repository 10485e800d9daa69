"""How far a training is: bars on a terminal, a line now and then in a log."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from accord.commands.progress import LINE_S, Shown
from training.progress import Progress


def _told(*reports: tuple[float, Progress], terminal: bool = False) -> str:
    """Return what is printed when something is reported at some seconds."""
    now = 0.0
    file = StringIO()
    console = Console(file=file, force_terminal=terminal, width=120, color_system=None)
    shown = Shown(console, clock=lambda: now)
    with shown:
        for at, progress in reports:
            now = at
            shown.report(progress)
    return file.getvalue()


def _step(done: int, *, phase: str = "training", left: float | None = None) -> Progress:
    return Progress(phase, done, 100, left, {"polarity": 0.5} if phase == "training" else {})


def test_a_log_gets_a_line_now_and_then() -> None:
    times = [0, 1, LINE_S, LINE_S + 1, 2 * LINE_S]
    told = _told(*((at, _step(int(at))) for at in times)).splitlines()
    assert told == ["training: 30 of 100, polarity 0.500", "training: 60 of 100, polarity 0.500"]


def test_what_is_short_leaves_no_line() -> None:
    assert not _told((1, _step(50)), (2, _step(100)))


def test_what_was_begun_in_lines_ends_with_one() -> None:
    told = _told((LINE_S, _step(99)), (LINE_S + 1, _step(100)), (LINE_S + 2, _step(100)))
    assert [line.split(",")[0] for line in told.splitlines()] == [
        "training: 99 of 100",
        "training: 100 of 100",
    ]


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (0.4, "0 s left"),
        (90.0, "1 min 30 s left"),
        (119.6, "2 min 0 s left"),
        (3600.0, "60 min 0 s left"),
    ],
)
def test_what_is_left_is_whole_minutes_and_seconds(left: float, said: str) -> None:
    assert _told((LINE_S, _step(1, phase="frozen layers", left=left))) == f"frozen layers: 1 of 100, {said}\n"


def test_a_terminal_gets_bars() -> None:
    told = _told((0, _step(50, left=90.0)), terminal=True)
    assert "50/100" in told
    assert "1 min 30 s left" in told
