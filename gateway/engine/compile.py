"""Compiles the configuration, and what is known of its models, to one plan per name.

Rules:

- Nested ensembles become inlined merges; they are not a kind of backend.
- Equal calls (same model, version and input mapping) are one call with the union of the outputs; what
  nobody reads of a nested ensemble is not asked for.
- A seat whose model is not known yet, or whose outputs cannot be merged with those of the seats before
  it, is *barred*: it counts as failed, its ensemble lives on. ``accord check`` refuses what it can prove.
- A member is compiled after those that it reads. One that only feeds others stands in no merge; one whose
  upstream is barred is barred for the same cause.
- Names and labels are made canonical here, so that a strategy sees one name and one class order.
- Everything here is pure: a plan is compiled again when more becomes known of its models.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

from gateway.config.schema import Quorum
from gateway.engine.calls import share, upstream_of
from gateway.engine.fit import fit
from gateway.engine.mixing import may_mix
from gateway.engine.plan import Call, Merge, Plan, Reading, Seat, seats_of
from gateway.engine.prune import prune
from gateway.engine.single import most_rows
from gateway.engine.wiring import EdgeError, Wiring, with_rows
from gateway.strategies import registry
from gateway.strategies.base import StrategyError
from gateway.strategies.tasks import Tasks
from protos.errors import Cause

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.config.schema import Config, Ensemble, Member
    from gateway.config.schema import Source as SourceConfig
    from gateway.engine.plan import Source
    from gateway.strategies.base import Strategy
    from protos.model import ModelSpec
    from protos.tensor import TensorSpec

__all__ = ["MAX_SEATS", "Problem", "compile_ensemble"]

_NOT_KNOWN = "its model is not known yet"
#: Most seats of one plan: ensembles that share ensembles would else double with every level.
MAX_SEATS = 1024


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a seat, or with an empty seat a whole ensemble, cannot be served as configured.

    Args:
        ensemble: The ensemble's name.
        seat: Index of the seat, or None.
        message: What is wrong.
        input: The seat's tensor that is at fault, if it is one.
        key: Of a whole ensemble, the key at fault.
    """

    ensemble: str
    seat: int | None
    message: str
    input: str = ""
    key: str = "strategy"


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


def _awaits(source: Call | Merge | None) -> bool:
    """Tell whether more outputs may come, because a model below is not known yet."""
    if not isinstance(source, Merge):
        return False
    return any(seat.barred is Cause.MEMBER_NOT_READY or _awaits(seat.source) for seat in source.seats)


def _default_quorum(strategy: Strategy) -> Quorum | None:
    # where the first answer decides, one is enough; elsewhere every member counts
    return Quorum(count=1) if strategy.traits.arrival_dependent else None


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A member: its seat, and all that it returns, under its own names and with the row axis."""

    seat: Seat
    outputs: Sequence[TensorSpec] = ()


class _BarredError(Exception):
    """A member reads one that cannot be asked; that one's own problem is told already."""

    def __init__(self, upstream: Seat) -> None:
        super().__init__(upstream.name)
        self.upstream = upstream


