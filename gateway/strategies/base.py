"""What a strategy is: which seats to ask now, which rows need no more, and how answers merge.

Rules:

- A strategy is pure, synchronous and stateless; its options are frozen and validated. It imports
  neither ``asyncio`` nor ``grpc``: it decides, the engine acts.
- It sees arrays whose first axis is the row axis and is vectorised over it. A model that does not
  batch is one row.
- ``answered`` means a usable answer; a seat that failed, timed out or answered something unusable for a
  row is ``failed`` there. Only ``answered`` rows of ``outputs`` hold values; all others are undefined.
- Sums run in float64 (or wider) in seat order and are cast once, so arrival order never changes a byte.

The laws that follow from the declared :class:`Traits` are applied to every strategy by
``accord.testing.check_strategy``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from protos.tensor import TensorSpec

__all__ = [
    "Array",
    "Ask",
    "Example",
    "Exits",
    "Mask",
    "Options",
    "SeatSpec",
    "State",
    "Strategy",
    "StrategyError",
    "Traits",
]

Array = NDArray[Any]
Mask = NDArray[np.bool_]


class StrategyError(ValueError):
    """The seats' outputs cannot be merged, or an option does not fit them. The message is for people."""


class Options(BaseModel):
    """Base of a strategy's options: strict, frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a strategy promises; each promise, and each declared absence, is tested.

    Args:
        symmetric: The order of the members does not matter.
        idempotent: Members that all say the same get exactly that back.
        weighted: Seat weights change the result; multiplying all by one factor does not.
        keeps_shape: Merged outputs have the datatype and shape of the members' outputs of that name.
        arrival_dependent: Which members answered first may change the result.
        partial: A member that lacks any of the rows leaves its outputs out; else all are always there.
    """

    symmetric: bool = True
    idempotent: bool = True
    weighted: bool = False
    keeps_shape: bool = True
    arrival_dependent: bool = False
    partial: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatSpec:
    """What a seat will answer, known before any request.

    Args:
        name: The seat's name.
        weight: Its configured weight.
        outputs: Its outputs under the ensemble's names. Shapes include the row axis; labels are in the
            ensemble's canonical order already.
    """

    name: str
    weight: float
    outputs: Mapping[str, TensorSpec]


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is known of one batch at one merge; read-only. It may gain fields in later versions.

    Args:
        n: Number of rows.
        seats: Seat names, in config order. k is their number.
        weights: Seat weights, float64 [k].
        asked: Whether a seat was asked for a row, bool [k, n].
        answered: Whether it gave a usable answer, bool [k, n].
        failed: Whether it will not give one, bool [k, n].
        eligible: Whether it may be asked at all, bool [k].
        outputs: For each seat its outputs by name, each [n, ...]; valid only where answered. Empty
            until the seat answered for the first time.
        labels: Class names along the last axis, for each output that has them.
        time_left_s: Seconds until waiting ends.
    """

    n: int
    seats: tuple[str, ...]
    weights: NDArray[np.float64]
    asked: Mask
    answered: Mask
    failed: Mask
    eligible: Mask
    outputs: Sequence[Mapping[str, Array]]
    labels: Mapping[str, tuple[str, ...]]
    time_left_s: float


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask one seat, by index, for the rows where the mask is true."""

    seat: int
    rows: Mask


@dataclass(frozen=True, slots=True)
class Exits:
    """Which rows need no more answers, bool [n]."""

    done: Mask


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A way to use the strategy, for documentation and for the laws.

    Args:
        options: The strategy's options.
        outputs: What every member answers, shapes with the row axis (-1). Floats are drawn as
            probabilities along the last axis when the spec has labels.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[TensorSpec, ...]


class Strategy:
    """Base of all strategies; subclasses define :attr:`kind`, :meth:`outputs` and :meth:`combine`.

    Args:
        options: Validated options, an instance of the class's own ``Options``.
    """

    kind: ClassVar[str]
    traits: ClassVar[Traits] = Traits()
    Options: ClassVar[type[Options]] = Options

    def __init__(self, options: Any = None) -> None:
        self.options = self.Options() if options is None else options

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Return at least one example for each distinct behaviour."""
        raise NotImplementedError(f"{cls.__name__} needs examples()")

    def reads(self, seat: SeatSpec) -> frozenset[str]:
        """Return the names of the seat's outputs that the merge needs; the default is all of them."""
        return frozenset(seat.outputs)

    def needs(self, seat: SeatSpec, wanted: frozenset[str]) -> frozenset[str]:
        """Return what of :meth:`reads` it takes to merge some outputs only; the default is all of it.

        Args:
            seat: The seat.
            wanted: Names of merged outputs; the others may then be missing from :meth:`combine`.
        """
        return self.reads(seat)

    def outputs(self, seats: Sequence[SeatSpec]) -> tuple[TensorSpec, ...]:
        """Return what the merge yields, or prove that it is impossible.

        Raises:
            StrategyError: If these seats cannot be merged; the message names seat and output.
        """
        raise NotImplementedError(f"{type(self).__name__} needs outputs()")

    def plan(self, state: State) -> tuple[Ask, ...]:
        """Return the next wave: the default asks every eligible seat for the rows it was not asked yet."""
        waiting = ~state.asked & state.eligible[:, None]
        if not waiting.any():
            return ()
        return tuple(Ask(i, rows) for i, rows in enumerate(waiting) if rows.any())

    @property
    def asks_in_waves(self) -> bool:
        """Whether :meth:`plan` does other than its default."""
        return type(self).plan is not Strategy.plan

    @property
    def settles_early(self) -> bool:
        """Whether :meth:`settled` says more than its default."""
        return type(self).settled is not Strategy.settled

    def settled(self, state: State) -> Exits:
        """Return which rows need no more: by default those for which every asked seat is in."""
        return Exits(np.all(~state.asked | state.answered | state.failed, axis=0))

    def combine(self, state: State, rows: Mask) -> dict[str, Array]:
        """Merge the usable answers of the given rows; at least one seat answered each of them.

        Returns:
            Arrays of ``rows.sum()`` rows, named as :meth:`outputs` says.
        """
        raise NotImplementedError(f"{type(self).__name__} needs combine()")

    def used(self, state: State, rows: Mask) -> NDArray[np.float64]:
        """Return the weight with which each seat's answer counts for the given rows, float64 [k, rows].

        It is zero where the seat did not answer. Where all that answered weigh zero, they count equally.
        """
        answered = state.answered[:, rows].astype(np.float64)
        if not self.traits.weighted:
            return answered
        weighted = answered * state.weights[:, None]
        return np.where(weighted.any(axis=0), weighted, answered)

    def shares(self, state: State, rows: Mask) -> NDArray[np.float64]:
        """Return each seat's share of the merged answer's weight for the given rows, float64 [k, rows]."""
        used = self.used(state, rows)
        total = used.sum(axis=0)
        shares: NDArray[np.float64] = np.divide(used, total, out=np.zeros_like(used), where=total > 0)
        return shares

    def agreement(self, state: State, rows: Mask, merged: Mapping[str, Array]) -> NDArray[np.float64] | None:
        """Return per row the weight share that agrees with the merged label; None where there is no label."""
        return None
