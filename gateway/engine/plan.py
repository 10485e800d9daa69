"""One compiled plan per ensemble: the calls to make and the merges of their answers.

Rules:

- Nested ensembles become inlined merges; they are not a kind of backend.
- Equal calls (same model, version and input mapping) are one call with the union of the outputs.
- A seat whose model is not known yet, or whose outputs cannot be merged with those of the seats before
  it, is *barred*: it counts as failed, its ensemble lives on. ``accord check`` refuses what it can prove.
- Names and labels are made canonical here, so that a strategy sees one name and one class order.
- Everything here is pure: a plan is compiled again when more becomes known of its models.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from gateway.config.schema import Quorum
from gateway.strategies import registry
from gateway.strategies.base import SeatSpec, StrategyError
from protos.errors import Cause
from protos.tensor import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from gateway.config.schema import Config, Ensemble, Member
    from gateway.strategies.base import Strategy
    from protos.model import ModelSpec

__all__ = ["Call", "Merge", "Plan", "Problem", "Seat", "compile_ensemble", "compile_model"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a seat, or with an empty seat a whole ensemble, cannot be served as configured.

    Args:
        ensemble: The ensemble's name.
        seat: Index of the seat, or None.
        message: What is wrong.
    """

    ensemble: str
    seat: int | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call to a model per batch.

    Args:
        model: The model's name in the configuration.
        inputs: ``(model's tensor, request's tensor)``.
        outputs: The model's outputs that any seat needs.
        timeout_s: The longest timeout of its seats; None = only the call's budget.
    """

    model: str
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[str, ...]
    timeout_s: float | None


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
        path: Its name with the seats above it, ``outer/inner``.
        target: The model or ensemble behind it.
        source: The call or merge that answers for it; None if its model is not known.
        weight: Its weight.
        required: Whether an answer without it is an error.
        timeout_s: How long it is waited for; None = the merge's own budget.
        readings: The outputs the strategy needs.
        chosen: Whether this request asks for it.
        barred: Why it cannot be asked; None = it can.
        problem: The same for operators.
    """

    name: str
    path: str
    target: str
    source: Call | Merge | None
    weight: float
    required: bool
    timeout_s: float | None
    readings: tuple[Reading, ...] = ()
    chosen: bool = True
    barred: Cause | None = None
    problem: str = ""

    def spec(self) -> SeatSpec:
        """Return what the strategy may know of it."""
        return SeatSpec(name=self.name, weight=self.weight, outputs={r.spec.name: r.spec for r in self.readings})


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
    labels: Mapping[str, tuple[str, ...]] = field(init=False)

    def __post_init__(self) -> None:
        """Derive what every batch needs."""
        specs = [reading.spec for seat in self.seats for reading in seat.readings]
        object.__setattr__(self, "weights", np.array([seat.weight for seat in self.seats], np.float64))
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
        inputs: What a request must carry; shapes with the row dimension where it batches.
        max_rows: The most rows of one call; 0 = it does not batch.
        deadline_s: Cap and default of a call's budget.
    """

    name: str
    version: str
    kind: str
    merge: Merge
    calls: tuple[Call, ...]
    inputs: tuple[TensorSpec, ...]
    max_rows: int
    deadline_s: float

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
        """Yield every seat, nested ones after their ensemble."""
        yield from _seats(self.merge)

    def can_answer(self, ready: Callable[[str], bool]) -> bool:
        """Tell whether the quorum can be reached with the models that are ready now."""
        return _can_answer(self.merge, ready)


def _seats(merge: Merge) -> Iterator[Seat]:
    for seat in merge.seats:
        yield seat
        if isinstance(seat.source, Merge):
            yield from _seats(seat.source)


def _can_answer(merge: Merge, ready: Callable[[str], bool]) -> bool:
    def up(seat: Seat) -> bool:
        if seat.barred or seat.source is None:
            return False
        return _can_answer(seat.source, ready) if isinstance(seat.source, Merge) else ready(seat.source.model)

    usable = np.array([[seat.chosen and up(seat)] for seat in merge.seats])
    required = all(up(seat) for seat in merge.seats if seat.required and seat.chosen)
    return required and bool(quorum_met(merge, usable)[0])


def quorum_met(merge: Merge, usable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell per row, bool [n], whether the usable seats, bool [k, n], reach the quorum."""
    chosen = np.array([seat.chosen for seat in merge.seats])
    if merge.quorum is not None and merge.quorum.weight is not None:
        # a rounding slack, so that a share of exactly 2/3 is reached by two of three
        least = merge.quorum.weight * float(merge.weights[chosen].sum()) * (1 - 1e-12)
        return np.asarray(merge.weights @ usable >= least)
    need = merge.quorum.count if merge.quorum is not None else None
    return np.asarray(usable.sum(axis=0) >= (need or int(chosen.sum())))


