"""A process that is kept running: when it is started again, and when not."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.child import Child
from gateway.policies.backoff import Backoff
from tests.serving import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

#: Writes a line into the file named first, then ends with the code named second, or lives on.
MODULE = """
import sys, time
with open(sys.argv[1], "a") as file:
    file.write("started\\n")
if len(sys.argv) > 2:
    raise SystemExit(int(sys.argv[2]))
time.sleep(60)
"""


@asynccontextmanager
async def keeping(child: Child) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(child.keep_running())
    try:
        yield task
    finally:
        await child.stop(5)
        await asyncio.wait_for(task, 10)


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Tell how often the module was started."""
    (tmp_path / "noted.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    notes = tmp_path / "notes"
    notes.touch()
    return lambda: notes.read_text().count("started")


async def until(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(eventually, condition, within_s=20, what="the child is where it should be")


@pytest.mark.parametrize(("code", "replaceable"), [(2, False), (4, False), (2, True), (4, True)])
async def test_what_another_start_would_not_change_is_final(
    tmp_path: Path, started: Callable[[], int], code: int, replaceable: bool
) -> None:
    """A bad configuration, or an address in use, of the first start."""
    child = Child("c", ["noted", str(tmp_path / "notes"), str(code)], replaceable)
    async with keeping(child) as task:
        await until(task.done)
    assert (started(), child.exit_code) == (1, code)


async def test_whatever_else_ends_is_started_again(tmp_path: Path, started: Callable[[], int]) -> None:
    """Again and again, and counted."""
    child = Child("c", ["noted", str(tmp_path / "notes"), "1"], backoff=Backoff(first_s=0.01))
    async with keeping(child):
        await until(lambda: started() >= 3)
        assert child.restarts >= 2


async def test_one_that_others_serve_without_is_started_again_whatever_ends_it(
    tmp_path: Path, started: Callable[[], int]
) -> None:
    """Once it has run, no exit code of a replacement ends the server; of a single one it does."""
    for replaceable in (True, False):
        child = Child("c", ["noted", str(tmp_path / "notes"), "4"], replaceable, Backoff(first_s=0.01))
        child.restarts, before = 1, started()
        async with keeping(child) as task:
            await until(lambda: task.done() or started() >= before + 2)
            assert task.done() is not replaceable


async def test_what_is_to_stop_is_not_started_again(tmp_path: Path, started: Callable[[], int]) -> None:
    """A drain may fall into the pause before a new start; who came then would serve on alone."""
    child = Child("c", ["noted", str(tmp_path / "notes"), "1"], backoff=Backoff(first_s=0.5))
    async with keeping(child):
        await until(lambda: started() == 1 and child.pid is None)
    assert started() == 1


async def test_what_is_being_started_when_it_is_to_stop_ends(
    tmp_path: Path, started: Callable[[], int]
) -> None:
    """Told before there is a process to tell."""
    child = Child("c", ["noted", str(tmp_path / "notes")])
    task = asyncio.create_task(child.keep_running())
    await asyncio.sleep(0)
    assert child.pid is None
    await child.stop(5)
    await asyncio.wait_for(task, 10)
    assert started() == 0
