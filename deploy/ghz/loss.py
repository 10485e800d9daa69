"""Taking a worker away in the middle of a run, and showing that the run met the loss."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from accord.client import Client
from deploy.ghz.server import total

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from accord.v1.ensemble_pb2 import DescribeEnsembleResponse
    from deploy.ghz.server import Server

__all__ = ["Loss", "NoVictim", "lose_one", "optional_worker"]

_POLL_S = 0.02


class NoVictim(RuntimeError):  # noqa: N818 - the configuration's property, not an error of ours
    """No worker is optional: the ensemble needs all of its members."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A worker that was killed under load.

    Args:
        model: Its model.
        pid: The process that was killed.
        answered_before: Answers since the run began, when it was killed.
        without: Answers of the run that lack a member.
        back_s: Seconds until all members were ready again; None if that took too long.
    """

    model: str
    pid: int
    answered_before: int
    without: int
    back_s: float | None

    @property
    def problem(self) -> str:
        """Why this proves nothing, or what did not heal; empty when all is well."""
        if not self.without:
            return f"no answer lacked {self.model}: the load did not meet the loss"
        if self.back_s is None:
            return f"{self.model} did not come back"
        return ""


def optional_worker(
    described: DescribeEnsembleResponse, workers: Sequence[Mapping[str, Any]]
) -> Mapping[str, Any]:
    """Choose the worker of the last member that the ensemble can do without.

    Args:
        described: The ensemble.
        workers: The announced workers: ``model``, ``pid``.

    Raises:
        NoVictim: If there is none.
    """
    members = described.members
    weight = sum(m.weight for m in members)
    for member in reversed(members):
        match described.quorum.WhichOneof("need"):
            case "count":
                enough = len(members) - 1 >= described.quorum.count
            case "weight":
                enough = weight > 0 and (weight - member.weight) / weight >= described.quorum.weight
            case _:
                enough = False
        running = [w for w in workers if w["model"] == member.model and w["pid"] is not None]
        if enough and not member.required and len(running) == 1:
            return running[0]
    raise NoVictim(
        f"ensemble {described.name!r} cannot lose a worker: it needs a quorum below the number of its "
        "members, and an optional member with a single local worker"
    )


def lose_one(
    server: Server, ensemble: str, *, after: int, ended: Callable[[], bool], within_s: float = 60.0
) -> Loss:
    """Kill an optional worker under load; wait until it is back and the load has ended; tell what happened.

    Args:
        server: The server under load.
        ensemble: The ensemble that is asked.
        after: Answers from now on after which the worker is killed.
        ended: Tells whether the load has ended.
        within_s: Longest time to wait, for each thing.

    Raises:
        NoVictim: If the ensemble can lose no worker.
    """
    with Client(server.address) as client:
        described = client.describe(ensemble)
        worker = optional_worker(described, server.facts()["workers"])
        before = server.metrics()

        def since(sample: str) -> int:
            return int(total(server.metrics(), sample, name=ensemble) - total(before, sample, name=ensemble))

        def is_back() -> bool:
            pids = [w["pid"] for w in server.facts()["workers"] if w["model"] == worker["model"]]
            members = client.describe(ensemble).members
            return pids[0] not in (None, worker["pid"]) and all(m.ready for m in members)

        _wait(lambda: ended() or since("accord_requests_total") >= after, within_s)
        answered = since("accord_requests_total")
        os.kill(worker["pid"], signal.SIGKILL)
        back_s = _wait(is_back, within_s)
        _wait(ended, within_s)
        return Loss(
            model=worker["model"],
            pid=worker["pid"],
            answered_before=answered,
            without=since("accord_degraded_total"),
            back_s=back_s,
        )


def _wait(condition: Callable[[], bool], within_s: float) -> float | None:
    """Wait until a condition holds; return the seconds that it took, or None if it does not in time."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > within_s:
            return None
        time.sleep(_POLL_S)
    return time.monotonic() - started
