"""What a strategy of one's own is made of; ``docs/strategies.md`` has the recipe.

Subclass :class:`Elementwise` for a merge that treats every element alike, :class:`Strategy` for any other,
then let :func:`accord.testing.check_strategy` judge it.
"""

from __future__ import annotations

from gateway.strategies.base import (
    Array,
    Ask,
    Example,
    Exits,
    Mask,
    Options,
    SeatSpec,
    State,
    Strategy,
    StrategyError,
    Traits,
)
from gateway.strategies.elementwise import Elementwise, OutputOptions
from gateway.strategies.kernels import average, fold, gather, names_answered, weighted_mean
from gateway.strategies.proof import check_weights, only_output, shared_spec, shared_specs
from protos.tensor import TensorSpec

__all__ = [
    "Array",
    "Ask",
    "Elementwise",
    "Example",
    "Exits",
    "Mask",
    "Options",
    "OutputOptions",
    "SeatSpec",
    "State",
    "Strategy",
    "StrategyError",
    "TensorSpec",
    "Traits",
    "average",
    "check_weights",
    "fold",
    "gather",
    "names_answered",
    "only_output",
    "shared_spec",
    "shared_specs",
    "weighted_mean",
]
