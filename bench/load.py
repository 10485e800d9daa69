"""A closed loop: a fixed number of callers, each of which asks again as soon as it is answered."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from bench import figures
from bench.answers import check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.answers import Call, Question

__all__ = ["Pace", "drive"]


@dataclass(frozen=True, slots=True)
class Pace:
    """How long and how often each target is measured.

    Args:
        rounds: Rounds, in each of which every target has its turn.
        lead_s: The least seconds under load before the window opens; it also waits for as many
            answers as there are callers. Connections, caches and queues have settled by then.
        window_s: Seconds that are measured.
    """

    rounds: int
    lead_s: float
    window_s: float


async def drive(call: Call, questions: Sequence[Question], in_flight: int, pace: Pace) -> figures.Leg:
    """Keep a number of calls in flight and sum up those that end within the window.

    Calls under way when the window closes are awaited but do not count, as those under way when it
    opened do: the rate is that of the steady state.

    Args:
        call: Asks the target.
        questions: What to ask, in turn, and the right replies.
        in_flight: How many callers there are.
        pace: When the window opens and closes.

    Raises:
        BenchFailed: If a reply is wrong, or none came.
        grpc.RpcError: If a call fails.
    """
    ended: list[tuple[float, float]] = []
    other: list[tuple[Question, bytes]] = []
    turn = count()
    settled = time.perf_counter() + pace.lead_s
    opens = closes = math.inf

    async def caller() -> None:
        nonlocal opens, closes
        while (sent := time.perf_counter()) < closes:
            question = questions[next(turn) % len(questions)]
            reply = await call(question.request)
            done = time.perf_counter()
            ended.append((done, done - sent))
            if reply != question.reply:
                other.append((question, reply))
            if done >= settled and len(ended) >= in_flight and opens == math.inf:
                opens, closes = done, done + pace.window_s

    await asyncio.gather(*(caller() for _ in range(in_flight)))
    for question, reply in other:
        check(question, reply)
    return figures.leg([took for at, took in ended if opens < at <= closes], pace.window_s)
