"""The servers that most cases compare: our gateway, once for each backend, and the echo beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench import BenchFailed, models
from bench.answers import Question, asked
from bench.configs import BACKENDS, write_config
from bench.figures import BASE
from bench.rounds import Turn
from bench.targets import echo, gateway

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from bench.figures import Load
    from bench.generators import Ask
    from bench.rounds import Bench
    from bench.targets import Target

__all__ = ["BACKENDS", "Ours", "in_flight", "question", "serve", "start", "turns"]

#: Distinct requests of a question; fewer where they are large.
DISTINCT, DISTINCT_BYTES = 32, 8 * 1024 * 1024
#: Connections that callers share.
_CONNECTIONS = 4
_NOTHING = f"there is nothing to measure: --only has to name {' or '.join(BACKENDS)} too"


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
    strategy = {"kind": "mean", "output": models.OUTPUT}

    def write(backend: str, path: Path) -> Path:
        return write_config(path, repository, backend, ensembles, strategy=strategy)

    gateways, failed = serve(stack, bench, str(columns), write)
    return Ours(repository, ensembles, gateways, failed)


def serve(
    stack: ExitStack, bench: Bench, name: str, write: Callable[[str, Path], Path]
) -> tuple[dict[str, Target], dict[str, str]]:
    """Start a gateway for each backend that is wanted.

    Args:
        stack: Ends them.
        bench: Says which are wanted and where files go.
        name: Part of the folders' names.
        write: Writes the configuration for a backend to a file.

    Returns:
        The gateways by backend, and why the others cannot be measured.

    Raises:
        BenchFailed: If none can be started.
    """
    gateways: dict[str, Target] = {}
    failed: dict[str, str] = {}
    for backend in filter(bench.wants, BACKENDS):
        folder = bench.out / f"{name}-{backend}"
        try:
            config = write(backend, folder / "accord.yaml")
            gateways[backend] = stack.enter_context(gateway(config, folder))
        except BenchFailed as error:
            failed[backend] = str(error)
    if not gateways:
        raise BenchFailed("; ".join(f"{name}: {why}" for name, why in failed.items()) or _NOTHING)
    return gateways, failed


def question(repository: Path, name: str, members: Sequence[str], columns: int, count: int) -> Question:
    """Return what tiny models are asked, and the right answers.

    Args:
        repository: The models.
        name: The ensemble or the model.
        members: The models whose mean is the answer.
        columns: Elements of a row.
        count: Rows of each request.
    """
    distinct = max(2, min(DISTINCT, DISTINCT_BYTES // (4 * columns * count)))
    feeds = [models.rows(count, columns, seed) for seed in range(distinct)]
    return Question(name, feeds, models.means(repository, members, feeds, (models.OUTPUT,)))


def turns(
    stack: ExitStack,
    bench: Bench,
    targets: Mapping[str, tuple[Target, Question]],
    loads: Iterable[Load],
) -> list[Turn]:
    """Check the answers of all targets, start an echo that gives the last one's, and return the turns.

    Args:
        stack: Ends the echo.
        bench: Says where files go.
        targets: Whom to ask what, by the name in tables.
        loads: Under which loads.

    Raises:
        BenchFailed: If an answer is wrong.
    """
    asks: dict[str, tuple[Target, Ask]] = {}
    reply = b""
    for name, (target, what) in targets.items():
        try:
            ask, reply = asked(target.address, what)
        except BenchFailed as error:
            raise BenchFailed(f"{name}: {what.model}: {error}") from None
        asks[name] = (target, ask)
    base = stack.enter_context(echo(reply, bench.out / "echo"))
    last = asks[name][1]
    every = {BASE: (base, replace(last, url=last.url.replace(target.address, base.address))), **asks}
    return [Turn(load, name, *pair) for load in loads for name, pair in every.items()]


def in_flight(count: int) -> dict[str, int]:
    """Return the arguments of a closed loop with so many calls in flight."""
    return {"in_flight": count, "connections": min(count, _CONNECTIONS)}
