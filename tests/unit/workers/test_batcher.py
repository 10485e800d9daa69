"""Jobs in front of one model: bounded, in time, together where asked for, and given up when nobody waits."""

from __future__ import annotations

import asyncio
import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from protos.errors import AccordError, Reason
from protos.tensor import Tensor
from tests import models
from workers.batcher import Batcher, Execution, Job, Ran
from workers.model.pace import SHORT_S, Pace, size_of
from workers.model.repository import find
from workers.model.scheduling import QueuePolicy, Scheduling
from workers.model.session import Aborted, load

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from pathlib import Path

    from workers.execution import Compute
    from workers.model.session import Abort

Arrays = "Mapping[str, np.ndarray[Any, np.dtype[Any]]]"
TOGETHER = Scheduling()


def job(*values: float, **more: Any) -> Job:
    x = np.array(values, np.float32).reshape(-1, 1)
    return Job(inputs={"x": Tensor.from_array(x)}, rows=len(values), **{"wanted": (), **more})


def values(ran: Ran) -> list[float]:
    return [float(value) for value in ran.outputs["y"].array().reshape(-1)]


class Doubler:
    """Answers ``y = 2 x``, refuses negative numbers, fails at 13, and notes what it was asked.

    Args:
        held: Whether runs wait until the gate is opened, or until they are told to end.
    """

    def __init__(self, *, held: bool = False) -> None:
        self.batches: list[list[float]] = []
        self.began, self.gate, self.aborted = threading.Event(), threading.Event(), threading.Event()
        if not held:
            self.gate.set()

    def __call__(self, inputs: Arrays, wanted: Sequence[str], abort: Abort) -> Arrays:
        x = inputs["x"]
        self.batches.append(x.reshape(-1).tolist())
        self.began.set()
        ends = time.monotonic() + 10
        while not (self.gate.wait(0.001) or abort.is_set):
            assert time.monotonic() < ends, "nobody opened the gate"
        if abort.is_set:
            self.aborted.set()
            raise Aborted
        if (x < 0).any():
            raise AccordError(Reason.INPUT_REJECTED, "negative")
        if (x == 13).any():
            raise AccordError(Reason.INTERNAL, "unlucky")
        return {"y": 2 * x, "z": -x}

    async def has_begun(self) -> None:
        await asyncio.to_thread(self.began.wait, 10)


def batcher(compute: Compute, scheduling: Scheduling | None = None, **more: Any) -> Batcher:
    return Batcher(compute, scheduling=scheduling, **{"max_rows": 8, "max_queued": 64, **more})


async def queued(batcher: Batcher, *jobs: Job) -> list[asyncio.Task[Ran]]:
    """Let jobs wait, in this order."""
    tasks = [asyncio.create_task(batcher.run(each)) for each in jobs]
    await asyncio.sleep(0)  # a new task runs up to its first wait, which is in the queue
    return tasks


async def failure(run: Coroutine[Any, Any, Ran] | asyncio.Task[Ran]) -> AccordError:
    with pytest.raises(AccordError) as caught:
        await run
    return caught.value


async def test_without_scheduling_jobs_run_alone_in_order_of_arrival() -> None:
    """No two share a run, nobody is overtaken, and the waiting time grows."""
    compute = Doubler()
    ran = await asyncio.gather(*map(batcher(compute).run, [job(n) for n in range(8)]))
    assert [values(each) for each in ran] == [[2 * n] for n in range(8)]
    assert compute.batches == [[n] for n in range(8)]
    assert ran[-1].queue_s > ran[1].queue_s


async def test_what_waits_shares_the_next_run_and_each_gets_its_own_rows() -> None:
    """The first runs at once; the others, whatever their sizes, fill one batch."""
    compute = Doubler(held=True)
    serving = batcher(compute, TOGETHER)
    tasks = await queued(serving, job(0), job(1, 2), job(3), job(4, 5, 6), job(7, 8, 9))
    compute.gate.set()
    ran = await asyncio.gather(*tasks)
    assert compute.batches == [[0], [1, 2, 3, 4, 5, 6], [7, 8, 9]]
    assert [values(each) for each in ran] == [[0], [2, 4], [6], [8, 10, 12], [14, 16, 18]]
    assert ran[1].execution is ran[3].execution


