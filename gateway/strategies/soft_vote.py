"""The soft vote: the weighted mean of the members' probabilities, and the class on top of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from gateway.strategies.base import (
    Array,
    Example,
    Mask,
    Options,
    SeatSpec,
    State,
    Strategy,
    StrategyError,
    Traits,
)
from gateway.strategies.kernels import gather, weighted_mean
from gateway.strategies.labels import class_labels, label_spec
from gateway.strategies.proof import FLOATS, check_weights, first_seat, shared_spec
from protos.tensor import TensorSpec, datatype_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["SoftVote"]


class SoftVoteOptions(Options):
    """Options of the soft vote."""

    output: str | None = Field(
        None, description="the probabilities to merge; null takes the one float output with a class axis"
    )
    label: str = Field("label", min_length=1, description="the name of the merged label")


class SoftVote(Strategy):
    """The weighted mean of probabilities, and the label that goes with it.

    The classes lie along the last axis of the output, which is a float of rank 2 or more. The label has the
    shape without that axis: the class name (BYTES) where the output has labels, else the class index
    (INT64). It is always the argmax of the probabilities that stand beside it; ties go to the lowest index.

    Source: the linear opinion pool, Stone, "The opinion pool" (1961); named as in scikit-learn.
    """

    kind: ClassVar[str] = "soft_vote"
    traits: ClassVar[Traits] = Traits(weighted=True)
    Options = SoftVoteOptions
    options: SoftVoteOptions

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Return examples with and without class names, of each precision, and per pixel."""
        named = TensorSpec("probabilities", "FP32", (-1, 3), labels=("ham", "spam", "eggs"))
        return (
            Example(outputs=(TensorSpec("label", "BYTES", (-1,)), named)),
            Example(outputs=(TensorSpec("scores", "FP64", (-1, -1)),)),
            Example(outputs=(TensorSpec("scores", "BF16", (-1, 4)),)),
            Example(
                options={"output": "mask", "label": "classes"},
                outputs=(TensorSpec("mask", "FP16", (-1, 2, 2, 3), labels=("sky", "sea", "land")), named),
            ),
        )

    def reads(self, seat: SeatSpec) -> frozenset[str]:
        """Return the probabilities."""
        return frozenset((self._chosen([seat]),))

    def outputs(self, seats: Sequence[SeatSpec]) -> tuple[TensorSpec, ...]:
        """Return the probabilities as the members have them, and the label."""
        check_weights(seats)
        spec = shared_spec(seats, self._chosen(seats), FLOATS)
        if len(spec.shape) < 2:
            raise StrategyError(
                f"output {spec.name!r} has shape {list(spec.shape)}; soft_vote needs a class axis: [-1, C]"
            )
        if self.options.label == spec.name:
            raise StrategyError(
                f"output {spec.name!r} and the label would share a name; give the label another with `label:`"
            )
        return spec, label_spec(self.options.label, spec)

    def combine(self, state: State, rows: Mask) -> dict[str, Array]:
        """Return the merged probabilities and their label."""
        name = self._answered(state)
        with np.errstate(all="ignore"):
            merged = weighted_mean(*gather(state, rows, name, self.used(state, rows)))
        return {
            name: merged,
            self.options.label: class_labels(merged.argmax(axis=-1), state.labels.get(name, ())),
        }

    def agreement(self, state: State, rows: Mask, merged: Mapping[str, Array]) -> NDArray[np.float64]:
        """Return the share of the weight whose own argmax is the merged one, averaged over a row's labels."""
        name = self._answered(state)
        values, weights = gather(state, rows, name, self.used(state, rows))
        winner = merged[name].argmax(axis=-1)
        agreed = np.zeros(weights.shape[1:])
        for value, weight in zip(values, weights, strict=True):
            same = value.argmax(axis=-1) == winner
            agreed += weight * same.mean(axis=tuple(range(1, same.ndim)))
        share: NDArray[np.float64] = agreed / weights.sum(axis=0)
        return share

    def _chosen(self, seats: Sequence[SeatSpec]) -> str:
        if self.options.output is not None:
            return self.options.output
        for seat in seats:
            fit = [s.name for s in seat.outputs.values() if _has_classes(s.datatype, len(s.shape))]
            if len(fit) != 1:
                raise StrategyError(
                    f"member {seat.name!r} has {len(fit)} float outputs with a class axis "
                    f"({', '.join(fit) or 'none'}); name the probabilities with `output:`"
                )
        specs = first_seat(seats).outputs.values()
        return next(s.name for s in specs if _has_classes(s.datatype, len(s.shape)))

    def _answered(self, state: State) -> str:
        """Return the name that :meth:`_chosen` gave, from the arrays themselves."""
        if self.options.output is not None:
            return self.options.output
        outputs = next(outputs for outputs in state.outputs if outputs)
        return next(name for name, a in outputs.items() if _has_classes(datatype_of(a.dtype), a.ndim))


def _has_classes(datatype: str, rank: int) -> bool:
    return datatype in FLOATS and rank > 1
