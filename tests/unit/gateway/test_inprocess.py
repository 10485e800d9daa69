"""A model in the gateway process keeps the law of members, with real models: failures are values, in time."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gateway.config.schema import InProcess
from gateway.members.hosted import MAX_QUEUED
from gateway.members.inprocess import InProcessMember
from gateway.policies.backoff import Backoff
from gateway.values import Answer, Failure, Question
from protos.errors import AccordError, Cause, Reason
from protos.tensor import Tensor
from tests import models

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

WEIGHTS = np.array([[1, 2], [3, 4]], np.float32)
ROWS = np.array([[1, 1], [0, 2]], np.float32)
#: Far more than a test takes.
LATER_S = 60.0
#: About a minute of work for :func:`tests.models.slow`, which can be told to end at any time.
ENDLESS = np.array([6_000_000])


def question(name: str = "x", values: Any = ROWS, **more: Any) -> Question:
    inputs = {name: Tensor.from_array(np.asarray(values))}
    return Question(**{"inputs": inputs, "outputs": ("y",), "deadline": time.monotonic() + LATER_S, **more})


class Changes(logging.Handler):
    """Waits for what a member tells, and what it logs."""

    def __init__(self) -> None:
        super().__init__()
        self.event = asyncio.Event()
        self.causes: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.causes.append(record.__dict__.get("cause", ""))
        self.event.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self.event.clear()
                await self.event.wait()


@asynccontextmanager
async def hosting(
    folder: Path, model: bytes | None, *, ready: bool = True, **more: Any
) -> AsyncIterator[tuple[InProcessMember, Changes]]:
    if model is not None:
        models.write_model(folder, "m", model)
    changes = Changes()
    backend = InProcess.model_validate({"repository": str(folder), **more}, context={"base": folder})
    member = InProcessMember(
        name="mine",
        backend=backend.model_copy(update={"model": "m"}),
        on_change=changes.event.set,
        retry=Backoff(first_s=0.01, most_s=0.01),
    )
    logging.getLogger("gateway.members.inprocess").addHandler(changes)
    member.start()
    try:
        if ready:
            await changes.until(lambda: member.ready)
        yield member, changes
    finally:
        await member.close()
        logging.getLogger("gateway.members.inprocess").removeHandler(changes)


async def begun(member: InProcessMember, act: Callable[[], None]) -> None:
    """Act, and wait until a run has begun."""
    assert member._hosted is not None
    session, began = member._hosted.session, threading.Event()
    run = session.run

    def noted(*inputs: Any, **options: Any) -> Any:
        began.set()
        return run(*inputs, **options)

    session.run = noted  # type: ignore[method-assign]
    act()
    await asyncio.to_thread(began.wait, 20)


async def test_it_answers_as_the_model_does(tmp_path: Path) -> None:
    """Under its name here, with its version and its times; short runs need no thread."""
    async with hosting(tmp_path, models.linear(WEIGHTS)) as (member, _):
        answer = await member.ask(question())
        assert isinstance(answer, Answer)
        assert np.array_equal(answer.outputs["y"].array(), ROWS @ WEIGHTS)
        assert answer.version == "1"
        assert answer.queue_s is not None
        assert answer.compute_s is not None
        assert answer.queue_s + answer.compute_s < 1
        assert member.spec is not None
        assert (member.spec.name, member.spec.versions, member.spec.independent) == ("mine", ("1",), True)
        assert member.spec.config is not None
        assert member.replicas_ready == 1
        assert not any(thread.name.startswith("model m") for thread in threading.enumerate())


async def test_a_large_run_is_made_in_the_thread(tmp_path: Path) -> None:
    """Of a size that never ran; it teaches, so the next one may be short."""
    async with hosting(tmp_path, models.linear(WEIGHTS)) as (member, _):
        rows = np.random.default_rng(0).normal(size=(256, 2)).astype(np.float32)
        answer = await member.ask(question(values=rows))
        assert isinstance(answer, Answer)
        assert np.array_equal(answer.outputs["y"].array(), rows @ WEIGHTS)
        assert any(thread.name.startswith("model m") for thread in threading.enumerate())


#: Model, question, and what becomes of it.
FAILURES: dict[str, tuple[bytes, dict[str, Any], Cause]] = {
    "refused values": (models.picky(), {"name": "index", "values": [7]}, Cause.MEMBER_REJECTED_INPUT),
    "another datatype": (
        models.linear(WEIGHTS),
        {"values": ROWS.astype(np.int64)},
        Cause.MEMBER_REJECTED_INPUT,
    ),
    "another shape": (models.linear(WEIGHTS), {"values": [[1.0]]}, Cause.MEMBER_REJECTED_INPUT),
    "another input": (models.linear(WEIGHTS), {"name": "z"}, Cause.MEMBER_REJECTED_INPUT),
    "another output": (models.linear(WEIGHTS), {"outputs": ("z",)}, Cause.MEMBER_REJECTED_INPUT),
    "too many rows": (
        models.linear(WEIGHTS),
        {"values": np.zeros((257, 2), np.float32)},
        Cause.MEMBER_REJECTED_INPUT,
    ),
    "another version": (models.linear(WEIGHTS), {"version": "2"}, Cause.MEMBER_NOT_FOUND),
    "too late": (models.linear(WEIGHTS), {"deadline": 0.0}, Cause.MEMBER_TIMEOUT),
    "out of memory": (models.greedy(), {"name": "count", "values": [1 << 46]}, Cause.DEVICE_OOM),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_a_failure_is_a_value(tmp_path: Path, name: str) -> None:
    """With the cause that the same failure of a worker has; the next question is answered."""
    model, asked, cause = FAILURES[name]
    async with hosting(tmp_path, model) as (member, _):
        failure = await member.ask(question(**asked))
        assert isinstance(failure, Failure)
        assert failure.cause is cause
        good = {"name": asked["name"], "values": [1]} if asked.get("name") in ("index", "count") else {}
        assert isinstance(await member.ask(question(**good)), Answer)


async def test_a_bug_of_ours_is_a_value_too(tmp_path: Path) -> None:
    """The caller is told that the model failed, and nothing else."""
    async with hosting(tmp_path, models.linear(WEIGHTS)) as (member, _):
        assert member._hosted is not None

        def fail(*_: Any, **__: Any) -> Any:
            raise ZeroDivisionError

        member._hosted.session.run = fail  # type: ignore[method-assign]
        assert await member.ask(question()) == Failure(Cause.MEMBER_INTERNAL)


async def test_it_returns_by_the_deadline_and_ends_what_nobody_waits_for(tmp_path: Path) -> None:
    """A run of a minute is over when its deadline is, and the next one does not wait for it."""
    async with hosting(tmp_path, models.slow()) as (member, _):
        began = time.monotonic()
        late = await member.ask(question("steps", ENDLESS, deadline=began + 0.2))
        assert late == Failure(Cause.MEMBER_TIMEOUT)
        assert time.monotonic() - began < 5
        assert isinstance(await member.ask(question("steps", [1])), Answer)


async def test_a_cancelled_ask_has_ended_its_run(tmp_path: Path) -> None:
    """Whether it ran or waited; the others are answered."""
    async with hosting(tmp_path, models.slow()) as (member, _):
        tasks: list[asyncio.Task[Answer | Failure]] = []
        steps = (ENDLESS, ENDLESS, [2])
        await begun(
            member,
            lambda: tasks.extend(asyncio.create_task(member.ask(question("steps", n))) for n in steps),
        )
        running, waiting, staying = tasks
        for task in (waiting, running):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        answer = await staying
        assert isinstance(answer, Answer)
        assert member._hosted is not None
        assert member._hosted._under_way == 0


async def test_what_waits_is_bounded(tmp_path: Path) -> None:
    """One runs, so many wait, one more is shed at once."""
    async with hosting(tmp_path, models.slow()) as (member, _):
        tasks = [asyncio.create_task(member.ask(question("steps", ENDLESS))) for _ in range(MAX_QUEUED + 1)]
        await asyncio.sleep(0)
        shed = await member.ask(question("steps", [1]))
        assert shed == Failure(Cause.MEMBER_RESOURCE_EXHAUSTED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(await member.ask(question("steps", [1])), Answer)


async def test_a_model_that_is_not_there_is_tried_again(tmp_path: Path) -> None:
    """Until it can be served; each reason is told once."""
    async with hosting(tmp_path, None, ready=False) as (member, changes):
        assert await member.ask(question()) == Failure(Cause.MEMBER_NOT_READY, attempts=0)
        assert member.spec is None
        await changes.until(lambda: bool(changes.causes))
        models.write_model(tmp_path, "m", models.corrupt())
        await changes.until(lambda: any("damaged" in cause for cause in changes.causes))
        models.write_model(tmp_path, "m", models.linear(WEIGHTS))
        await changes.until(lambda: member.ready)
        assert isinstance(await member.ask(question()), Answer)
        assert len(changes.causes) == len(set(changes.causes))


async def test_a_load_takes_over_and_one_that_fails_changes_nothing(tmp_path: Path) -> None:
    """Old or new, and never nothing; a new version is told."""
    async with hosting(tmp_path, models.linear(WEIGHTS)) as (member, _):
        models.write_model(tmp_path, "m", models.corrupt(), version=2)
        with pytest.raises(AccordError) as caught:
            await member.load()
        assert caught.value.reason is Reason.MODEL_LOAD_FAILED
        assert str(tmp_path) not in str(caught.value)
        assert isinstance(await member.ask(question()), Answer)
        models.write_model(tmp_path, "m", models.linear(2 * WEIGHTS), version=2)
        await member.load()
        answer = await member.ask(question())
        assert isinstance(answer, Answer)
        assert answer.version == "2"
        assert np.array_equal(answer.outputs["y"].array(), 2 * ROWS @ WEIGHTS)


async def test_a_model_that_is_taken_out_finishes_what_it_has(tmp_path: Path) -> None:
    """And is not ready until it is loaded again."""
    async with hosting(tmp_path, models.slow()) as (member, _):
        running = asyncio.create_task(member.ask(question("steps", [2000])))
        await asyncio.sleep(0)  # it is under way, in the thread
        await member.unload()
        assert isinstance(await running, Answer)
        assert (member.ready, member.replicas_ready) == (False, 0)
        assert await member.ask(question("steps", [1])) == Failure(Cause.MEMBER_NOT_READY, attempts=0)
        await member.load()
        assert isinstance(await member.ask(question("steps", [1])), Answer)


async def test_a_load_is_finished_though_nobody_waits_for_it(tmp_path: Path) -> None:
    """Whoever asked for it may go away."""
    async with hosting(tmp_path, models.linear(WEIGHTS)) as (member, changes):
        models.write_model(tmp_path, "m", models.linear(WEIGHTS), version=2)
        loading = asyncio.create_task(member.load())
        await asyncio.sleep(0)
        loading.cancel()
        await changes.until(lambda: member.spec is not None and member.spec.version == "2")


async def test_digests_can_be_required(tmp_path: Path) -> None:
    """As of a worker's model."""
    model = models.linear(WEIGHTS)
    async with hosting(tmp_path, model, ready=False, require_digests=True) as (member, changes):
        await changes.until(lambda: bool(changes.causes))
        assert "digests are required" in changes.causes[0]
        assert not member.ready