def compile_ensemble(
    config: Config, name: str, models: Mapping[str, ModelSpec | None]
) -> tuple[Plan, list[Problem]]:
    """Compile one ensemble.

    Args:
        config: A configuration whose references hold.
        name: The ensemble.
        models: What is known of each model; None = nothing yet.

    Returns:
        The plan, and everything that cannot be served as configured.
    """
    return _Compiler(config, models).plan(name)


def compile_model(config: Config, name: str, spec: ModelSpec | None) -> Plan:
    """Compile the plan that serves one model under its own name: a single seat whose answer is the answer."""
    strategy = registry.build("first", {})
    calls: tuple[Call, ...] = ()
    readings: tuple[Reading, ...] = ()
    if spec is not None:
        readings = tuple(Reading(source=s.name, spec=_with_rows(s, spec)) for s in spec.outputs)
        inputs = tuple((s.name, s.name) for s in spec.inputs)
        calls = (Call(model=name, inputs=inputs, outputs=tuple(r.source for r in readings), timeout_s=None),)
    seat = Seat(
        name=name,
        path=name,
        target=name,
        source=calls[0] if calls else None,
        weight=1.0,
        required=False,
        timeout_s=None,
        readings=readings,
        barred=None if calls else Cause.MEMBER_NOT_READY,
        problem="" if calls else "its model is not known yet",
    )
    merge = Merge(
        name=name,
        strategy=strategy,
        seats=(seat,),
        quorum=_default_quorum(strategy),
        nonfinite="pass",
        deadline_s=None,
        outputs=tuple(r.spec for r in readings),
    )
    return Plan(
        name=name,
        version=spec.version if spec else "",
        kind="",
        merge=merge,
        calls=calls,
        inputs=spec.inputs if spec else (),
        max_rows=_rows(config, name, spec) if spec else 0,
        deadline_s=config.server.deadline_s,
    )


def _default_quorum(strategy: Strategy) -> Quorum | None:
    # where the first answer decides, one is enough; elsewhere every member counts
    return Quorum(count=1) if strategy.traits.arrival_dependent else None


def _rows(config: Config, name: str, spec: ModelSpec) -> int:
    return (config.models[name].max_rows or spec.max_rows) if spec.batches else 0


def _with_rows(spec: TensorSpec, model: ModelSpec) -> TensorSpec:
    return spec if model.batches else replace(spec, shape=(1, *spec.shape))


