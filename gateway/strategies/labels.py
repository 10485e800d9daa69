"""From class index to class name: the label that stands beside, or instead of, probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from protos.tensor import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.strategies.base import Array

__all__ = ["class_labels", "class_names", "label_spec"]


def class_names(labels: Sequence[str]) -> Array:
    """Return class names as the BYTES elements they are on the wire."""
    names = np.empty(len(labels), object)
    names[:] = [label.encode() for label in labels]
    return names


def class_labels(indices: Array, labels: Sequence[str]) -> Array:
    """Return the classes' names where they are known (BYTES), else their indices (INT64).

    Example:
        >>> class_labels(np.array([1, 0]), ("cat", "dog")).tolist()
        [b'dog', b'cat']
    """
    return class_names(labels)[indices] if labels else indices.astype(np.int64)


def label_spec(name: str, scores: TensorSpec) -> TensorSpec:
    """Return the spec of the label that belongs to scores whose last axis is the classes."""
    return TensorSpec(name, "BYTES" if scores.labels else "INT64", scores.shape[:-1], scores.labels)