async def test_only_alike_jobs_share_a_run() -> None:
    """Other outputs, another row shape, another datatype or no rows at all: another run."""
    compute = Doubler(held=True)
    wide = Job(inputs={"x": Tensor.from_array(np.ones((1, 2), np.float32))}, rows=1, wanted=())
    whole = Job(inputs={"x": Tensor.from_array(np.ones((1, 1), np.int64))}, rows=1, wanted=())
    tasks = await queued(
        batcher(compute, TOGETHER),
        job(0),
        job(1),
        job(2),
        whole,
        job(3),
        wide,
        job(4),
        job(5, wanted=("y",)),
        job(),
        job(),
        job(6),
    )
    compute.gate.set()
    ran = await asyncio.gather(*tasks)
    assert compute.batches == [[0], [1, 2], [1], [3], [1, 1], [4], [5], [], [], [6]]
    assert [values(each) for each in ran[-3:]] == [[], [], [12]]


async def test_a_delay_waits_for_company_and_no_longer() -> None:
    """A batch of the preferred size runs at once; one that stays small runs when the delay is over."""
    compute = Doubler()
    serving = batcher(compute, Scheduling(preferred_rows=frozenset({2}), max_delay_s=0.25))
    ran = await asyncio.gather(*map(serving.run, [job(1), job(2), job(3)]))
    assert compute.batches == [[1, 2], [3]]
    assert ran[0].queue_s < 0.25 <= ran[2].queue_s


async def test_higher_levels_run_first() -> None:
    """Of those that wait; the default level is that of jobs without priority."""
    compute = Doubler(held=True)
    serving = batcher(compute, Scheduling(levels=3, default_level=2), max_rows=1)
    tasks = await queued(serving, job(0), job(3, priority=3), job(2), job(1, priority=1))
    compute.gate.set()
    await asyncio.gather(*tasks)
    assert compute.batches == [[0], [1], [2], [3]]


async def test_a_full_queue_refuses_at_once_with_a_hint() -> None:
    """What does not fit is told when to come back, and what waits is not disturbed."""
    compute = Doubler(held=True)
    serving = batcher(compute, max_queued=1)
    tasks = await queued(serving, job(1), job(2))
    error = await failure(serving.run(job(3)))
    assert error.reason is Reason.QUEUE_FULL
    assert error.retry_after_s is not None
    assert 0 < error.retry_after_s <= 5
    compute.gate.set()
    assert [values(await task) for task in tasks] == [[2], [4]]


async def test_a_full_level_refuses_too() -> None:
    """``max_queue_size`` is for one level, ``max_queued`` for all."""
    compute = Doubler(held=True)
    serving = batcher(compute, Scheduling(policy=QueuePolicy(max_size=1)))
    tasks = await queued(serving, job(1), job(2))
    assert (await failure(serving.run(job(3)))).reason is Reason.QUEUE_FULL
    compute.gate.set()
    await asyncio.gather(*tasks)


async def test_an_idle_model_needs_no_queue() -> None:
    """With room for nobody to wait, one job at a time is still served."""
    compute = Doubler(held=True)
    serving = batcher(compute, max_queued=0)
    (first,) = await queued(serving, job(1))
    assert (await failure(serving.run(job(2)))).reason is Reason.QUEUE_FULL
    compute.gate.set()
    assert values(await first) == [2]
    assert values(await serving.run(job(3))) == [6]


async def test_what_waits_past_its_deadline_is_never_computed() -> None:
    """It is told so while the run before it still goes on."""
    compute = Doubler(held=True)
    serving = batcher(compute)
    (first,) = await queued(serving, job(1))
    error = await failure(serving.run(job(2, deadline=time.monotonic() + 0.02)))
    assert error.reason is Reason.DEADLINE_IN_QUEUE
    assert not first.done()
    compute.gate.set()
    await first
    assert compute.batches == [[1]]


