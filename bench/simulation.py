"""What a policy of lingering does to arrivals, in virtual time: who rides with whom, and how long each waits.

Members are a machine of one of three kinds: it works on one batch after another, as a processor does, or on
any number side by side, as remote servers do, or in the process that reads the requests, which reads none
meanwhile. A batch takes a fixed time and a time for each request in it.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from gateway.edge.coalesce.line import MOST_PLACES
from gateway.policies.linger import Linger, Places

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Alone", "Fixed", "Machine", "Ridden", "bursts", "poisson", "simulate", "steady", "unlimited"]

_ARRIVES, _ENDS, _LOOKS = range(3)


@dataclass(frozen=True, slots=True)
class Machine:
    """What answers.

    Args:
        batch_s: Seconds that a batch takes, whoever is in it.
        request_s: Seconds that each request in it adds.
        side_by_side: Whether several batches are answered at once, as quickly as one.
        inline: Whether it is the process that reads the requests.
        read_s: Seconds that it takes to read one.
    """

    batch_s: float = 0.001
    request_s: float = 0.00005
    side_by_side: bool = False
    inline: bool = False
    read_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Ridden:
    """One request: when it came, left and was answered, and how many rode in its batch."""

    arrived: float
    left: float
    answered: float
    riders: int


class Alone(Linger):
    """Every request leaves at once, whoever else is there."""

    def leaves_at(self, **_: float) -> float:
        """Return the past."""
        return -math.inf


class Fixed(Linger):
    """Every batch waits for the cap, as a fixed queue delay does."""

    def leaves_at(self, *, oldest: float, **_: float) -> float:
        """Return when the first has waited for the cap."""
        return oldest + self.cap_s


def simulate(
    linger: Linger,
    machine: Machine,
    arrivals: Sequence[float],
    *,
    clients: int = 0,
    until_s: float = math.inf,
    places: Places | None = None,
    most_riders: int = 256,
) -> list[Ridden]:
    """Let requests come and be answered.

    Args:
        linger: The policy.
        machine: What answers.
        arrivals: When requests come, in order.
        clients: Of these, the first so many ask again as soon as they are answered.
        until_s: When clients stop asking.
        places: How many batches may be under way; None = as the gateway has it.
        most_riders: The most requests of a batch.

    Example:
        >>> [ridden.left for ridden in simulate(Linger(cap_s=0.005), Machine(), [0.0, 1.0])]
        [0.0, 1.0]
    """
    places, number = places or Places(most=MOST_PLACES), count()
    ridden: list[Ridden] = []
    waiting: deque[tuple[float, bool, float]] = deque()
    events: list[tuple[float, int, int, Any]] = [
        (at, next(number), _ARRIVES, (at, i < clients)) for i, at in enumerate(arrivals)
    ]
    heapq.heapify(events)
    riding = under_way = 0
    free_at = reads_at = looks_at = 0.0
    unnoticed: deque[tuple[int, Any]] = deque()
    while events or unnoticed:
        if unnoticed and (not events or reads_at <= events[0][0]):
            now, (kind, what) = reads_at, unnoticed.popleft()
        else:
            now, _, kind, what = heapq.heappop(events)
            if now < reads_at:
                # the process is busy: this is noticed when it is not, in the order in which it happened
                unnoticed.append((kind, what))
                continue
        if kind == _ARRIVES:
            reads_at = now = now + machine.read_s
            waiting.append((*what, now))
            linger.arrived(now, present=len(waiting) + riding)
        elif kind == _ENDS:
            left, riders = what
            wanted = under_way >= places.number and bool(waiting)
            under_way, riding = under_way - 1, riding - len(riders)
            linger.ended(now - left)
            places.ended(now, riders=len(riders), took_s=now - left, wanted=wanted)
            for arrived, returns, _ in riders:
                ridden.append(Ridden(arrived, left, now, len(riders)))
                if returns and now < until_s:
                    heapq.heappush(events, (now, next(number), _ARRIVES, (now, True)))
        while waiting and under_way < places.number:
            at = linger.leaves_at(
                waiting=len(waiting), oldest=waiting[0][2], soonest=math.inf, places=places.number
            )
            if at > now and len(waiting) < most_riders:
                # one that comes earlier will look again
                if not now < looks_at <= at:
                    looks_at = at
                    heapq.heappush(events, (at, next(number), _LOOKS, None))
                break
            most = 1 if isinstance(linger, Alone) else most_riders
            leaving = [waiting.popleft() for _ in range(min(most, len(waiting)))]
            under_way, riding = under_way + 1, riding + len(leaving)
            linger.left(present=len(waiting) + riding)
            begins = now if machine.side_by_side else max(now, free_at)
            free_at = begins + machine.batch_s + machine.request_s * len(leaving)
            heapq.heappush(events, (free_at, next(number), _ENDS, (now, leaving)))
            if machine.inline:
                reads_at = free_at
    return ridden


def unlimited() -> Places:
    """Return as many places as anybody may want."""
    places = Places(most=10**9)
    places.number = 10**9
    return places


def steady(rate: float, for_s: float) -> list[float]:
    """Return arrivals at equal distances."""
    return [i / rate for i in range(round(rate * for_s))]


def poisson(rate: float, for_s: float, seed: int = 1) -> list[float]:
    """Return arrivals of many callers that know nothing of each other."""
    gaps = np.random.default_rng(seed).exponential(1 / rate, round(rate * for_s))
    return [float(at) for at in np.cumsum(gaps)]


def bursts(size: int, every_s: float, for_s: float) -> list[float]:
    """Return arrivals in bursts, 20 us apart within one."""
    return [i * every_s + j * 20e-6 for i in range(round(for_s / every_s)) for j in range(size)]
