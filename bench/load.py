"""A closed loop: a fixed number of callers, each of which asks again as soon as it is answered."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from bench import figures
from bench.answers import check

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.answers import Call, Question

__all__ = ["Pace", "drive"]


@dataclass(frozen=True, slots=True)
class Pace:
    """How long and how often each target is measured.

    Args:
        rounds: Rounds, in each of which every target has its turn.
        lead_s: Seconds of the same load before the clock starts, for connections and caches to settle.
        window_s: Seconds for which new calls are made.
    """

    rounds: int
    lead_s: float
    window_s: float


async def drive(
    call: Call, questions: Sequence[Question], in_flight: int, window_s: float, cpu: Callable[[], float]
) -> figures.Leg:
    """Keep a number of calls in flight for a while and sum them up.

    Every call counts, from the first one sent to the last one answered: answers may come in bursts, and a
    clock that stopped between two of them would see too many calls or too few.

    Args:
        call: Asks the target.
        questions: What to ask, in turn, and the right replies.
        in_flight: How many callers there are.
        window_s: Seconds after which no caller asks again; each asks at least once.
        cpu: Reads the CPU time that the target has taken, in seconds.

    Raises:
        BenchFailed: If a reply is wrong.
        grpc.aio.AioRpcError: If a call fails.
    """
    latencies_s: list[float] = []
    other: list[tuple[Question, bytes]] = []
    turn = count()
    started, cpu_before_s = time.perf_counter(), cpu()

    async def caller() -> None:
        ends = False
        while not ends:
            sent = time.perf_counter()
            question = questions[next(turn) % len(questions)]
            reply = await call(question.request)
            done = time.perf_counter()
            latencies_s.append(done - sent)
            if reply != question.reply:
                other.append((question, reply))
            ends = done >= started + window_s

    await asyncio.gather(*(caller() for _ in range(in_flight)))
    elapsed_s, cpu_s = time.perf_counter() - started, cpu() - cpu_before_s
    for question, reply in other:
        check(question, reply)
    return figures.leg(latencies_s, elapsed_s, cpu_s)