async def test_a_queue_timeout_is_the_policys_or_the_jobs_shorter_one() -> None:
    """Both end the wait with DEADLINE_IN_QUEUE; the job's own counts only where the policy lets it."""
    compute = Doubler(held=True)
    serving = batcher(compute, Scheduling(policy=QueuePolicy(timeout_s=30.0, allows_override=True)))
    (first,) = await queued(serving, job(1))
    assert (await failure(serving.run(job(2, timeout_s=0.02)))).reason is Reason.DEADLINE_IN_QUEUE
    compute.gate.set()
    await first
    assert compute.batches == [[1]]


async def test_a_deadline_that_passed_before_the_turn_is_found_at_dequeue() -> None:
    """An idle model does not compute what is late already, and takes the next job."""
    compute = Doubler()
    serving = batcher(compute)
    error = await failure(serving.run(job(1, deadline=time.monotonic() - 1)))
    assert error.reason is Reason.DEADLINE_IN_QUEUE
    assert values(await serving.run(job(2))) == [4]
    assert compute.batches == [[2]]


async def test_a_run_past_its_deadline_is_given_up_and_told_to_end() -> None:
    """The caller hears at its deadline; the model is free when the run has ended."""
    compute = Doubler(held=True)
    serving = batcher(compute)
    error = await failure(serving.run(job(1, deadline=time.monotonic() + 0.05)))
    assert error.reason is Reason.DEADLINE_IN_MEMBER
    next_run = asyncio.create_task(serving.run(job(2)))
    await asyncio.to_thread(compute.aborted.wait, 10)
    compute.gate.set()
    assert values(await next_run) == [4]


async def test_a_batch_goes_on_for_those_who_stay() -> None:
    """One leaves by deadline, one by cancellation; the third gets its rows, and nothing is aborted."""
    compute = Doubler(held=True)
    serving = batcher(compute, TOGETHER)
    (first,) = await queued(serving, job(0))
    late, leaving, staying = await queued(serving, job(1, deadline=time.monotonic() + 0.05), job(2), job(3))
    await compute.has_begun()
    first.cancel()
    await asyncio.to_thread(compute.aborted.wait, 10)
    compute.aborted.clear()
    assert (await failure(late)).reason is Reason.DEADLINE_IN_MEMBER
    leaving.cancel()
    await asyncio.sleep(0)
    compute.gate.set()
    assert values(await staying) == [6]
    assert compute.batches == [[0], [1, 2, 3]]
    assert not compute.aborted.is_set()


async def test_a_batch_that_all_have_left_is_told_to_end() -> None:
    """The last one takes the run with it, and the next one begins only after it ended."""
    compute = Doubler(held=True)
    serving = batcher(compute, TOGETHER)
    tasks = await queued(serving, job(0))
    tasks += await queued(serving, job(1), job(2))
    await compute.has_begun()
    for task in tasks:
        task.cancel()
    await asyncio.to_thread(compute.aborted.wait, 10)
    compute.gate.set()
    assert values(await serving.run(job(3))) == [6]
    assert all(task.cancelled() for task in tasks)


async def test_cancelling_what_waits_drops_it() -> None:
    """A caller that goes away leaves the queue, and the others move up."""
    compute = Doubler(held=True)
    serving = batcher(compute, max_queued=2)
    (first,) = await queued(serving, job(1))
    leaving = await queued(serving, job(2), job(3))
    for task in leaving:
        task.cancel()
    await asyncio.gather(*leaving, return_exceptions=True)
    (staying,) = await queued(serving, job(4))
    compute.gate.set()
    assert (values(await first), values(await staying)) == ([2], [8])
    assert compute.batches == [[1], [4]]


async def test_only_the_guilty_one_hears_that_its_values_are_refused() -> None:
    """The batch is run again job by job, and the innocent get their rows."""
    compute = Doubler(held=True)
    runs: list[Execution] = []
    serving = batcher(compute, TOGETHER, on_execution=runs.append)
    first, good, bad, fine = await queued(serving, job(0), job(1, 2), job(-3), job(4))
    compute.gate.set()
    assert (await failure(bad)).reason is Reason.INPUT_REJECTED
    assert [values(await task) for task in (first, good, fine)] == [[0], [2, 4], [8]]
    assert compute.batches == [[0], [1, 2, -3, 4], [1, 2], [-3], [4]]
    assert [run.rows for run in runs] == [1, 2, 1]


