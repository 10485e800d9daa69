"""Compiles the configuration, and what is known of its models, to one plan per name.

Rules:

- Nested ensembles become inlined merges; they are not a kind of backend.
- Equal calls (same model, version and input mapping) are one call with the union of the outputs; what
  nobody reads of a nested ensemble is not asked for.
- A seat whose model is not known yet, or whose outputs cannot be merged with those of the seats before
  it, is *barred*: it counts as failed, its ensemble lives on. ``accord check`` refuses what it can prove.
- Names and labels are made canonical here, so that a strategy sees one name and one class order.
- Everything here is pure: a plan is compiled again when more becomes known of its models.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.config.schema import Quorum
from gateway.engine.calls import share
from gateway.engine.labels import aligned, labels_for
from gateway.engine.mixing import may_mix
from gateway.engine.plan import Call, Merge, Plan, Reading, Seat, seats_of
from gateway.engine.prune import prune
from gateway.strategies import registry
from gateway.strategies.base import SeatSpec, StrategyError
from protos.errors import Cause

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.config.schema import Config, Ensemble, Member
    from gateway.strategies.base import Strategy
    from protos.model import ModelSpec
    from protos.tensor import TensorSpec

__all__ = ["MAX_SEATS", "Problem", "compile_ensemble", "compile_model"]

#: Most seats of one plan: ensembles that share ensembles would else double with every level.
MAX_SEATS = 1024


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


def compile_model(config: Config, name: str, spec: ModelSpec | None, version: str = "") -> Plan:
    """Compile the plan that serves one model under its own name: a single seat whose answer is the answer.

    Args:
        config: The configuration.
        name: The model.
        spec: What is known of it; None = nothing yet.
        version: The version that it asks for, of those that the specification names; empty = none.
    """
    strategy = registry.build("first", {})
    calls: tuple[Call, ...] = ()
    readings: tuple[Reading, ...] = ()
    if spec is not None:
        readings = tuple(Reading(source=s.name, spec=_with_rows(s, spec)) for s in spec.outputs)
        inputs = tuple((s.name, s.name) for s in spec.inputs)
        outputs = tuple(r.source for r in readings)
        mixes = may_mix(config.models[name], spec)
        calls = (Call(model=name, inputs=inputs, outputs=outputs, version=version, mixes=mixes),)
    seat = Seat(
        name=name,
        target=name,
        source=calls[0] if calls else None,
        weight=1.0,
        required=True,  # so that its own failure, not a quorum, is what the caller is told
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
        version=version or (spec.version if spec else ""),
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
    """Collects request inputs and problems while it descends one ensemble, into each below it once."""

    def __init__(self, config: Config, models: Mapping[str, ModelSpec | None]) -> None:
        self._config = config
        self._models = models
        self._merges: dict[str, Merge] = {}
        self._inputs: dict[str, tuple[TensorSpec, str]] = {}
        self._batches: bool | None = None
        self._max_rows: list[int] = []
        self._problems: list[Problem] = []

    def plan(self, name: str) -> tuple[Plan, list[Problem]]:
        root = self._merge(name)
        merge, calls = share(prune(root, frozenset(spec.name for spec in root.outputs)))
        ensemble = self._config.ensembles[name]
        plan = Plan(
            name=name,
            version=ensemble.version,
            kind=ensemble.strategy.kind,
            merge=merge,
            calls=calls,
            inputs=tuple(spec for spec, _ in self._inputs.values()),
            max_rows=min(self._max_rows, default=0),
            deadline_s=ensemble.deadline_s or self._config.server.deadline_s,
        )
        return plan, self._problems

    def _merge(self, name: str) -> Merge:
        if name not in self._merges:
            self._merges[name] = self._compiled(name)
        return self._merges[name]

    def _compiled(self, name: str) -> Merge:
        ensemble = self._config.ensembles[name]
        strategy = self._strategy(name, ensemble)
        seats = self._seats(name, ensemble)
        # where outputs only stand side by side, nothing is merged and classes need not agree
        if not strategy.traits.partial:
            seats = self._align(name, ensemble, strategy, seats)
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

    def _seats(self, name: str, ensemble: Ensemble) -> list[Seat]:
        seats, size = [], len(ensemble.members)
        for index, member in enumerate(ensemble.members):
            seat = self._seat(name, index, member)
            if isinstance(seat.source, Merge):
                below = sum(1 for _ in seats_of(seat.source))
                size += below
                if size > MAX_SEATS:
                    size -= below
                    problem = f"with it there are more than {MAX_SEATS} seats, nested ones counted; nest less"
                    seat = self._bar(name, index, seat, problem)
            seats.append(seat)
        return seats

    def _seat(self, ensemble: str, index: int, member: Member) -> Seat:
        seat = Seat(
            name=member.seat,
            target=member.target,
            source=None,
            weight=member.weight,
            required=member.required,
            timeout_s=member.timeout_s,
        )
        if member.ensemble is not None:
            merge = self._merge(member.ensemble)
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
        return Call(
            model=member.target, inputs=inputs, mixes=may_mix(self._config.models[member.target], spec)
        )

    def _claim_inputs(self, call: Call, spec: ModelSpec) -> str:
        """Enter what the call reads into the request's inputs; return what is wrong, or nothing."""
        if self._batches is None:
            self._batches = spec.batches
        if spec.batches != self._batches:
            does = "batches" if spec.batches else "does not batch"
            return f"model {call.model!r} {does}, unlike the members before it"
        claimed: dict[str, tuple[TensorSpec, str]] = {}
        for own, (_, name) in zip(spec.inputs, call.inputs, strict=True):
            wanted = replace(own, name=name)
            earlier = claimed.get(name) or self._inputs.get(name)
            if earlier is not None:
                have, by = earlier
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
            listed = ", ".join(map(repr, available))
            problem = f"{member.target!r} has no output {unknown[0]!r}; it returns {listed}"
            return self._bar(ensemble, index, seat, problem)
        if isinstance(seat.source, Call) and (
            wrong := set(member.inputs) - {m for m, _ in seat.source.inputs}
        ):
            return self._bar(ensemble, index, seat, f"{member.target!r} has no input {min(wrong)!r}")
        names = member.outputs or {name: name for name in available}
        readings = [
            Reading(source=source, spec=replace(available[source], name=name))
            for name, source in names.items()
        ]
        return replace(seat, readings=tuple(readings))

    def _align(self, name: str, ensemble: Ensemble, strategy: Strategy, seats: list[Seat]) -> list[Seat]:
        """Put every labelled output that is merged into one class order, named alike on all seats."""
        canonical: dict[str, tuple[str, ...]] = {}
        merged = [_merged_outputs(strategy, seat) for seat in seats]
        for seat, names in zip(seats, merged, strict=True):
            for spec in (reading.spec for reading in seat.readings if reading.spec.name in names):
                if labels := labels_for(spec, ensemble.labels):
                    canonical.setdefault(spec.name, labels)
        readable = []
        for index, (seat, names) in enumerate(zip(seats, merged, strict=True)):
            try:
                readings = tuple(
                    aligned(r, canonical.get(r.spec.name, ())) if r.spec.name in names else r
                    for r in seat.readings
                )
                readable.append(replace(seat, readings=readings))
            except StrategyError as error:
                readable.append(self._bar(name, index, seat, str(error)))
        return readable

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


def _common_shape(a: Sequence[int], b: Sequence[int]) -> tuple[int, ...] | None:
    if len(a) != len(b) or any(-1 not in (x, y) and x != y for x, y in zip(a, b, strict=True)):
        return None
    return tuple(max(x, y) for x, y in zip(a, b, strict=True))


def _merged_outputs(strategy: Strategy, seat: Seat) -> frozenset[str]:
    try:
        return strategy.reads(seat.spec())
    except StrategyError:  # which the proof will say again, and say where
        return frozenset()
