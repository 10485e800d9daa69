"""Whoever arrives when, with how much, and whoever goes: each request gets its own rows, or its own error."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.edge.coalesce import Coalescer
from gateway.engine.engine import Engine
from gateway.observe.metrics import Metrics
from gateway.observe.statistics import Ledger
from gateway.values import Answer, Batch, Failure, Rider
from protos.errors import Cause
from protos.tensor import Tensor
from tests.clock import run
from tests.fakes import FakeMember, Turn, compiled, ensemble, seats, spec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hypothesis.strategies import DrawFn

    from gateway.engine.plan import Plan
    from gateway.values import Question

#: A row that the members refuse, whoever else is in the call.
POISON = -1.0
MAX_ROWS = 6
SERVICE_S = (0.001, 0.01, 0.05)


@dataclass(frozen=True)
class Request:
    """One caller: when it comes, with which rows, when it goes away, and when its time is over."""

    at: float
    rows: tuple[float, ...]
    leaves: float | None
    budget_s: float
    wanted: tuple[str, ...]


@st.composite
def requests(draw: DrawFn) -> Request:
    return Request(
        at=draw(st.integers(0, 40)) / 1000,
        rows=tuple(draw(st.lists(st.sampled_from([1.0, 2.0, 3.0, 5.0, POISON]), min_size=0, max_size=8))),
        leaves=draw(st.none() | st.integers(0, 60).map(lambda ms: ms / 1000 + 0.0005)),
        budget_s=draw(st.sampled_from([0.02, 0.06, 5.0])),
        wanted=draw(st.sampled_from([(), ("y",)])),
    )


def refuses_poison(amount: float, asked: list[int]) -> Turn:
    def says(question: Question) -> Answer | Failure:
        x = question.inputs["x"].array()
        asked.append(len(x))
        if (x == POISON).any():
            return Failure(Cause.MEMBER_REJECTED_INPUT)
        return Answer(outputs={"y": Tensor.from_array((x + np.float32(amount)).astype(np.float32))})

    return Turn(says=says)


def members(service_s: float, asked: list[int], *, mixes: bool = True) -> dict[str, FakeMember]:
    turns = {name: refuses_poison(amount, asked) for name, amount in {"a": 10.0, "b": 20.0}.items()}
    return {
        name: FakeMember(
            spec(name, max_rows=MAX_ROWS, independent=mixes), Turn(says=turn.says, after_s=service_s)
        )
        for name, turn in turns.items()
    }


def coalescer(fakes: dict[str, FakeMember], engine: type[Engine] = Engine) -> Coalescer:
    return Coalescer(engine(fakes), Metrics(), Ledger(), max_linger_s=0.005, max_bytes=10**6)


async def told(served: Coalescer, plan: Plan, request: Request) -> object:
    """Send one request; return the rows that came back, the error's reason, or nothing for who went away."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(request.at)
    now = loop.time()
    x = np.array(request.rows, np.float32).reshape(-1, 1)
    batch = Batch(
        route=plan,
        n=len(x),
        inputs={"x": Tensor.from_array(x)},
        wanted=request.wanted,
        riders=[Rider("r", slice(0, len(x)), now, now + request.budget_s)],
    )
    asking = asyncio.ensure_future(served.ask(batch))
    if request.leaves is not None:
        loop.call_later(request.leaves, asking.cancel)
    try:
        reply = await asking
    except asyncio.CancelledError:
        return None
    late = loop.time() - (now + request.budget_s)
    assert late < 1e-6, f"answered {late} s after the deadline"
    assert reply.final
    assert len(reply.riders) == 1
    if reply.error is not None:
        return reply.error.reason.name
    return [float(value) for value in reply.outputs["y"].array().reshape(-1)]


async def all_told(served: Coalescer, plan: Plan, asked: Sequence[Request]) -> list[object]:
    answers = await asyncio.gather(*(told(served, plan, request) for request in asked))
    await served.drain()
    return answers