async def test_any_other_failure_is_the_whole_batchs() -> None:
    """It is not tried again, and the next job is served."""
    compute = Doubler(held=True)
    serving = batcher(compute, TOGETHER)
    first, *tasks = await queued(serving, job(0), job(1), job(13))
    compute.gate.set()
    await first
    assert {(await failure(task)).reason for task in tasks} == {Reason.INTERNAL}
    assert compute.batches == [[0], [1, 13]]
    assert values(await serving.run(job(5))) == [10]


async def test_an_answer_that_cannot_be_split_is_nobodys() -> None:
    """The cause is kept for the log; the words for the callers do not tell it."""
    compute = Doubler(held=True)

    def sums(inputs: Arrays, wanted: Sequence[str], abort: Abort) -> Arrays:
        return {"y": compute(inputs, wanted, abort)["y"].sum(axis=0, keepdims=True)}

    serving = batcher(sums, TOGETHER)
    first, *tasks = await queued(serving, job(1), job(2), job(3))
    compute.gate.set()
    assert values(await first) == [2]
    for error in [await failure(task) for task in tasks]:
        assert error.reason is Reason.INTERNAL
        assert "'y'" in str(error.__cause__)
        assert "'y'" not in error.message


async def test_each_run_is_told_with_its_rows_and_times() -> None:
    """Riders share one run, what it computed is told apart, and waiting counts from arrival."""
    told: list[Execution] = []
    now, double = [100.0], Doubler(held=True)

    def compute(inputs: Arrays, wanted: Sequence[str], abort: Abort) -> Arrays:
        answer = double(inputs, wanted, abort)
        now[0] += 2.0
        return answer

    serving = batcher(compute, TOGETHER, on_execution=told.append, clock=lambda: now[0])
    tasks = await queued(serving, job(1), job(2, 3), job(4))
    double.gate.set()
    ran = await asyncio.gather(*tasks)
    assert told == [Execution(1, 0.0, 2.0, 0.0), Execution(3, 0.0, 2.0, 0.0)]
    assert [told.index(each.execution) for each in ran] == [0, 1, 1]
    assert [each.queue_s for each in ran] == [0.0, 2.0, 2.0]


async def test_storms_of_jobs_and_departures_mix_up_nothing() -> None:
    """However they fall together, each job that stays gets its own rows, and the model serves the next."""
    for seed in range(30):
        choose = np.random.default_rng(seed)
        scheduling = Scheduling(
            preferred_rows=frozenset(choose.integers(1, 9, 2).tolist()),
            max_delay_s=float(choose.choice([0, 0, 0.001])),
            levels=2,
            default_level=2,
        )
        serving = batcher(Doubler(), scheduling if seed % 3 else None)
        sizes = choose.integers(0, 6, 40)
        sent = [
            job(*choose.integers(-1 if choose.random() < 0.1 else 0, 12, size), priority=i % 3)
            for i, size in enumerate(sizes)
        ]
        tasks = [asyncio.create_task(serving.run(each)) for each in sent]
        leaving = set(choose.choice(40, 10))
        for i in leaving:
            for _ in range(int(choose.integers(3))):
                await asyncio.sleep(0)
            tasks[i].cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        for i, (each, result) in enumerate(zip(sent, done, strict=True)):
            x = each.inputs["x"].array()
            if isinstance(result, asyncio.CancelledError):
                assert i in leaving
            elif (x < 0).any():
                assert isinstance(result, AccordError)
                assert result.reason is Reason.INPUT_REJECTED
            else:
                assert isinstance(result, Ran)
                assert np.array_equal(result.outputs["y"].array(), 2 * x)
        assert values(await serving.run(job(1))) == [2]
        await serving.close()


async def test_closing_waits_for_the_last_job_and_ends_the_thread() -> None:
    """Those who came before are answered; also a run that nobody waits for has ended."""
    compute = Doubler(held=True)
    serving = batcher(compute)
    leaving, staying = await queued(serving, job(1, deadline=time.monotonic() + 60), job(2))
    (thread,) = serving._pool._threads
    closing = asyncio.create_task(serving.close())
    leaving.cancel()
    await asyncio.to_thread(compute.aborted.wait, 10)
    assert not closing.done()
    compute.gate.set()
    assert values(await staying) == [4]
    await closing
    assert not thread.is_alive()


