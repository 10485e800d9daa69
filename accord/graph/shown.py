"""What a plan shows: the request's tensors, the calls, the merges, and who reads what of whom."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from gateway.engine.plan import Call, Merge

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from gateway.engine.plan import Plan, Seat, Source
    from protos.tensor import TensorSpec

__all__ = ["Asked", "Port", "Read", "Shown", "ShownCall", "ShownMerge", "ShownSeat", "ShownTensor", "show"]

#: Where a tensor comes from if it comes from the request.
REQUEST = "request"


@dataclass(frozen=True, slots=True)
class ShownTensor:
    """A tensor of the request or of an answer."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.datatype} {list(self.shape)}"


@dataclass(frozen=True, slots=True)
class Port:
    """One output of a call or a merge, or with the source ``request`` one of the request's tensors."""

    source: str
    output: str


@dataclass(frozen=True, slots=True)
class Read:
    """An input of a call, and what it is made of: one tensor, or several side by side."""

    input: str
    ports: tuple[Port, ...]
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCall:
    """One call to a model per batch.

    Args:
        id: ``call`` and its number, in the order in which calls can be made.
        model: The model.
        seats: Whose call it is; seats of nested ensembles with their path.
        reads: Its inputs.
        outputs: What is asked of it.
        shares: Whether rows of different requests may ride in it.
        timeout_s: How long it may take; None = as long as the request.
    """

    id: str
    model: str
    seats: tuple[str, ...]
    reads: tuple[Read, ...]
    outputs: tuple[str, ...]
    shares: bool
    timeout_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownSeat:
    """A seat of a merge.

    Args:
        name: Its name.
        target: Its model or ensemble.
        asks: The call or merge that answers for it; empty = none.
        outputs: ``(name in the merge, name in the answer)``.
        required: Whether an answer without it is an error.
        problem: Why it cannot be asked; empty = it can.
    """

    name: str
    target: str
    asks: str
    outputs: tuple[tuple[str, str], ...]
    required: bool
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownMerge:
    """A strategy over seats.

    Args:
        id: ``merge`` and its number.
        ensemble: The ensemble.
        strategy: The strategy's kind.
        seats: Its seats that count.
        outputs: What it yields.
    """

    id: str
    ensemble: str
    strategy: str
    seats: tuple[ShownSeat, ...]
    outputs: tuple[ShownTensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A whole plan.

    Args:
        name: The ensemble's name.
        version: Its version.
        inputs: What a request carries.
        calls: All calls, each after those that it reads.
        merges: All merges, the root last.
        outputs: What it returns.
        max_rows: The most rows of one call; 0 = it does not batch.
        shares: Whether requests may ride together in batches.
    """

    name: str
    version: str
    inputs: tuple[ShownTensor, ...]
    calls: tuple[ShownCall, ...]
    merges: tuple[ShownMerge, ...]
    outputs: tuple[ShownTensor, ...]
    max_rows: int
    shares: bool


#: What answers for a seat.
Asked: TypeAlias = Call | Merge


def show(plan: Plan) -> Shown:
    """Return what a plan shows."""
    return _Showing(plan).whole()


@dataclass(slots=True)
class _Met:
    """A merge as far as it was met: each place that reads it needs some of its outputs."""

    id: str
    merge: Merge
    seats: dict[str, ShownSeat] = field(default_factory=dict)
    outputs: dict[str, ShownTensor] = field(default_factory=dict)


class _Showing:
    """Numbers calls and merges, each once however many seats it answers for."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._calls = {_key(call): f"call {n}" for n, call in enumerate(plan.calls, 1)}
        self._merges: dict[Hashable, _Met] = {}
        self._seats: dict[str, dict[str, None]] = {}

    def whole(self) -> Shown:
        plan = self._plan
        above = [seat for seat in (plan.upstream.seats if plan.upstream else ()) if seat.chosen]
        for seat in above:
            self._answering(seat, "")
        self._merge(plan.merge, "")
        calls = tuple(self._call(call) for call in plan.calls)
        return Shown(
            name=plan.name,
            version=plan.version,
            inputs=tuple(map(_tensor, plan.inputs)),
            calls=calls,
            merges=tuple(map(_shown, self._merges.values())),
            outputs=tuple(map(_tensor, plan.outputs)),
            max_rows=plan.max_rows,
            shares=plan.mixes,
        )

    def _answering(self, seat: Seat, path: str) -> str:
        """Return the id of what answers for a seat, and note whose it is."""
        name = f"{path}{seat.name}"
        match seat.source:
            case Call() as call if _key(call) in self._calls:
                answering = self._calls[_key(call)]
                self._seats.setdefault(answering, {})[name] = None
                return answering
            case Merge() as merge:
                return self._merge(merge, f"{name}/")
        return ""

    def _merge(self, merge: Merge, path: str) -> str:
        # what nobody reads here is not asked here
        asks = {seat.name: self._answering(seat, path) for seat in merge.seats if seat.chosen}
        met = self._merges.setdefault(_key(merge), _Met(f"merge {len(self._merges) + 1}", merge))
        for seat in (seat for seat in merge.seats if seat.chosen):
            before = met.seats[seat.name].outputs if seat.name in met.seats else ()
            outputs = ((reading.spec.name, reading.source) for reading in seat.readings)
            met.seats[seat.name] = ShownSeat(
                name=seat.name,
                target=seat.target,
                asks=asks[seat.name],
                outputs=tuple(dict.fromkeys((*before, *outputs))),
                required=seat.required,
                problem=seat.problem,
            )
        met.outputs |= {spec.name: _tensor(spec) for spec in merge.outputs}
        return met.id

    def _call(self, call: Call) -> ShownCall:
        answering = self._calls[_key(call)]
        return ShownCall(
            id=answering,
            model=call.model,
            seats=tuple(self._seats.get(answering, ())),
            reads=tuple(
                Read(own, tuple(self._ports(source)), own in call.optional) for own, source in call.inputs
            ),
            outputs=call.outputs,
            shares=call.mixes,
            timeout_s=call.timeout_s,
        )

    def _ports(self, source: Source) -> Iterator[Port]:
        if isinstance(source, str):
            yield Port(REQUEST, source)
            return
        above = self._plan.upstream.seats if self._plan.upstream else ()
        for feed in source:
            yield Port(self._answering(above[feed.seat], ""), feed.output)


def _tensor(spec: TensorSpec) -> ShownTensor:
    return ShownTensor(spec.name, spec.datatype, spec.shape, spec.optional)


def _shown(met: _Met) -> ShownMerge:
    names = [seat.name for seat in met.merge.seats if seat.name in met.seats]
    return ShownMerge(
        id=met.id,
        ensemble=met.merge.name,
        strategy=met.merge.strategy.kind,
        seats=tuple(met.seats[name] for name in names),
        outputs=tuple(met.outputs.values()),
    )


def _key(source: Asked) -> Hashable:
    """Return what makes calls and merges the same one."""
    if isinstance(source, Call):
        return source.model, source.inputs, source.version
    below = tuple(_key(seat.source) if seat.source else seat.name for seat in source.seats)
    return source.name, below
