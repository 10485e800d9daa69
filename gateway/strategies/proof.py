"""The proof, before any request, that seats can be merged: what most ``Strategy.outputs`` are made of."""

from __future__ import annotations

from difflib import get_close_matches
from itertools import combinations
from math import isfinite
from typing import TYPE_CHECKING

from gateway.strategies.base import SeatSpec, StrategyError
from protos.tensor import DTYPES, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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
    """Return the name of the one output that the first seat has, as every seat has just one.

    Raises:
        StrategyError: If there is no seat, or if the output must be named because a seat has several.
    """
    for seat in seats:
        if len(seat.outputs) != 1:
            raise StrategyError(
                f"member {seat.name!r} has the outputs {_listed(seat.outputs)}; "
                f"name the one to merge with `output:`"
            )
    return next(iter(first_seat(seats).outputs))


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
        >>> shared_spec([a, b], "p", FLOATS)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        gateway.strategies.base.StrategyError: output 'p' has shape [-1, 3] at member 'a' but [-1, 4] at ...
    """
    first = first_seat(seats)
    holder = next((seat for seat in seats if name in seat.outputs), None)
    for seat in seats:
        if name not in seat.outputs:
            raise _missing(seat, name, holder)
    if first.outputs[name].datatype not in datatypes:
        raise StrategyError(
            f"output {name!r} of member {first.name!r} is {first.outputs[name].datatype}; "
            f"this merge takes {', '.join(datatypes)}"
        )
    for one, other in combinations(seats, 2):
        _check_alike(name, one, other, any_length=any_length)
    specs = [seat.outputs[name] for seat in seats]
    known = [{size for size in axis if size != -1} for axis in zip(*(s.shape for s in specs), strict=True)]
    shape = tuple(next(iter(sizes)) if len(sizes) == 1 else -1 for sizes in known)
    labels = next((spec.labels for spec in specs if spec.labels), ())
    if labels and specs[0].datatype in FLOATS and shape[-1] not in (-1, len(labels)):
        raise StrategyError(
            f"output {name!r} has {shape[-1]} classes, but {len(labels)} labels; list one label per class"
        )
    return TensorSpec(name, specs[0].datatype, shape, labels)


def check_weights(seats: Sequence[SeatSpec]) -> None:
    """Refuse weights that no weighted merge can use: negative, not finite, or all zero."""
    for seat in seats:
        if not (isfinite(seat.weight) and seat.weight >= 0):
            raise StrategyError(f"member {seat.name!r} has weight {seat.weight}; a weight is a number >= 0")
    if seats and not any(seat.weight for seat in seats):
        raise StrategyError("every member has weight 0; give at least one a weight above it")


def first_seat(seats: Sequence[SeatSpec]) -> SeatSpec:
    """Return the first seat.

    Raises:
        StrategyError: If there is none.
    """
    if not seats:
        raise StrategyError("there is no member to merge; list at least one")
    return seats[0]


def _check_alike(name: str, one: SeatSpec, other: SeatSpec, *, any_length: bool) -> None:
    a, b = one.outputs[name], other.outputs[name]
    if a.datatype != b.datatype:
        raise _differ(f"output {name!r} is", one, a.datatype, other, b.datatype)
    fits = len(a.shape) == len(b.shape) and all(
        x == y or -1 in (x, y) or (any_length and axis > 0)
        for axis, (x, y) in enumerate(zip(a.shape, b.shape, strict=True))
    )
    if not fits:
        raise _differ(f"output {name!r} has shape", one, list(a.shape), other, list(b.shape))
    if a.labels and b.labels and a.labels != b.labels:
        raise _differ(f"output {name!r} has the classes", one, list(a.labels), other, list(b.labels))


def _missing(seat: SeatSpec, name: str, holder: SeatSpec | None) -> StrategyError:
    near = get_close_matches(name, seat.outputs, 1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    beside = f", which member {holder.name!r} has" if holder else ""
    return StrategyError(
        f"member {seat.name!r} has no output {name!r}{beside}; it has {_listed(seat.outputs)}{hint}; "
        f"outputs are renamed with `outputs: {{{name}: <the member's name for it>}}`"
    )


def _differ(what: str, one: SeatSpec, had: object, other: SeatSpec, has: object) -> StrategyError:
    return StrategyError(f"{what} {had} at member {one.name!r} but {has} at member {other.name!r}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