@settings(max_examples=200, deadline=None)
@given(st.lists(requests(), max_size=14), st.sampled_from(SERVICE_S))
def test_each_request_gets_its_own_rows_or_its_own_error(asked: list[Request], service_s: float) -> None:
    """The mean of x + 10 and x + 20 for its rows, whatever the others do; poison is told to who sent it."""
    rows: list[int] = []
    fakes = members(service_s, rows)
    plan = compiled(fakes, {"e": ensemble(*seats("a", "b"))})
    served = coalescer(fakes)
    for request, answer in zip(asked, run(all_told(served, plan, asked)), strict=True):
        if answer is None:
            assert request.leaves is not None
        elif isinstance(answer, list):
            assert POISON not in request.rows
            assert answer == [x + 15.0 for x in request.rows]
        elif POISON in request.rows:
            assert answer in ("INPUT_REJECTED", "DEADLINE_IN_MEMBER", "DEADLINE_IN_QUEUE")
        else:
            assert answer in ("DEADLINE_IN_MEMBER", "DEADLINE_IN_QUEUE")
            assert request.budget_s < 5.0
    assert all(n <= MAX_ROWS or n in {len(request.rows) for request in asked} for n in rows)
    assert all(fake.running == 0 for fake in fakes.values())
    assert all(line.present == 0 and not line.waiting for line in served._lines.values())


def test_requests_that_come_together_ride_together() -> None:
    """Sixty-four callers who ask again and again take far fewer calls than requests."""
    rows: list[int] = []
    fakes = {"a": members(0.01, rows)["a"]}
    fakes["a"].spec = spec("a", independent=True)
    plan = compiled(fakes, {"e": ensemble(*seats("a"))})
    served = coalescer(fakes)

    async def caller() -> None:
        for _ in range(10):
            assert await told(served, plan, Request(0.0, (1.0,), None, 5.0, ())) == [11.0]

    async def everybody() -> None:
        await asyncio.gather(*(caller() for _ in range(64)))
        await served.drain()

    run(everybody())
    assert sum(rows) == 640
    assert len(rows) <= 40


@pytest.mark.parametrize("mixes", [True, False])
def test_a_model_whose_rows_depend_on_each_other_is_never_mixed(mixes: bool) -> None:
    """Its callers' rows come to it call by call; those of a model that mixes come together."""
    rows: list[int] = []
    fakes = members(0.01, rows, mixes=mixes)
    plan = compiled(fakes, {"e": ensemble(*seats("a", "b"))})
    asked = [Request(0.0, (1.0, 2.0), None, 5.0, ())] * 6
    assert run(all_told(coalescer(fakes), plan, asked)) == [[16.0, 17.0]] * 6
    assert (max(rows) > 2) is mixes


def test_beside_one_that_mixes_it_is_asked_request_by_request() -> None:
    """So one such model does not keep the others from batching."""
    fakes = members(0.01, [])
    alone: list[int] = []
    fakes["b"] = FakeMember(
        spec("b", max_rows=6, independent=False), Turn(says=refuses_poison(20.0, alone).says, after_s=0.01)
    )
    plan = compiled(fakes, {"e": ensemble(*seats("a", "b"))})
    asked = [Request(0.0, (1.0, 2.0), None, 5.0, ())] * 6
    assert run(all_told(coalescer(fakes), plan, asked)) == [[16.0, 17.0]] * 6
    assert alone == [2] * 6
    assert max(len(ask.rows) for ask in fakes["a"].asked) > 2


def test_whoever_is_alone_does_not_wait() -> None:
    """One request at a time, each leaves in the moment it comes."""
    fakes = members(0.01, [])
    plan = compiled(fakes, {"e": ensemble(*seats("a", "b"))})
    asked = [Request(0.1 * i, (1.0,), None, 5.0, ()) for i in range(20)]
    run(all_told(coalescer(fakes), plan, asked))
    assert [round(ask.at, 9) for ask in fakes["a"].asked] == [round(0.1 * i, 9) for i in range(20)]


def test_a_bug_of_the_engine_leaves_nobody_waiting() -> None:
    """Every rider of the batch is told, and the line takes others."""

    class Broken(Engine):
        async def run(self, *_: object) -> None:
            await asyncio.sleep(0.001)
            raise RuntimeError("a bug")

    fakes = members(0.01, [])
    plan = compiled(fakes, {"e": ensemble(*seats("a", "b"))})
    served = coalescer(fakes, Broken)

    async def all_fail() -> list[object]:
        asked = (told(served, plan, Request(0.0, (1.0,), None, 5.0, ())) for _ in range(5))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        await served.drain()
        return list(answers)

    assert [str(answer) for answer in run(all_fail())] == ["a bug"] * 5