class _Compiler:
    """Collects request inputs and problems while it descends one ensemble, into each below it once."""

    def __init__(self, config: Config, models: Mapping[str, ModelSpec | None]) -> None:
        self._config = config
        self._models = models
        self._merges: dict[tuple[str, frozenset[tuple[str, Source]]], Merge] = {}
        self._takes: dict[str, tuple[str, ...] | None] = {}
        self._wiring = Wiring()
        self._max_rows: list[int] = []
        self._problems: list[Problem] = []
        #: How many members were compiled: ensembles with inputs of their own are compiled for each of these.
        self._size = 0
        #: Which member's tensor, of which ensemble, first reads some outputs; nested ones may get them.
        self._edges: dict[Source, tuple[str, int, str]] = {}
        #: The seats that lead to the ensemble that is compiled now.
        self._path: tuple[str, ...] = ()

    def plan(self, name: str) -> tuple[Plan, list[Problem]]:
        root = self._merge(name, {})
        root = prune(root, frozenset(spec.name for spec in root.outputs))
        merge, upstream, calls = share(root, upstream_of(name, self._wiring.upstream))
        ensemble = self._config.ensembles[name]
        plan = Plan(
            name=name,
            version=ensemble.version,
            kind=ensemble.strategy.kind,
            merge=merge,
            calls=calls,
            upstream=upstream,
            inputs=self._inputs(name, ensemble),
            spared=frozenset(ensemble.optional_inputs),
            max_rows=min(self._max_rows, default=0),
            deadline_s=ensemble.deadline_s or self._config.server.deadline_s,
        )
        return plan, self._problems

    def _inputs(self, name: str, ensemble: Ensemble) -> tuple[TensorSpec, ...]:
        """Return what a request carries; a tensor that it may lack is optional, whoever needs it."""
        inputs = self._wiring.inputs
        unknown = set(ensemble.optional_inputs) - {spec.name for spec in inputs}
        if unknown and not any(self._models[model] is None for model in self._config.models):
            listed = ", ".join(repr(spec.name) for spec in inputs)
            problem = f"no member takes {min(unknown)!r}, which optional_inputs names; they take {listed}"
            self._problems.append(Problem(name, None, problem, key="optional_inputs"))
        return tuple(
            replace(spec, optional=True) if spec.name in ensemble.optional_inputs else spec for spec in inputs
        )

    def _merge(self, name: str, sources: Mapping[str, Source]) -> Merge:
        """Compile an ensemble whose request's tensors come from elsewhere, where sources say so."""
        key = name, frozenset(sources.items())
        if key not in self._merges:
            self._merges[key] = self._compiled(name, sources)
        return self._merges[key]

    def _compiled(self, name: str, sources: Mapping[str, Source]) -> Merge:
        ensemble = self._config.ensembles[name]
        strategy = self._strategy(name, ensemble)
        members = self._members(name, ensemble, sources)
        seats = {index: member.seat for index, member in enumerate(members) if member.seat.counts}

        def bar(index: int, problem: str) -> Seat:
            return self._bar(name, index, seats[index], problem)

        proved, outputs = fit(ensemble, strategy, seats, bar)
        return Merge(
            name=name,
            strategy=strategy,
            seats=tuple(proved),
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
            return Tasks()

    def _members(self, name: str, ensemble: Ensemble, sources: Mapping[str, Source]) -> Sequence[_Compiled]:
        """Compile the members, each after those that it reads; return them in config order."""
        size = len(ensemble.members)
        index_of = {member.seat: index for index, member in enumerate(ensemble.members)}
        reads = {index: [index_of[s] for s in member.reads] for index, member in enumerate(ensemble.members)}
        compiled: dict[int, _Compiled] = {}
        for index in TopologicalSorter(reads).static_order():
            member, counts = ensemble.members[index], ensemble.counting[index]
            upstream = {ensemble.members[i].seat: compiled[i] for i in reads[index]}
            self._size += 1
            found = self._member(name, index, member, sources, upstream)
            below = sum(1 for _ in seats_of(found.seat.source)) if isinstance(found.seat.source, Merge) else 0
            if size + below > MAX_SEATS or self._size > MAX_SEATS:
                problem = f"with it there are more than {MAX_SEATS} seats, nested ones counted; nest less"
                found = _Compiled(self._bar(name, index, found.seat, problem))
            else:
                size += below
            compiled[index] = replace(found, seat=replace(found.seat, counts=counts))
        return [compiled[index] for index in sorted(compiled)]

    def _member(
        self,
        ensemble: str,
        index: int,
        member: Member,
        sources: Mapping[str, Source],
        upstream: Mapping[str, _Compiled],
    ) -> _Compiled:
        seat = Seat(
            name=member.seat,
            target=member.target,
            source=None,
            weight=member.weight,
            required=member.required,
            timeout_s=member.timeout_s,
        )
        try:
            own = {
                name: self._source(name, given, sources, upstream) for name, given in member.inputs.items()
            }
            for name, given in member.inputs.items():
                if given.reads:
                    self._edges.setdefault(own[name], (ensemble, index, name))
            if member.ensemble is not None:
                return self._nested(ensemble, index, seat, member, {**sources, **own})
            return self._model(ensemble, index, seat, member, {**sources, **own})
        except _BarredError as error:
            above = error.upstream
            problem = f"it reads member {above.name!r}, which cannot be asked: {above.problem or _NOT_KNOWN}"
            return _Compiled(replace(seat, barred=above.barred or Cause.MEMBER_NOT_READY, problem=problem))
        except EdgeError as error:
            written = member.inputs.get(error.own)
            inherited = sources.get(error.own if written is None else written.request or "", "")
            where, number, name = self._edges.get(inherited, (ensemble, index, error.own))
            self._problems.append(Problem(where, number, str(error), name))
            return _Compiled(replace(seat, barred=Cause.MEMBER_BAD_OUTPUT, problem=str(error)))

    def _nested(
        self, ensemble: str, index: int, seat: Seat, member: Member, sources: Mapping[str, Source]
    ) -> _Compiled:
        taken = self._taken(member.target)
        if taken is not None and (wrong := set(member.inputs).difference(taken)):
            listed = ", ".join(map(repr, taken))
            problem = f"{member.target!r} has no input {min(wrong)!r}; its members take {listed}"
            raise EdgeError(min(wrong), problem)
        above, self._path = self._path, (*self._path, seat.name)
        merge = self._merge(member.target, sources)
        self._path = above
        causes = {below.barred for below in merge.seats if below.barred}
        if causes and not merge.outputs:
            unknown = Cause.MEMBER_NOT_READY in causes
            cause = Cause.MEMBER_NOT_READY if unknown else Cause.MEMBER_BAD_OUTPUT
            return _Compiled(replace(seat, barred=cause, problem="none of its members can be asked"))
        returned = {spec.name for spec in merge.outputs}
        if not returned.issuperset(member.outputs.values()) and _awaits(merge):
            return _Compiled(replace(seat, barred=Cause.MEMBER_NOT_READY, problem=_NOT_KNOWN))
        return _Compiled(
            self._read(ensemble, index, replace(seat, source=merge), member, merge.outputs), merge.outputs
        )

    def _taken(self, name: str) -> tuple[str, ...] | None:
        """Return the tensors of its request that an ensemble's members take; None if not all are known."""
        if name not in self._takes:
            self._takes[name] = self._found_taken(name)
        return self._takes[name]

    def _found_taken(self, name: str) -> tuple[str, ...] | None:
        taken: dict[str, None] = {}
        for member in self._config.ensembles[name].members:
            if member.ensemble is not None:
                below = self._taken(member.target)
            else:
                spec = self._models[member.target]
                below = None if spec is None else tuple(own.name for own in spec.inputs)
            if below is None:
                return None
            sources = {own: member.inputs.get(own) for own in below}
            names = (own if source is None else source.request for own, source in sources.items())
            taken.update((name, None) for name in names if name is not None)
        return tuple(taken)

    def _model(
        self, ensemble: str, index: int, seat: Seat, member: Member, sources: Mapping[str, Source]
    ) -> _Compiled:
        spec = self._models[member.target]
        if spec is None:
            unknown = replace(seat, barred=Cause.MEMBER_NOT_READY, problem=_NOT_KNOWN)
            return _Compiled(unknown)
        if wrong := set(member.inputs) - {own.name for own in spec.inputs}:
            listed = ", ".join(repr(own.name) for own in spec.inputs)
            raise EdgeError(min(wrong), f"{member.target!r} has no input {min(wrong)!r}; it takes {listed}")
        mixes = may_mix(self._config.models[member.target], spec)
        call = self._wiring.call(member.target, spec, sources, mixes=mixes)
        self._max_rows.append(most_rows(self._config, member.target, spec))
        outputs = [with_rows(s, spec) for s in spec.outputs]
        return _Compiled(self._read(ensemble, index, replace(seat, source=call), member, outputs), outputs)

    def _source(
        self,
        own: str,
        given: SourceConfig,
        sources: Mapping[str, Source],
        upstream: Mapping[str, _Compiled],
    ) -> Source:
        """Return where a member's tensor comes from; what it reads becomes an upstream seat."""
        if given.request is not None:
            return sources.get(given.request, given.request)
        feeds = []
        for part in given.reads:
            read = upstream[part.member]
            awaited = _awaits(read.seat.source) and part.output not in {spec.name for spec in read.outputs}
            if read.seat.barred or awaited:
                raise _BarredError(read.seat)
            name = "/".join((*self._path, part.member))
            feeds.append(self._wiring.feed(read.seat, name, read.outputs, part.output, own=own))
            if self._wiring.size > MAX_SEATS:
                raise EdgeError(own, f"with what it reads more than {MAX_SEATS} seats feed others; nest less")
        return tuple(feeds)

    def _bar(self, ensemble: str, index: int, seat: Seat, problem: str) -> Seat:
        self._problems.append(Problem(ensemble, index, problem))
        return replace(seat, source=None, barred=Cause.MEMBER_BAD_OUTPUT, problem=problem)

    def _read(
        self, ensemble: str, index: int, seat: Seat, member: Member, outputs: Sequence[TensorSpec]
    ) -> Seat:
        available = {spec.name: spec for spec in outputs}
        unknown = [source for source in member.outputs.values() if source not in available]
        if unknown:
            listed = ", ".join(map(repr, available))
            problem = f"{member.target!r} has no output {unknown[0]!r}; it returns {listed}"
            return self._bar(ensemble, index, seat, problem)
        names = member.outputs or {name: name for name in available}
        readings = [
            Reading(source=source, spec=replace(available[source], name=name))
            for name, source in names.items()
        ]
        return replace(seat, readings=tuple(readings))
