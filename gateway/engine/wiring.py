"""Where the inputs of a plan's calls come from: a request's tensors, and what other members answer.

Rules:

- Members that take one tensor of the request agree on its datatype and shape, and on whether they batch.
- What an edge brings has the datatype and shape that its reader takes; a dimension that only one of the two
  knows is trusted until an answer shows otherwise.
- Outputs that stand side by side have one datatype, and differ in nothing but the last axis. One that has no
  axis beyond the rows is one column.
- Whoever is read by several is asked once: equal calls are one upstream seat.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from gateway.engine.plan import Call, Feed, Merge, Reading, Seat, seats_of
from protos.tensor import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.engine.plan import Source
    from protos.model import ModelSpec

__all__ = ["EdgeError", "Wiring", "common_shape", "with_rows"]

_Key: TypeAlias = Hashable


class EdgeError(ValueError):
    """An input cannot get what it takes.

    Args:
        own: The member's tensor; empty where it is none by itself.
        problem: What is wrong.
    """

    def __init__(self, own: str, problem: str) -> None:
        super().__init__(problem)
        self.own = own


class Wiring:
    """The inputs of all calls of one plan."""

    def __init__(self) -> None:
        self._claimed: dict[str, tuple[TensorSpec, str]] = {}
        self._batches: bool | None = None
        self._numbers: dict[_Key, int] = {}
        self._upstream: list[Seat] = []
        self._size = 0

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What a request must carry."""
        return tuple(spec for spec, _ in self._claimed.values())

    @property
    def upstream(self) -> tuple[Seat, ...]:
        """What feeds others, each after those that it reads."""
        return tuple(self._upstream)

    @property
    def size(self) -> int:
        """How many seats feed others, nested ones counted."""
        return self._size

    def call(self, model: str, spec: ModelSpec, sources: Mapping[str, Source], *, mixes: bool) -> Call:
        """Wire one call, and enter what it reads into the request's inputs.

        Args:
            model: The model's name.
            spec: What is known of it.
            sources: Where tensors come from, by the model's names; others come from the request as they are.
            mixes: Whether rows of different requests may ride in it.

        Raises:
            EdgeError: If an input cannot get what it takes.
        """
        if self._batches not in (None, spec.batches):
            does = "batches" if spec.batches else "does not batch"
            raise EdgeError("", f"model {model!r} {does}, unlike the members before it")
        self._batches = spec.batches
        claimed: dict[str, tuple[TensorSpec, str]] = {}
        inputs = tuple((own.name, sources.get(own.name, own.name)) for own in spec.inputs)
        for own, (_, source) in zip(spec.inputs, inputs, strict=True):
            if isinstance(source, str):
                earlier = claimed.get(source) or self._claimed.get(source)
                claimed[source] = _agreed(replace(own, name=source), model, earlier)
            else:
                self._check_edge(model, with_rows(own, spec), source)
        self._claimed.update(claimed)
        optional = frozenset(own.name for own in spec.inputs if own.optional)
        return Call(model=model, inputs=inputs, optional=optional, mixes=mixes)

    def feed(self, seat: Seat, name: str, outputs: Sequence[TensorSpec], output: str, *, own: str) -> Feed:
        """Make one output of a seat an upstream one.

        Args:
            seat: The seat that is read.
            name: What reports call it.
            outputs: All that it returns, shapes with the row axis.
            output: The one that is read.
            own: The reader's tensor.

        Raises:
            EdgeError: If it has no such output.
        """
        known = [spec.name for spec in outputs]
        if output not in known:
            listed = ", ".join(map(repr, known)) or "nothing"
            raise EdgeError(own, f"reads {output!r} of member {seat.name!r}, which returns {listed}")
        key = (seat.source.model, seat.source.inputs) if isinstance(seat.source, Call) else id(seat.source)
        number = self._numbers.setdefault(key, len(self._upstream))
        if number == len(self._upstream):
            readings = tuple(Reading(source=spec.name, spec=spec) for spec in outputs)
            self._upstream.append(replace(seat, name=name, required=False, readings=readings))
            below = seats_of(seat.source) if isinstance(seat.source, Merge) else ()
            self._size += 1 + sum(1 for _ in below)
        else:
            self._upstream[number] = _both(self._upstream[number], replace(seat, name=name))
        return Feed(number, output)

    def _check_edge(self, model: str, own: TensorSpec, feeds: Sequence[Feed]) -> None:
        brought = self._stacked(own.name, feeds)
        if own.datatype == brought.datatype and common_shape(own.shape, brought.shape) is not None:
            return
        read = " beside ".join(f"{f.output!r} of member {self._upstream[f.seat].name!r}" for f in feeds)
        raise EdgeError(
            own.name,
            f"model {model!r} takes {own.name!r} as {own.datatype} {list(own.shape)}, "
            f"but {read} is {brought.datatype} {list(brought.shape)}",
        )

    def _stacked(self, own: str, feeds: Sequence[Feed]) -> TensorSpec:
        specs = [
            next(
                reading.spec
                for reading in self._upstream[feed.seat].readings
                if reading.source == feed.output
            )
            for feed in feeds
        ]
        if len(specs) == 1:
            return specs[0]
        columns = [spec if len(spec.shape) > 1 else replace(spec, shape=(*spec.shape, 1)) for spec in specs]
        first = columns[0]
        shape = first.shape[:-1]
        for spec in columns[1:]:
            common = common_shape(shape, spec.shape[:-1])
            if spec.datatype != first.datatype or common is None:
                raise EdgeError(
                    own,
                    f"cannot stack {spec.datatype} {list(spec.shape)} beside {first.datatype} "
                    f"{list(first.shape)}: they must differ in nothing but the last axis",
                )
            shape = common
        widths = [spec.shape[-1] for spec in columns]
        return TensorSpec(own, first.datatype, (*shape, -1 if -1 in widths else sum(widths)))


def _both(have: Seat, seat: Seat) -> Seat:
    """Return one upstream seat for two that ask the same, which waits as long as either."""
    limits = [each.timeout_s for each in (have, seat)]
    longest = None if None in limits else max(limit for limit in limits if limit is not None)
    # under the name of the one that counts, where its report stands
    named = seat if seat.counts and not have.counts else have
    return replace(named, readings=have.readings, required=False, timeout_s=longest)


def _agreed(wanted: TensorSpec, model: str, earlier: tuple[TensorSpec, str] | None) -> tuple[TensorSpec, str]:
    if earlier is None:
        return wanted, model
    have, by = earlier
    shape = common_shape(have.shape, wanted.shape)
    if have.datatype != wanted.datatype or shape is None:
        raise EdgeError(
            "",
            f"model {model!r} takes {wanted.name!r} as {wanted.datatype} {list(wanted.shape)}, "
            f"model {by!r} as {have.datatype} {list(have.shape)}",
        )
    return replace(wanted, shape=shape, optional=have.optional and wanted.optional), model


def common_shape(a: Sequence[int], b: Sequence[int]) -> tuple[int, ...] | None:
    """Return what two shapes have in common, -1 standing for any length; None if nothing fits both.

    Example:
        >>> common_shape((-1, 3), (-1, -1))
        (-1, 3)
    """
    if len(a) != len(b) or any(-1 not in (x, y) and x != y for x, y in zip(a, b, strict=True)):
        return None
    return tuple(max(x, y) for x, y in zip(a, b, strict=True))


def with_rows(spec: TensorSpec, model: ModelSpec) -> TensorSpec:
    """Return a model's tensor with the row axis that every array has here: one row if it does not batch."""
    return spec if model.batches else replace(spec, shape=(1, *spec.shape))
