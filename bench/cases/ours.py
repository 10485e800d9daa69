"""The servers that most cases compare: our gateway, once for each backend, and the echo beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import BenchFailed, models
from bench.answers import Question, asked
from bench.configs import BACKENDS, write_config
from bench.figures import BASE
from bench.rounds import Turn
from bench.targets import echo, gateway

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from bench.figures import Load
    from bench.rounds import Bench
    from bench.targets import Target

__all__ = ["Ours", "in_flight", "question", "start", "turns"]

#: Distinct requests of a question; fewer where they are large.
DISTINCT, DISTINCT_BYTES = 32, 8 * 1024 * 1024
#: Connections that callers share.
_CONNECTIONS = 4


@dataclass(frozen=True, slots=True)
class Ours:
    """The gateways that run, and the ones that do not.

    Args:
        repository: The models that they serve.
        ensembles: Members' names by ensemble.
        gateways: By backend.
        failed: Why the others cannot be measured, by backend.
    """

    repository: Path
    ensembles: Mapping[str, Sequence[str]]
    gateways: Mapping[str, Target]
    failed: Mapping[str, str]


def start(stack: ExitStack, bench: Bench, columns: int, counts: Sequence[int]) -> Ours:
    """Write tiny models and serve means of the first so many of them, ``mean-<count>``, with each backend.

    Args:
        stack: Ends the gateways.
        bench: Says which are wanted and where files go.
        columns: Elements of a row.
        counts: Members of each ensemble.

    Raises:
        BenchFailed: If no gateway can be started.
    """
    repository = bench.out / "models" / str(columns)
    names = models.write_tiny(repository, columns, max(counts))
    ensembles = {f"mean-{count}": names[:count] for count in counts}
    gateways: dict[str, Target] = {}
    failed: dict[str, str] = {}
    for backend in filter(bench.wants, BACKENDS):
        folder = bench.out / f"{backend}-{columns}"
        strategy = {"kind": "mean", "output": models.OUTPUT}
        config = write_config(folder / "accord.yaml", repository, backend, ensembles, strategy=strategy)
        try:
            gateways[backend] = stack.enter_context(gateway(config, folder))
        except BenchFailed as error:
            failed[backend] = str(error)
    if not gateways:
        raise BenchFailed("; ".join(f"{name}: {why}" for name, why in failed.items()) or "nothing to measure")
    return Ours(repository, ensembles, gateways, failed)


def question(ours: Ours, ensemble: str, columns: int, count: int) -> Question:
    """Return what an ensemble of ours is asked, and the right answers.

    Args:
        ours: Knows the ensemble's models.
        ensemble: The ensemble.
        columns: Elements of a row.
        count: Rows of each request.
    """
    distinct = max(2, min(DISTINCT, DISTINCT_BYTES // (4 * columns * count)))
    feeds = [models.rows(count, columns, seed) for seed in range(distinct)]
    expected = models.means(ours.repository, ours.ensembles[ensemble], feeds, (models.OUTPUT,))
    return Question(ensemble, feeds, expected)


def turns(
    stack: ExitStack, bench: Bench, what: Question, targets: Mapping[str, Target], loads: Iterable[Load]
) -> list[Turn]:
    """Check the answers of all targets, start an echo that gives the first one's, and return the turns.

    Raises:
        BenchFailed: If an answer is wrong.
    """
    replies: list[bytes] = []
    asks = {}
    for name, target in targets.items():
        try:
            asks[name], reply = asked(target.address, what)
        except BenchFailed as error:
            raise BenchFailed(f"{name}: {what.model}: {error}") from None
        replies.append(reply)
    base = stack.enter_context(echo(replies[0], bench.out / "echo"))
    ask = asks[next(iter(asks))]
    rest = ask.url.partition("://")[2].partition("/")[2]
    echoed = type(ask)(f"http://{base.address}/{rest}", ask.bodies, ask.reply_bytes)
    every = {BASE: (base, echoed), **{name: (targets[name], asks[name]) for name in targets}}
    return [Turn(load, name, *pair) for load in loads for name, pair in every.items()]


def in_flight(count: int) -> dict[str, int]:
    """Return the arguments of a closed loop with so many calls in flight."""
    return {"in_flight": count, "connections": min(count, _CONNECTIONS)}