class _Compiler:
    """Collects calls, request inputs and problems while it descends one ensemble."""

    def __init__(self, config: Config, models: Mapping[str, ModelSpec | None]) -> None:
        self._config = config
        self._models = models
        self._calls: dict[tuple[str, tuple[tuple[str, str], ...]], list[Call]] = {}
        self._inputs: dict[str, tuple[TensorSpec, str]] = {}
        self._batches: bool | None = None
        self._max_rows: list[int] = []
        self._problems: list[Problem] = []

    def plan(self, name: str) -> tuple[Plan, list[Problem]]:
        merge = self._share_calls(self._merge(name, ""))
        ensemble = self._config.ensembles[name]
        plan = Plan(
            name=name,
            version=ensemble.version,
            kind=ensemble.strategy.kind,
            merge=merge,
            calls=tuple(_joined(calls) for calls in self._calls.values()),
            inputs=tuple(spec for spec, _ in self._inputs.values()),
            max_rows=min(self._max_rows, default=0),
            deadline_s=ensemble.deadline_s or self._config.server.deadline_s,
        )
        return plan, self._problems

    def _merge(self, name: str, above: str) -> Merge:
        ensemble = self._config.ensembles[name]
        strategy = self._strategy(name, ensemble)
        seats = [self._seat(name, i, member, above) for i, member in enumerate(ensemble.members)]
        seats = self._align(name, ensemble, seats)
        seats, outputs = self._prove(name, strategy, seats)
        return Merge(
            name=name,
            strategy=strategy,
            seats=tuple(seats),
            quorum=ensemble.quorum or _default_quorum(strategy),
            nonfinite=ensemble.nonfinite,
            deadline_s=ensemble.deadline_s,
            outputs=outputs,
        )

    def _strategy(self, name: str, ensemble: Ensemble) -> Strategy:
        try:
            return registry.build(ensemble.strategy.kind, ensemble.strategy.options)
        except StrategyError as error:
            self._problems.append(Problem(name, None, str(error)))
            return registry.build("tasks", {})

    def _seat(self, ensemble: str, index: int, member: Member, above: str) -> Seat:
        path = f"{above}/{member.seat}" if above else member.seat
        seat = Seat(
            name=member.seat,
            path=path,
            target=member.target,
            source=None,
            weight=member.weight,
            required=member.required,
            timeout_s=member.timeout_s,
        )
        if member.ensemble is not None:
            merge = self._merge(member.ensemble, path)
            return self._read(ensemble, index, replace(seat, source=merge), member, merge.outputs)
        spec = self._models[member.target]
        if spec is None:
            return replace(seat, barred=Cause.MEMBER_NOT_READY, problem="its model is not known yet")
        call = self._call(member, spec)
        problem = self._claim_inputs(call, spec)
        if problem:
            return self._bar(ensemble, index, seat, problem)
        self._max_rows.append(_rows(self._config, member.target, spec))
        outputs = [_with_rows(s, spec) for s in spec.outputs]
        return self._read(ensemble, index, replace(seat, source=call), member, outputs)

    def _bar(self, ensemble: str, index: int, seat: Seat, problem: str) -> Seat:
        self._problems.append(Problem(ensemble, index, problem))
        return replace(seat, source=None, barred=Cause.MEMBER_BAD_OUTPUT, problem=problem)

    def _call(self, member: Member, spec: ModelSpec) -> Call:
        inputs = tuple((s.name, member.inputs.get(s.name, s.name)) for s in spec.inputs)
        return Call(model=member.target, inputs=inputs, outputs=(), timeout_s=member.timeout_s)

    def _claim_inputs(self, call: Call, spec: ModelSpec) -> str:
        """Enter what the call reads into the request's inputs; return what is wrong, or nothing."""
        if self._batches is None:
            self._batches = spec.batches
        if spec.batches != self._batches:
            return f"model {call.model!r} {'batches' if spec.batches else 'does not batch'}, unlike the members before it"
        claimed: dict[str, tuple[TensorSpec, str]] = {}
        for own, (_, name) in zip(spec.inputs, call.inputs, strict=True):
            wanted = replace(own, name=name)
            if name in self._inputs:
                have, by = self._inputs[name]
                shape = _common_shape(have.shape, wanted.shape)
                if have.datatype != wanted.datatype or shape is None:
                    return (
                        f"model {call.model!r} takes {name!r} as {wanted.datatype} {list(wanted.shape)}, "
                        f"model {by!r} as {have.datatype} {list(have.shape)}"
                    )
                wanted = replace(wanted, shape=shape, optional=have.optional and wanted.optional)
            claimed[name] = (wanted, call.model)
        self._inputs.update(claimed)
        return ""

    def _read(
        self, ensemble: str, index: int, seat: Seat, member: Member, outputs: Sequence[TensorSpec]
    ) -> Seat:
        available = {spec.name: spec for spec in outputs}
        unknown = [source for source in member.outputs.values() if source not in available]
        if unknown:
            return self._bar(
                ensemble,
                index,
                seat,
                f"{member.target!r} has no output {unknown[0]!r}; it returns {', '.join(map(repr, available))}",
            )
        if isinstance(seat.source, Call) and (wrong := set(member.inputs) - {m for m, _ in seat.source.inputs}):
            return self._bar(ensemble, index, seat, f"{member.target!r} has no input {min(wrong)!r}")
        names = member.outputs or {name: name for name in available}
        readings = [
            Reading(source=source, spec=replace(available[source], name=name)) for name, source in names.items()
        ]
        return replace(seat, readings=tuple(readings))

    def _align(self, name: str, ensemble: Ensemble, seats: list[Seat]) -> list[Seat]:
        """Put every labelled output into one class order, whose names then stand on all seats."""
        canonical: dict[str, tuple[str, ...]] = {}
        for seat in seats:
            for reading in seat.readings:
                spec = reading.spec
                labelled = spec.labels and len(spec.shape) > 1
                if labelled or (ensemble.labels and spec.shape[1:] == (len(ensemble.labels),)):
                    canonical.setdefault(spec.name, ensemble.labels or spec.labels)
        aligned = []
        for index, seat in enumerate(seats):
            try:
                readings = tuple(_aligned(r, canonical.get(r.spec.name, ())) for r in seat.readings)
                aligned.append(replace(seat, readings=readings))
            except StrategyError as error:
                aligned.append(self._bar(name, index, seat, str(error)))
        return aligned

    def _prove(
        self, name: str, strategy: Strategy, seats: list[Seat]
    ) -> tuple[list[Seat], tuple[TensorSpec, ...]]:
        """Find what the merge yields; bar each seat that does not fit those before it."""
        fitting: list[SeatSpec] = []
        outputs: tuple[TensorSpec, ...] = ()
        proved: list[Seat] = []
        for index, seat in enumerate(seats):
            if seat.barred:
                proved.append(seat)
                continue
            try:
                outputs = strategy.outputs([*fitting, seat.spec()])
            except StrategyError as error:
                proved.append(self._bar(name, index, seat, str(error)))
                continue
            needed = strategy.reads(seat.spec())
            kept = replace(seat, readings=tuple(r for r in seat.readings if r.spec.name in needed))
            fitting.append(seat.spec())
            proved.append(kept)
        return proved, outputs

    def _share_calls(self, merge: Merge) -> Merge:
        """Make equal calls one call with the union of the outputs and the longest timeout."""
        for seat in _seats(merge):
            if isinstance(seat.source, Call):
                outputs = tuple(reading.source for reading in seat.readings)
                call = replace(seat.source, outputs=outputs)
                self._calls.setdefault((call.model, call.inputs), []).append(call)
        return self._with_shared(merge)

    def _with_shared(self, merge: Merge) -> Merge:
        seats = []
        for seat in merge.seats:
            match seat.source:
                case Call(model=model, inputs=inputs):
                    seats.append(replace(seat, source=_joined(self._calls[model, inputs])))
                case Merge():
                    seats.append(replace(seat, source=self._with_shared(seat.source)))
                case None:
                    seats.append(seat)
        return replace(merge, seats=tuple(seats))


def _joined(calls: Sequence[Call]) -> Call:
    outputs = tuple(dict.fromkeys(name for call in calls for name in call.outputs))
    timeouts = [call.timeout_s for call in calls]
    longest = None if None in timeouts else max(t for t in timeouts if t is not None)
    return replace(calls[0], outputs=outputs, timeout_s=longest)


def _common_shape(a: Sequence[int], b: Sequence[int]) -> tuple[int, ...] | None:
    if len(a) != len(b) or any(-1 not in (x, y) and x != y for x, y in zip(a, b, strict=True)):
        return None
    return tuple(max(x, y) for x, y in zip(a, b, strict=True))


def _aligned(reading: Reading, canonical: tuple[str, ...]) -> Reading:
    own = reading.spec.labels
    if not canonical or own == canonical:
        return replace(reading, spec=replace(reading.spec, labels=canonical))
    if own and set(own) != set(canonical):
        only = sorted(set(own) ^ set(canonical))
        raise StrategyError(f"output {reading.source!r} has other classes than the members before it: {only}")
    order = np.array([own.index(label) for label in canonical], np.intp) if own else None
    return replace(reading, spec=replace(reading.spec, labels=canonical), order=order)