async def test_a_real_model_answers_many_callers_in_few_runs(tmp_path: Path) -> None:
    """Two hundred callers with one row each: far fewer runs, and to each its own row; alone, one run each."""
    weights = np.arange(12).reshape(4, 3)
    session = load(find(models.write_model(tmp_path, "m", models.linear(weights)), "m"), threads="1")
    rows = np.random.default_rng(0).integers(0, 100, (200, 4)).astype(np.float32)
    sent = [Job(inputs={"x": Tensor.from_array(rows[i : i + 1])}, rows=1, wanted=("y",)) for i in range(200)]

    def compute(inputs: Arrays, wanted: Sequence[str], abort: Abort) -> Arrays:
        return session.run(inputs, wanted, abort=abort)

    for scheduling, most in ((TOGETHER, 20), (None, 200)):
        told: list[Execution] = []
        serving = Batcher(
            compute, scheduling=scheduling, max_rows=64, max_queued=200, on_execution=told.append
        )
        ran = await asyncio.gather(*map(serving.run, sent))
        answers = np.concatenate([each.outputs["y"].array() for each in ran])
        assert np.array_equal(answers, rows @ weights.astype(np.float32))
        assert sum(run.rows for run in told) == 200
        assert len(told) <= most
        assert scheduling is not None or len(told) == 200
        await serving.close()


async def test_a_real_model_refuses_one_rider_and_serves_the_others(tmp_path: Path) -> None:
    """An index that is out of range fails its own request, and text stays with its sender."""
    session = load(find(models.write_model(tmp_path, "m", models.picky()), "m"), threads="1")
    texts = load(find(models.write_model(tmp_path, "t", models.identity(["BYTES"])), "t"), threads="1")
    picky = batcher(lambda inputs, wanted, abort: session.run(inputs, wanted, abort=abort), TOGETHER)
    jobs = [
        Job(inputs={"index": Tensor.from_array(np.array([index]))}, rows=1, wanted=())
        for index in (0, 0, 1, 7, 2)
    ]
    done = await asyncio.gather(*map(picky.run, jobs), return_exceptions=True)
    assert [each.reason for each in done if isinstance(each, AccordError)] == [Reason.INPUT_REJECTED]
    assert [values(each) for each in done if isinstance(each, Ran)] == [[1], [1], [2], [3]]

    echo = batcher(lambda inputs, wanted, abort: texts.run(inputs, wanted, abort=abort), TOGETHER)
    words = [np.array([[f"{i}", "é" * i]], object) for i in range(5)]
    said = await asyncio.gather(
        *(echo.run(Job(inputs={"x_BYTES": Tensor.from_array(word)}, rows=1, wanted=())) for word in words)
    )
    assert [each.outputs["y_BYTES"].array().tolist() for each in said] == [
        [[text.encode() for text in word[0]]] for word in words
    ]


class Threads:
    """Answers ``y = 2 x``, takes no time but on its own clock, and notes in which threads it ran.

    Args:
        row_s: How long each row takes on that clock.
    """

    def __init__(self, row_s: float = 0.0) -> None:
        self.now, self.row_s = 0.0, row_s
        self.batches: list[int] = []
        self.inline: list[bool] = []

    def clock(self) -> float:
        return self.now

    def __call__(self, inputs: Arrays, wanted: Sequence[str], abort: Abort) -> Arrays:
        x = inputs["x"]
        self.now += self.row_s * len(x)
        self.batches.append(len(x))
        self.inline.append(threading.current_thread() is threading.main_thread())
        if (x < 0).any():
            raise AccordError(Reason.INPUT_REJECTED, "negative")
        return {"y": 2 * x}


def quick(rows: int = 8, seconds: float = 1e-6) -> Pace:
    """The pace of a model that ran with so many rows."""
    pace = Pace(steady=True)
    pace.observe(size_of([job(*range(rows)).inputs]), seconds)
    return pace


