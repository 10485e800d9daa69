"""Others of the same shape: three tiny models and their mean, each beside the echo and our gateway.

They run one at a time, because some use the CPU even when nobody asks. Each is held to the right answers
first. What cannot be installed, does not start or fails under load stands in the same table as what it is.
"""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import numpy as np

from bench import BenchFailed, models
from bench import plot as plots
from bench.answers import asked, compare
from bench.cases import ours
from bench.configs import BACKENDS
from bench.figures import Load, Result
from bench.generators import Ask, h2load
from bench.peers.ensembles import PEERS, Ensemble
from bench.report import Claim, Outcome, Table, between, problems, row, short, table
from bench.rounds import Turn, measured
from bench.targets import Target, module, owned, worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bench.answers import Question
    from bench.rounds import Bench

__all__ = ["TEXT", "foreign", "measure", "naive", "plot", "right"]

TEXT = "naive fan-out, Triton, MLServer, KServe, Ray Serve, LitServe, each beside our gateway"
COLUMNS, ENSEMBLE = 256, "mean-3"
ONE, SOME = 1, 64
NAIVE = "naive fan-out"
#: Over HTTP/1.1 with JSON, by h2load; all others are asked over gRPC.
HTTP = ("LitServe",)
#: Python servers, as ours is, by the backend of ours that has their shape: models in processes of their own,
#: or all in one process with the server.
SHAPES = {"worker": (NAIVE, "Ray Serve"), "inprocess": ("MLServer", "KServe", "LitServe")}
MAX_ROUNDS = 3
_TIMEOUT_S = 30.0


def measure(bench: Bench) -> Outcome:
    """Measure each peer in rounds of its own, with the echo and our gateways in each."""
    bench = replace(bench, pace=replace(bench.pace, rounds=min(MAX_ROUNDS, bench.pace.rounds)))
    results: list[Result] = []
    with ExitStack() as stack:
        mine = ours.start(stack, bench, COLUMNS, [3])
        members = mine.ensembles[ENSEMBLE]
        what = ours.question(mine.repository, ENSEMBLE, members, COLUMNS, 1)
        targets = {name: (target, what) for name, target in mine.gateways.items()}
        known = ours.turns(stack, bench, targets, (_load(ONE), _load(SOME)))
        ensemble = Ensemble(
            ENSEMBLE, mine.repository, tuple(members), models.INPUT, models.OUTPUT, COLUMNS, models.WIDTH
        )
        servers: dict[str, Callable[[Ensemble, Path], AbstractContextManager[Target]]]
        servers = {NAIVE: naive, **{name: partial(foreign, name) for name in PEERS}}
        for i, name in enumerate(wanted := [name for name in servers if bench.wants(name)]):
            tell = partial(_tell, bench, i, len(wanted))
            results += _beside(
                name, replace(bench, progress=tell), known, servers[name](ensemble, bench.out), what
            )
    failed = [
        Result(_load(SOME), name, f"not measured: {why}", {}, {}, ()) for name, why in mine.failed.items()
    ]
    return Outcome([_table([*results, *failed])], _claims(results), results, how=bench.pace.text)


def plot(outcome: Outcome, path: Path, caption: str) -> None:
    """Draw latency and throughput of all, with our own figures from the first peer's rounds."""
    shown: dict[tuple[str, str], Result] = {}
    for result in outcome.results:
        load = replace(result.load, name=result.load.name.partition(", beside")[0])
        shown.setdefault((load.name, result.target), replace(result, load=load))
    plots.ranges(path, [shown[key] for key in sorted(shown, key=lambda key: len(key[0]))], caption)


def _tell(bench: Bench, index: int, count: int, share: float, what: str) -> None:
    bench.progress((index + share) / count, what)


def _load(count: int, peer: str = "") -> Load:
    name = f"{count} in flight" + (f", beside {peer}" if peer else "")
    return Load(name, **ours.in_flight(count))


