"""Class labels: one canonical order for every output that is merged.

Classes are told apart by name. The canonical order is the ensemble's own, else that of the first member
that has labels; each answer is permuted to it before it counts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gateway.strategies.base import StrategyError
from gateway.strategies.proof import FLOATS

if TYPE_CHECKING:
    from gateway.engine.plan import Reading
    from protos.tensor import TensorSpec

__all__ = ["aligned", "labels_for"]


def _class_axis(spec: TensorSpec, classes: int) -> bool:
    """Tell whether an output's last axis lists its classes; of names and indices, it does not."""
    last = spec.shape[-1] if len(spec.shape) > 1 and spec.datatype != "BYTES" else None
    return last == classes or (last == -1 and spec.datatype in FLOATS)


def labels_for(spec: TensorSpec, declared: tuple[str, ...]) -> tuple[str, ...]:
    """Return the class order that an output asks for; empty if it has no classes."""
    if spec.labels:
        classed = spec.datatype not in FLOATS or _class_axis(spec, len(spec.labels))
    else:  # the ensemble's labels hold where they fit beyond doubt
        one_name = spec.datatype == "BYTES" and spec.shape[1:] in ((), (1,))
        classed = one_name or spec.shape[1:] == (len(declared),)
    return (declared or spec.labels) if classed else ()


def aligned(reading: Reading, canonical: tuple[str, ...]) -> Reading:
    """Return a reading whose labels are the canonical ones, and whose class axis follows them."""
    spec, own = reading.spec, reading.spec.labels
    if not canonical:
        return replace(reading, spec=replace(spec, labels=()))
    if own and (len(own) != len(canonical) or set(own) != set(canonical)):
        only = sorted(set(own) ^ set(canonical))
        raise StrategyError(f"output {reading.source!r} has other classes than the members before it: {only}")
    axis = _class_axis(spec, len(canonical))
    shape = (*spec.shape[:-1], len(canonical)) if axis else spec.shape
    reading = replace(reading, spec=replace(spec, labels=canonical, shape=shape))
    if own in ((), canonical) or spec.datatype == "BYTES":
        return reading
    if not axis:
        raise StrategyError(f"output {reading.source!r} numbers its classes unlike the members before it")
    return replace(reading, order=np.array([own.index(label) for label in canonical], np.intp))
