"""One run at a time, in order, bounded, and given up when nobody waits."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

import pytest

from protos.errors import AccordError, Reason
from workers.runner import Runner

if TYPE_CHECKING:
    from workers.model.session import Abort


class Gate:
    """Work that is under way until it is opened or told to end."""

    def __init__(self) -> None:
        self.began, self.open, self.aborted = threading.Event(), threading.Event(), threading.Event()

    def work(self, abort: Abort) -> str:
        self.began.set()
        while not self.open.wait(0.001):
            if abort.is_set:
                self.aborted.set()
                raise RuntimeError("ended early")
        return "done"

    async def has_begun(self) -> None:
        await asyncio.to_thread(self.began.wait, 10)


async def until_queued(runner: Runner, number: int) -> None:
    while runner._queued != number:  # noqa: ASYNC110 - the runner tells nobody, and it takes one turn of the loop
        await asyncio.sleep(0)


async def test_work_runs_one_at_a_time_in_order_of_arrival() -> None:
    """No two runs overlap, and nobody is overtaken."""
    runner, running, order = Runner(max_queued=10), [0], []

    def work(number: int) -> int:
        running[0] += 1
        assert running[0] == 1
        order.append(number)
        time.sleep(0.001)
        running[0] -= 1
        return number

    ran = await asyncio.gather(*(runner.run(lambda _, n=n: work(n)) for n in range(8)))
    assert [r.value for r in ran] == order == list(range(8))
    assert ran[-1].queue_s > ran[-1].compute_s > 0


async def test_a_full_queue_refuses_at_once_with_a_hint() -> None:
    """What does not fit is told when to come back, and what waits is not disturbed."""
    runner, gate = Runner(max_queued=1), Gate()
    first = asyncio.create_task(runner.run(gate.work))
    await gate.has_begun()
    second = asyncio.create_task(runner.run(lambda _: 2))
    await until_queued(runner, 1)
    with pytest.raises(AccordError) as caught:
        await runner.run(lambda _: 3)
    assert caught.value.reason is Reason.QUEUE_FULL
    assert caught.value.retry_after_s is not None
    assert 0 < caught.value.retry_after_s <= 5
    gate.open.set()
    assert ((await first).value, (await second).value) == ("done", 2)


async def test_an_idle_model_needs_no_queue() -> None:
    """With room for nobody to wait, one request at a time is still served."""
    runner = Runner(max_queued=0)
    for n in range(3):
        assert (await runner.run(lambda _, n=n: n)).value == n


async def test_what_waits_past_its_deadline_is_never_computed() -> None:
    """It is told so while the run before it still goes on."""
    runner, gate, computed = Runner(max_queued=10), Gate(), []
    first = asyncio.create_task(runner.run(gate.work))
    await gate.has_begun()
    with pytest.raises(AccordError) as caught:
        await runner.run(computed.append, deadline=time.monotonic() + 0.02)
    assert caught.value.reason is Reason.DEADLINE_IN_QUEUE
    assert not first.done()
    gate.open.set()
    await first
    assert computed == []


async def test_a_deadline_that_passed_before_the_turn_is_found_at_dequeue() -> None:
    """An idle model does not compute what is late already, and takes the next request."""
    runner, computed = Runner(max_queued=10), []
    with pytest.raises(AccordError) as caught:
        await runner.run(computed.append, deadline=time.monotonic() - 1)
    assert caught.value.reason is Reason.DEADLINE_IN_QUEUE
    assert computed == []
    assert (await runner.run(lambda _: 1)).value == 1


async def test_a_run_past_its_deadline_is_given_up_and_told_to_end() -> None:
    """The caller hears at its deadline; the model is free when the run has ended."""
    runner, gate = Runner(max_queued=10), Gate()
    with pytest.raises(AccordError) as caught:
        await runner.run(gate.work, deadline=time.monotonic() + 0.05)
    assert caught.value.reason is Reason.DEADLINE_IN_MEMBER
    assert (await runner.run(lambda _: "next")).value == "next"
    assert gate.aborted.is_set()


async def test_a_cancelled_run_is_told_to_end() -> None:
    """Who goes away takes the run with it, and the next one begins only after it ended."""
    runner, gate = Runner(max_queued=10), Gate()
    first = asyncio.create_task(runner.run(gate.work))
    await gate.has_begun()
    first.cancel()
    assert (await runner.run(lambda _: gate.aborted.is_set())).value is True
    assert first.cancelled()


async def test_cancelling_what_waits_drops_it() -> None:
    """A caller that goes away leaves the queue, and the others move up."""
    runner, gate, computed = Runner(max_queued=2), Gate(), []
    first = asyncio.create_task(runner.run(gate.work))
    await gate.has_begun()
    leaving = [asyncio.create_task(runner.run(computed.append)) for _ in range(2)]
    await until_queued(runner, 2)
    for task in leaving:
        task.cancel()
    await asyncio.gather(*leaving, return_exceptions=True)
    staying = asyncio.create_task(runner.run(lambda _: "stays"))
    await until_queued(runner, 1)
    gate.open.set()
    assert ((await first).value, (await staying).value) == ("done", "stays")
    assert computed == []


async def test_cancel_storms_leave_no_slot_behind() -> None:
    """However runs and cancellations fall together, the model serves the next request."""
    runner = Runner(max_queued=64)
    for spin in range(40):
        tasks = [asyncio.create_task(runner.run(lambda _: time.sleep(0.0002))) for _ in range(20)]
        for _ in range(spin):
            await asyncio.sleep(0)
        for task in tasks[:: 1 + spin % 3]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert runner._queued == 0
    assert (await runner.run(lambda _: "free")).value == "free"


async def test_a_failure_reaches_only_its_caller() -> None:
    """The exception is raised as it is, and the next request is served."""
    runner = Runner(max_queued=10)

    def fail(_: Abort) -> None:
        raise AccordError(Reason.INPUT_REJECTED, "no")

    with pytest.raises(AccordError, match="no"):
        await runner.run(fail)
    assert (await runner.run(lambda _: 1)).value == 1