def _beside(
    name: str, bench: Bench, known: Sequence[Turn], server: AbstractContextManager[Target], what: Question
) -> tuple[Result, ...]:
    """Measure one peer, or tell why that is not possible."""
    loads = {turn.load: replace(turn.load, name=f"{turn.load.name}, beside {name}") for turn in known}
    bench.progress(0.0, f"starting {name}")
    try:
        with server as target:
            ask, drive = right(name, target, what)
            turns = []
            for load, own in loads.items():
                turns += [replace(turn, load=own) for turn in known if turn.load == load]
                turns.append(Turn(own, name, target, ask, drive))
            return measured(bench, turns)
    except BenchFailed as error:
        return tuple(Result(own, name, f"not measured: {error}", {}, {}, ()) for own in loads.values())


def right(name: str, target: Target, what: Question) -> tuple[Ask, Any]:
    """Hold a peer to the right answers; return how it is asked under load, and with which generator.

    Args:
        name: The peer.
        target: Where it runs.
        what: What it is asked.

    Raises:
        BenchFailed: If an answer is wrong, or h2load is missing where it is needed.
    """
    if name not in HTTP:
        return asked(target.address, what)[0], None
    h2load.ensure()
    headers = {"content-type": "application/json"}
    url = f"http://{target.address}/predict"
    bodies = [
        json.dumps({key: array.tolist() for key, array in feed.items()}).encode() for feed in what.feeds
    ]
    replies = []
    for body, expected in zip(bodies, what.expected, strict=True):
        with urlopen(Request(url, body, headers), timeout=_TIMEOUT_S) as answer:
            replies.append(answer.read())
        compare({key: np.asarray(array) for key, array in json.loads(replies[-1]).items()}, expected)
    return Ask(url, tuple(bodies), len(replies[0]), headers), h2load.drive


@contextmanager
def naive(ensemble: Ensemble, out: Path) -> Iterator[Target]:
    """Serve the naive fan-out, with a worker of ours for each member.

    Args:
        ensemble: What to serve.
        out: Folder for logs.

    Raises:
        BenchFailed: If it does not start.
    """
    folder = out / "naive"
    with ExitStack() as stack:
        before = owned()
        members = [
            (name, stack.enter_context(worker(ensemble.source, name, folder))) for name in ensemble.members
        ]
        arguments = [f"{name}={member.address}" for name, member in members]
        server = stack.enter_context(module("bench.peers.naive", *arguments, log=folder / "naive.log"))
        yield replace(server, processes=owned() - before)


@contextmanager
def foreign(name: str, ensemble: Ensemble, out: Path) -> Iterator[Target]:
    """Serve an ensemble with a foreign server.

    Args:
        name: The server, one of :data:`bench.peers.ensembles.PEERS`.
        ensemble: What to serve.
        out: Folder for its models and log.

    Raises:
        NotInstalled: If it cannot be installed.
        PeerFailed: If it does not start, with what its log says of it.
    """
    folder = out / name.replace(" ", "-").lower()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    before = owned()
    with PEERS[name](ensemble, folder) as peer:
        yield Target(peer.address, owned() - before)


def _claims(results: Sequence[Result]) -> list[Claim]:
    return [
        Claim(
            f"{backend} beside {name}: throughput, {SOME} in flight, 1 row",
            bound=4.0,
            at_least=True,
            unit="times as much",
            found=between(results, _load(SOME, name).name, backend, name, "calls_per_s"),
        )
        for backend, names in SHAPES.items()
        for name in names
    ]


def _table(results: Sequence[Result]) -> Table:
    """Return all peers' figures, and how many times theirs is ours in the same rounds."""
    rows = []
    seen: set[tuple[str, str]] = set()
    for count in (ONE, SOME):
        for result in results:
            load, _, peer = result.load.name.partition(", beside ")
            if load != _load(count).name or (load, result.target) in seen:
                continue
            seen.add((load, result.target))
            times = [
                between(results, result.load.name, backend, result.target, "calls_per_s")
                for backend in BACKENDS
                if result.target == peer
            ]
            cells = [f"{short(spread.median)}" if spread else "" for spread in times] or [""] * len(BACKENDS)
            how = "HTTP/1.1, JSON" if result.target in HTTP else "gRPC"
            rows.append([load, result.target, how, *row(result), *cells, result.problem.partition(": ")[0]])
    columns = ["load", "asked", "over", *row(None), *(f"{backend} ÷ it" for backend in BACKENDS), "failed"]
    return table("Others of the same shape", columns, rows, numbers=3, notes=problems(results))
