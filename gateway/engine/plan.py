"""What a plan is: the calls to make for one batch, and the tree of merges of their answers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from gateway.strategies.base import SeatSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from gateway.config.schema import Quorum
    from gateway.strategies.base import Strategy
    from protos.errors import Cause
    from protos.tensor import TensorSpec

__all__ = ["Call", "Feed", "Merge", "Plan", "Reading", "Seat", "Source", "quorum_met", "seats_of"]


@dataclass(frozen=True, slots=True)
class Feed:
    """One output of an upstream seat.

    Args:
        seat: Its index among :attr:`Plan.upstream`.
        output: Its name there.
    """

    seat: int
    output: str


#: Where a model's input comes from: a request's tensor, or outputs side by side along the last axis.
Source: TypeAlias = str | tuple[Feed, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call to a model per batch.

    Args:
        model: The model's name in the configuration.
        inputs: ``(model's tensor, where it comes from)``.
        optional: Those of the model's tensors that it can do without.
        outputs: The model's outputs that any seat needs.
        timeout_s: The longest timeout of its seats; None = only the call's budget.
        version: The version asked for; empty = the one that its configuration names, or the server's choice.
        mixes: Whether rows of different requests may ride in it.
    """

    model: str
    inputs: tuple[tuple[str, Source], ...]
    optional: frozenset[str] = frozenset()
    outputs: tuple[str, ...] = ()
    timeout_s: float | None = None
    version: str = ""
    mixes: bool = False
    #: All upstream outputs that it reads.
    feeds: tuple[Feed, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Derive what every batch needs."""
        feeds = (feed for _, source in self.inputs if not isinstance(source, str) for feed in source)
        object.__setattr__(self, "feeds", tuple(dict.fromkeys(feeds)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How one output of a seat is read.

    Args:
        source: Its name in the answer.
        spec: Its name for the strategy, datatype, shape with row axis, canonical labels.
        order: Positions of the canonical classes along the answer's last axis; None = as they come.
    """

    source: str
    spec: TensorSpec
    order: NDArray[np.intp] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """One member of a merge.

    Args:
        name: Its name.
        target: The model or ensemble behind it.
        source: The call or merge that answers for it; None if its model is not known.
        weight: Its weight.
        required: Whether an answer without it is an error.
        timeout_s: How long it is waited for; None = the merge's own budget.
        readings: The outputs that are needed of it.
        chosen: Whether this request asks for it.
        barred: Why it cannot be asked; None = it can.
        problem: The same for operators; of a seat that is not chosen, why it is not, for callers.
        counts: Whether it stands in a merge, so that its answer counts; else it only feeds others.
    """

    name: str
    target: str
    source: Call | Merge | None
    weight: float
    required: bool
    timeout_s: float | None
    readings: tuple[Reading, ...] = ()
    chosen: bool = True
    barred: Cause | None = None
    problem: str = ""
    counts: bool = True

    def spec(self) -> SeatSpec:
        """Return what the strategy may know of it."""
        return SeatSpec(
            name=self.name, weight=self.weight, outputs={r.spec.name: r.spec for r in self.readings}
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Merge:
    """A strategy over seats.

    Args:
        name: The ensemble's name.
        strategy: How answers merge.
        seats: Its seats, in config order.
        quorum: How many usable answers it needs; None = all chosen seats.
        nonfinite: ``drop``, ``pass`` or ``fail``.
        deadline_s: Budget; None = the server's.
        outputs: What it yields, shapes with row axis.
        weights: Seat weights, float64 [k].
        chosen: Whether each seat is asked, bool [k].
        labels: Canonical class names by output.
    """

    name: str
    strategy: Strategy
    seats: tuple[Seat, ...]
    quorum: Quorum | None
    nonfinite: str
    deadline_s: float | None
    outputs: tuple[TensorSpec, ...]
    weights: NDArray[np.float64] = field(init=False)
    chosen: NDArray[np.bool_] = field(init=False)
    labels: Mapping[str, tuple[str, ...]] = field(init=False)

    def __post_init__(self) -> None:
        """Derive what every batch needs."""
        specs = [reading.spec for seat in self.seats for reading in seat.readings]
        object.__setattr__(self, "weights", np.array([seat.weight for seat in self.seats], np.float64))
        object.__setattr__(self, "chosen", np.array([seat.chosen for seat in self.seats], np.bool_))
        object.__setattr__(self, "labels", {spec.name: spec.labels for spec in specs if spec.labels})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """Everything the engine needs to answer for one name.

    Args:
        name: The ensemble's or model's name.
        version: Its version as clients see it.
        kind: The strategy's kind; empty for a model served under its own name.
        merge: The root merge.
        calls: All calls, each once.
        upstream: What feeds others: seats that are asked for the rows for which a call needs them, as if of a
            merge that merges nothing. Each comes after those that it reads itself. None = there is nothing.
        inputs: What a request must carry; shapes with the row dimension where it batches.
        spared: Inputs that a request may lack: who needs them is then not asked.
        max_rows: The most rows of one call; 0 = it does not batch.
        deadline_s: Cap and default of a call's budget.
    """

    name: str
    version: str
    kind: str
    merge: Merge
    calls: tuple[Call, ...]
    upstream: Merge | None = None
    inputs: tuple[TensorSpec, ...]
    spared: frozenset[str] = frozenset()
    max_rows: int
    deadline_s: float
    #: Whether it is of any use to let different requests ride in one batch.
    mixes: bool = field(init=False)
    #: Whether all that its merge may need is asked at once and nothing can be said before all of it is there.
    flat: bool = field(init=False)

    def __post_init__(self) -> None:
        """Derive what every batch needs."""
        strategy = self.merge.strategy
        asked = all(
            isinstance(seat.source, Call) and seat.chosen and seat.barred is None and not seat.source.feeds
            for seat in self.merge.seats
        )
        object.__setattr__(self, "mixes", self.batches and any(call.mixes for call in self.calls))
        object.__setattr__(self, "flat", asked and not (strategy.settles_early or strategy.asks_in_waves))

    @property
    def known(self) -> bool:
        """Whether anything is known of its models, so that requests can be validated."""
        return bool(self.calls)

    @property
    def batches(self) -> bool:
        """Whether several rows may ride in one call."""
        return self.max_rows > 0

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What it returns, as clients see it: without the row axis where it does not batch."""
        if self.batches:
            return self.merge.outputs
        return tuple(replace(spec, shape=spec.shape[1:]) for spec in self.merge.outputs)

    def seats(self) -> Iterator[Seat]:
        """Yield every seat of a merge, nested ones after their ensemble."""
        yield from seats_of(self.merge)

    def can_answer(self, ready: Callable[[str], bool]) -> bool:
        """Tell whether the quorum can be reached with the models that are ready now."""
        up: list[bool] = []
        for seat in self.upstream.seats if self.upstream else ():
            up.append(_is_up(seat, up, ready))  # each after those that it reads
        return _can_answer(self.merge, up, ready)


def seats_of(merge: Merge) -> Iterator[Seat]:
    """Yield every seat of a merge, nested ones after their ensemble."""
    for seat in merge.seats:
        yield seat
        if isinstance(seat.source, Merge):
            yield from seats_of(seat.source)


def _is_up(seat: Seat, upstream: Sequence[bool], ready: Callable[[str], bool]) -> bool:
    match seat.source:
        case _ if seat.barred:
            return False
        case Call(model=model, feeds=feeds):
            return ready(model) and all(upstream[feed.seat] for feed in feeds)
        case Merge():
            return _can_answer(seat.source, upstream, ready)
    return False


def _can_answer(merge: Merge, upstream: Sequence[bool], ready: Callable[[str], bool]) -> bool:
    up = [seat.chosen and _is_up(seat, upstream, ready) for seat in merge.seats]
    required = all(
        is_up for is_up, seat in zip(up, merge.seats, strict=True) if seat.required and seat.chosen
    )
    return required and bool(quorum_met(merge, np.array(up)[:, None])[0])


def quorum_met(merge: Merge, usable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell per row, bool [n], whether the usable seats, bool [k, n], reach the quorum.

    Whatever the weights, it takes one usable seat at least: somebody must have answered.
    """
    if merge.quorum is not None and merge.quorum.weight is not None:
        # a rounding slack, so that a share of exactly 2/3 is reached by two of three
        least = merge.quorum.weight * float(merge.weights[merge.chosen].sum()) * (1 - 1e-12)
        return np.asarray((merge.weights @ usable >= least) & usable.any(axis=0))
    need = merge.quorum.count if merge.quorum is not None else None
    return np.asarray(usable.sum(axis=0) >= (need or int(merge.chosen.sum())))