async def test_a_short_run_is_made_in_the_loop_and_a_long_one_in_the_thread() -> None:
    """By what a run of its size will take: few rows wait for no thread, many do not hold the loop."""
    compute = Threads(row_s=SHORT_S / 4)
    serving = batcher(compute, pace=quick(4, SHORT_S), clock=compute.clock, max_rows=64)
    for rows, inline in ((1, True), (4, True), (32, False), (64, False), (32, False), (2, True)):
        ran = await serving.run(job(*range(rows)))
        assert values(ran) == [2.0 * n for n in range(rows)]
        assert compute.inline[-1] is inline, rows
    assert compute.inline.count(True) == 3


async def test_without_a_pace_every_run_is_made_in_the_thread() -> None:
    """Negative control: nothing else decides."""
    compute = Threads()
    await batcher(compute).run(job(1))
    assert compute.inline == [False]


async def test_a_size_that_was_quick_in_the_thread_comes_to_the_loop_and_one_that_became_slow_leaves_it() -> (
    None
):
    """Both are learned from the runs themselves."""
    compute = Threads(row_s=1e-6)
    serving = batcher(compute, pace=quick(1), clock=compute.clock)
    for _ in range(2):
        await serving.run(job(1, 2, 3))
    compute.row_s = 0.1
    for _ in range(3):
        await serving.run(job(1, 2, 3))
    assert compute.inline == [False, True, True, False, False]


async def test_an_answer_of_the_loop_is_there_at_once_and_others_have_their_turn() -> None:
    """The run is made before the caller first waits; one who asks without a pause does not keep the loop."""
    told: list[Execution] = []
    serving = batcher(Threads(), pace=quick(), on_execution=told.append)
    running = serving.run(job(1, 2))
    assert running.send(None) is None
    assert [run.rows for run in told] == [2]
    with pytest.raises(StopIteration) as returned:
        running.send(None)
    assert values(returned.value.value) == [2, 4]
    assert [run.rows for run in told] == [2]


async def test_the_loop_gets_its_turn_between_short_runs() -> None:
    """What queued up behind a long run is made one by one, with others in between."""
    compute = Threads()
    serving = batcher(compute, pace=quick(2), clock=compute.clock)
    tasks = await queued(serving, job(*range(8)), *(job(n) for n in range(5)))
    seen: list[int] = []

    async def others() -> None:
        while not all(task.done() for task in tasks):
            seen.append(len(compute.batches))
            await asyncio.sleep(0)

    await others()
    assert max(after - before for before, after in pairwise(seen)) == 1
    assert compute.inline == [False, *[True] * 5]


async def test_short_jobs_of_one_moment_share_a_run_where_they_may() -> None:
    """And only where the model's config lets them."""
    together, alone = Threads(), Threads()
    for compute, scheduling in ((together, TOGETHER), (alone, None)):
        serving = batcher(compute, scheduling, pace=quick(), clock=compute.clock)
        await asyncio.gather(*map(serving.run, [job(n) for n in range(6)]))
    assert (together.batches, together.inline) == ([6], [True])
    assert alone.batches == [1] * 6


async def test_a_deep_queue_of_short_jobs_is_no_deep_stack() -> None:
    """Thousands that waited are answered one after the other."""
    serving = batcher(Threads(), pace=quick(2), max_queued=5000)
    ran = await asyncio.gather(*map(serving.run, [job(*range(8)), *(job(n) for n in range(3000))]))
    assert values(ran[-1]) == [2.0 * 2999]


async def test_a_failure_in_the_loop_is_its_riders_own() -> None:
    """As in the thread: the guilty one hears of it, the others are run again."""
    serving = batcher(Threads(), TOGETHER, pace=quick())
    done = await asyncio.gather(*map(serving.run, [job(1), job(-1), job(2)]), return_exceptions=True)
    assert [values(each) for each in done if isinstance(each, Ran)] == [[2], [4]]
    assert [each.reason for each in done if isinstance(each, AccordError)] == [Reason.INPUT_REJECTED]


async def test_what_the_runs_take_is_not_learned_from_those_that_were_ended() -> None:
    """A run that is told to end is quick, and would pass for a short one."""
    compute = Doubler(held=True)
    pace = Pace(steady=True)
    serving = batcher(compute, pace=pace)
    (task,) = await queued(serving, job(1))
    await compute.has_begun()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await serving.close()
    assert compute.aborted.is_set()
    assert not pace.is_short(size_of([job(1).inputs]))
