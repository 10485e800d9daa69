"""A worker is killed while callers keep asking: what they see, call by call."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from accord.client import CallError
from accord.v1 import errors_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from accord.client import Client

__all__ = ["Call", "Outage", "kill_and_watch"]

CALLERS = 2
CALM_S = 1.0
RETURN_TIMEOUT_S = 30.0
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Call:
    """One call.

    Args:
        row: The row it asked for.
        sent_s: When it was sent, in seconds since the callers started.
        took_s: How long it took.
        error: Why it failed; empty when it was answered.
        degraded: Whether the answer said that a member is missing.
        missing: Each missing member and the cause.
        outputs: The answer.
    """

    row: int
    sent_s: float
    took_s: float
    error: str
    degraded: bool
    missing: Mapping[str, str]
    outputs: Mapping[str, NDArray[Any]]

    @property
    def ended_s(self) -> float:
        """When it ended, in seconds since the callers started."""
        return self.sent_s + self.took_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """What happened.

    Args:
        victim: The model whose worker was killed.
        killed_s: When, in seconds since the callers started.
        calls: Every call, in the order in which they were sent.
    """

    victim: str
    killed_s: float
    calls: tuple[Call, ...]

    @property
    def failed(self) -> tuple[Call, ...]:
        """The calls without an answer."""
        return tuple(call for call in self.calls if call.error)

    @property
    def without_victim(self) -> tuple[Call, ...]:
        """The answers that the victim is missing from."""
        return tuple(call for call in self.calls if self.victim in call.missing)

    @property
    def silent(self) -> tuple[Call, ...]:
        """The answers that lack a member and do not say so, or say so and lack none."""
        return tuple(call for call in self.calls if not call.error and call.degraded != bool(call.missing))

    @property
    def back_s(self) -> float | None:
        """Seconds from the kill to the first call after the last one that lacked the victim, if any came."""
        lacking = [call.sent_s for call in self.without_victim]
        whole = [call.sent_s for call in self.calls if not call.missing and not call.error]
        after = [sent for sent in whole if lacking and sent > max(lacking)]
        return after[0] - self.killed_s if after else None


def kill_and_watch(
    client: Client, ensemble: str, inputs: Mapping[str, NDArray[Any]], victim: str, pid: int
) -> Outage:
    """Let several callers ask row by row, kill a worker, and go on until it has answered again for a while.

    Args:
        client: A connection to the gateway; callers share it.
        ensemble: The ensemble they ask.
        inputs: Rows to ask for, by input name; used round and round.
        victim: The model to lose, and its seat.
        pid: The process id of its worker.
    """
    calls: list[Call] = []
    number, stop, started = count(), threading.Event(), time.monotonic()
    rows = len(next(iter(inputs.values())))

    def ask_on() -> None:
        while not stop.is_set():
            calls.append(_ask(client, ensemble, inputs, next(number) % rows, started))

    callers = [threading.Thread(target=ask_on, daemon=True) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    try:
        time.sleep(CALM_S)
        killed_s = time.monotonic() - started
        os.kill(pid, signal.SIGKILL)
        _await_return(calls, victim, time.monotonic() + RETURN_TIMEOUT_S)
        time.sleep(CALM_S)
    finally:
        stop.set()
        for caller in callers:
            caller.join()
    ordered = tuple(sorted(calls, key=lambda call: call.sent_s))
    return Outage(victim=victim, killed_s=killed_s, calls=ordered)


def _await_return(calls: list[Call], victim: str, deadline: float) -> None:
    """Wait until the victim has been missed and is there again, or the deadline has passed."""
    missed, seen = False, len(calls)
    while time.monotonic() < deadline:
        fresh = calls[seen:]
        seen += len(fresh)
        missed = missed or any(victim in call.missing for call in fresh)
        if missed and fresh and not any(call.missing or call.error for call in fresh):
            return
        time.sleep(_POLL_S)


def _ask(client: Client, ensemble: str, inputs: Mapping[str, NDArray[Any]], row: int, started: float) -> Call:
    sent = time.monotonic()
    one = {name: array[row : row + 1] for name, array in inputs.items()}
    try:
        answer = client.infer(ensemble, one)
    except CallError as error:
        return Call(
            row, sent - started, time.monotonic() - sent, str(error), degraded=False, missing={}, outputs={}
        )
    missing = {
        member.seat: errors_pb2.Cause.Name(member.cause).removeprefix("CAUSE_")
        for member in answer.report.members
        if member.outcome != errors_pb2.OUTCOME_OK
    }
    took_s = time.monotonic() - sent
    return Call(row, sent - started, took_s, "", answer.report.degraded, missing, dict(answer.outputs))
