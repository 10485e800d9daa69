"""The proof, before any request, that seats can be merged: what most ``Strategy.outputs`` are made of."""

from __future__ import annotations

from difflib import get_close_matches
from math import isfinite
from typing import TYPE_CHECKING

from gateway.strategies.base import SeatSpec, StrategyError
from protos.tensor import DTYPES, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ALL",
    "FLOATS",
    "NUMBERS",
    "check_weights",
    "first_seat",
    "only_output",
    "shared_spec",
    "shared_specs",
]

#: Datatypes that have a mean.
FLOATS = ("FP16", "BF16", "FP32", "FP64")
#: Datatypes that have an order which numpy folds.
NUMBERS = tuple(name for name in DTYPES if name != "BYTES")
#: Every datatype.
ALL = tuple(DTYPES)


def only_output(seats: Sequence[SeatSpec]) -> str:
    """Return the name of the one output that the first seat has.

    Raises:
        StrategyError: If there is no seat, or if the output must be named because there are several.
    """
    first = first_seat(seats)
    if len(first.outputs) != 1:
        raise StrategyError(
            f"member {first.name!r} has the outputs {_listed(first.outputs)}; name the one to merge with `output:`"
        )
    return next(iter(first.outputs))


def shared_specs(
    seats: Sequence[SeatSpec], name: str | None, datatypes: Sequence[str]
) -> tuple[TensorSpec, ...]:
    """Return what all seats agree on: one output, or every one when ``name`` is None.

    Raises:
        StrategyError: As :func:`shared_spec`; also if a seat has an output that the first one lacks.
    """
    if name is not None:
        return (shared_spec(seats, name, datatypes),)
    first = first_seat(seats)
    for seat in seats[1:]:
        if extra := sorted(set(seat.outputs) - set(first.outputs)):
            raise _missing(first, extra[0], seat)
    return tuple(shared_spec(seats, output, datatypes) for output in first.outputs)


def shared_spec(
    seats: Sequence[SeatSpec], name: str, datatypes: Sequence[str], *, any_length: bool = False
) -> TensorSpec:
    """Return the spec of an output that all seats have: same datatype and labels, compatible shapes.

    Args:
        seats: Who answers.
        name: The output.
        datatypes: What the merge can take.
        any_length: Whether dimensions after the row axis may differ.

    Returns:
        The common spec; a dimension that only some seats know is taken from them.

    Raises:
        StrategyError: With the output, the two members that differ and what each has.

    Example:
        >>> a = SeatSpec(name="a", weight=1.0, outputs={"p": TensorSpec("p", "FP32", (-1, 3))})
        >>> b = SeatSpec(name="b", weight=1.0, outputs={"p": TensorSpec("p", "FP32", (-1, 4))})
        >>> shared_spec([a, b], "p", FLOATS)
        Traceback (most recent call last):
        ...
        gateway.strategies.base.StrategyError: output 'p' has shape [-1, 3] at member 'a' but [-1, 4] at member 'b'
    """
    first = first_seat(seats)
    holder = next((seat for seat in seats if name in seat.outputs), None)
    for seat in seats:
        if name not in seat.outputs:
            raise _missing(seat, name, holder)
    known = first.outputs[name]
    if known.datatype not in datatypes:
        raise StrategyError(
            f"output {name!r} of member {first.name!r} is {known.datatype}; this merge takes {', '.join(datatypes)}"
        )
    shape, labels, labeller = known.shape, known.labels, first
    for seat in seats[1:]:
        spec = seat.outputs[name]
        if spec.datatype != known.datatype:
            raise _differ(f"output {name!r} is", first, known.datatype, seat, spec.datatype)
        joined = _join(shape, spec.shape, any_length=any_length)
        if joined is None:
            raise _differ(f"output {name!r} has shape", first, list(shape), seat, list(spec.shape))
        shape = joined
        if labels and spec.labels and labels != spec.labels:
            raise _differ(f"output {name!r} has the classes", labeller, list(labels), seat, list(spec.labels))
        if spec.labels and not labels:
            labels, labeller = spec.labels, seat
    return TensorSpec(name, known.datatype, shape, labels)


def check_weights(seats: Sequence[SeatSpec]) -> None:
    """Refuse weights that no weighted merge can use: negative, not finite, or all zero."""
    for seat in seats:
        if not (isfinite(seat.weight) and seat.weight >= 0):
            raise StrategyError(f"member {seat.name!r} has weight {seat.weight}; a weight is a number >= 0")
    if not any(seat.weight for seat in seats):
        raise StrategyError("every member has weight 0; give at least one a weight above it")


def first_seat(seats: Sequence[SeatSpec]) -> SeatSpec:
    """Return the first seat.

    Raises:
        StrategyError: If there is none.
    """
    if not seats:
        raise StrategyError("there is no member to merge; list at least one")
    return seats[0]


def _join(a: tuple[int, ...], b: tuple[int, ...], *, any_length: bool) -> tuple[int, ...] | None:
    """Return the shape that fits both, or None."""
    if len(a) != len(b):
        return None
    joined = tuple(max(x, y) if -1 in (x, y) else x for x, y in zip(a, b, strict=True))
    fits = all(x == y or -1 in (x, y) for x, y in zip(a, b, strict=True))
    if any_length and len(a) > 0:
        return (joined[0], *(x if x == y else -1 for x, y in zip(a[1:], b[1:], strict=True)))
    return joined if fits else None


def _missing(seat: SeatSpec, name: str, holder: SeatSpec | None) -> StrategyError:
    near = get_close_matches(name, seat.outputs, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    beside = f", which member {holder.name!r} has" if holder else ""
    return StrategyError(
        f"member {seat.name!r} has no output {name!r}{beside}; it has {_listed(seat.outputs)}{hint} "
        f"Outputs are renamed with `outputs: {{{name}: <the member's name for it>}}`"
    )


def _differ(what: str, first: SeatSpec, had: object, seat: SeatSpec, has: object) -> StrategyError:
    return StrategyError(f"{what} {had} at member {first.name!r} but {has} at member {seat.name!r}")


def _listed(names: object) -> str:
    return ", ".join(names) or "none" if isinstance(names, (dict, list, tuple)) else str(names)
