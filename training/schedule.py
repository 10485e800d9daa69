"""How the learning rate runs: a linear warm-up to 1, then a decay. Factors, as pure functions of the step.

Source: I. Loshchilov and F. Hutter, "SGDR", ICLR 2017 (cosine); J. Devlin et al., "BERT", NAACL 2019 (warm-up
and linear).
"""

from __future__ import annotations

from math import cos, pi
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["DECAYS", "factor"]


def _linear(progress: float) -> float:
    return 1.0 - progress


def _cosine(progress: float) -> float:
    return (1.0 + cos(pi * progress)) / 2


def _constant(_: float) -> float:
    return 1.0


#: From the share of the steps after warm-up that is over, in [0, 1], to the factor.
DECAYS: Mapping[str, Callable[[float], float]] = {
    "linear": _linear,
    "cosine": _cosine,
    "constant": _constant,
}


def factor(step: int, steps: int, *, warmup: float, decay: str) -> float:
    """Return what the learning rate is multiplied by at a step.

    Args:
        step: From 0.
        steps: How many there are.
        warmup: Share of the steps that warm up; the first of them has the least factor above 0.
        decay: One of :data:`DECAYS`.

    Example:
        >>> [factor(step, 5, warmup=0.4, decay="linear") for step in range(5)]
        [0.5, 1.0, 1.0, 0.6666666666666667, 0.33333333333333337]
    """
    warm = round(warmup * steps)
    if step < warm:
        return (step + 1) / warm
    return DECAYS[decay](min(1.0, (step - warm) / max(1, steps - warm)))
