"""The hard vote: each member names one class, and the class with the most weight wins."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

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
from gateway.strategies.kernels import gather, names_answered
from gateway.strategies.labels import class_names, label_spec
from gateway.strategies.proof import ALL, FLOATS, check_weights, only_output, shared_spec
from protos.tensor import TensorSpec, datatype_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["Vote"]

#: Weight totals closer than this share of all weight are a tie: 0.1 + 0.2 against 0.3 must be one.
TIE = 1e-12


class VoteOptions(Options):
    """Options of the vote."""

    output: str | None = Field(
        None, description="the output that votes; null takes the only one that the members have"
    )
    label: str = Field("label", min_length=1, description="the name of the merged label")


class Ballots(NamedTuple):
    """Who voted for what.

    Args:
        codes: Each voter's class as a number in the order that breaks ties, int64 [m, r].
        weights: Each voter's weight, float64 [m, r]; zero where it did not vote.
        classes: The class of each code as the label tensor shows it; None where the code is the label.
    """

    codes: NDArray[np.int64]
    weights: NDArray[np.float64]
    classes: Array | None


class Vote(Strategy):
    """The weighted plurality vote.

    The output that votes is either a label per row (integers, BOOL or BYTES; [-1] or [-1, 1]) or scores
    per class (floats; [-1, C]), whose argmax votes. The merged label is of the labels' datatype; for
    scores it is the class name (BYTES), or the class index (INT64) where names are not known.

    Ties go to the lowest class index; for BYTES labels to the first in label order if that is known, and
    else, as for labels that are not in it, in byte order.

    Source: Lam and Suen, "Application of majority voting to pattern recognition" (1997).
    """

    kind: ClassVar[str] = "vote"
    traits: ClassVar[Traits] = Traits(weighted=True, keeps_shape=False)
    Options = VoteOptions
    options: VoteOptions

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Return one example for each kind of ballot."""
        classes = ("ham", "spam", "eggs")
        return (
            Example(outputs=(TensorSpec("label", "INT64", (-1, 1)),)),
            Example(outputs=(TensorSpec("label", "BYTES", (-1,)),)),
            Example(outputs=(TensorSpec("label", "BYTES", (-1, 1), labels=classes),)),
            Example(outputs=(TensorSpec("scores", "FP16", (-1, -1)),)),
            Example(
                options={"output": "probabilities", "label": "verdict"},
                outputs=(
                    TensorSpec("label", "UINT8", (-1,)),
                    TensorSpec("probabilities", "FP32", (-1, 3), labels=classes),
                ),
            ),
        )

    def reads(self, seat: SeatSpec) -> frozenset[str]:
        """Return the output that votes."""
        return frozenset(seat.outputs if self.options.output is None else (self.options.output,))

    def outputs(self, seats: Sequence[SeatSpec]) -> tuple[TensorSpec, ...]:
        """Return the label, after proving that all seats cast the same kind of ballot."""
        check_weights(seats)
        spec = shared_spec(seats, self.options.output or only_output(seats), ALL)
        if spec.datatype in FLOATS and len(spec.shape) == 2:
            return (label_spec(self.options.label, spec),)
        if spec.datatype not in FLOATS and spec.shape[1:] in ((), (1,)):
            return (TensorSpec(self.options.label, spec.datatype, spec.shape[:1], spec.labels),)
        raise StrategyError(
            f"output {spec.name!r} is {spec.datatype} {list(spec.shape)} and no ballot: vote takes one label "
            f"per row ([-1] or [-1, 1], integers or BYTES) or scores per class ([-1, C], floats)"
        )

    def combine(self, state: State, rows: Mask) -> dict[str, Array]:
        """Return the winning label of each row."""
        ballots = self._ballots(state, rows)
        winner = _winner(ballots)
        return {self.options.label: winner if ballots.classes is None else ballots.classes[winner]}

    def agreement(self, state: State, rows: Mask, merged: Mapping[str, Array]) -> NDArray[np.float64]:
        """Return the share of the weight that voted for the winner."""
        ballots = self._ballots(state, rows)
        agreed = np.where(ballots.codes == _winner(ballots), ballots.weights, 0.0)
        share: NDArray[np.float64] = agreed.sum(axis=0) / ballots.weights.sum(axis=0)
        return share

    def _ballots(self, state: State, rows: Mask) -> Ballots:
        name = self.options.output or names_answered(state)[0]
        values, weights = gather(state, rows, name, self.used(state, rows))
        labels = state.labels.get(name, ())
        if datatype_of(values[0].dtype) in FLOATS:
            codes = np.stack([value.argmax(axis=-1) for value in values])
            return Ballots(codes, weights, class_names(labels) if labels else None)
        votes = np.stack([value.reshape(len(value)) for value in values])
        known = class_names(labels) if votes.dtype == object else votes.reshape(-1)[:0]
        return _coded(votes, weights, known)


def _coded(votes: Array, weights: NDArray[np.float64], known: Array) -> Ballots:
    """Number the distinct labels: those of ``known`` in its order, then the others in ascending order."""
    cast = weights > 0
    distinct, first, inverse = np.unique(
        np.concatenate([known, votes[cast]]), return_index=True, return_inverse=True
    )
    order = np.argsort(np.where(first < len(known), first, len(known)), kind="stable")
    codes = np.zeros(votes.shape, np.int64)
    codes[cast] = np.argsort(order)[inverse[len(known) :]]
    return Ballots(codes, weights, distinct[order])


def _winner(ballots: Ballots) -> NDArray[np.int64]:
    """Return each row's winning code, int64 [r]: the lowest of those with the most weight."""
    codes, weights, _ = ballots
    # Support is counted per voter, not per class: m x m comparisons, however many classes there are.
    support = np.zeros(weights.shape)
    for code, weight in zip(codes, weights, strict=True):
        support += np.where(codes == code, weight, 0.0)
    support[weights == 0] = -np.inf
    best = support >= support.max(axis=0) - TIE * weights.sum(axis=0)
    winner: NDArray[np.int64] = np.where(best, codes, np.iinfo(np.int64).max).min(axis=0)
    return winner
