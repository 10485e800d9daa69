"""Classification: the fast way and the plain way tell the same classes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from protos import oip
from protos.tensor import Tensor

LABELS = st.lists(st.sampled_from(["", "a", "b:c"]), max_size=5)
SHAPES = arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5)
# few different values, so that ties are common
FEW = st.sampled_from([0.0, -0.0, 1.5, -1.5, math.inf, -math.inf, math.nan])
SCORES = arrays.arrays(np.float32, SHAPES, elements=FEW) | arrays.arrays(
    st.sampled_from([np.int8, np.uint8, np.int64, np.uint64]), SHAPES
)


def place(item: tuple[int, Any]) -> tuple[bool, Any, int]:
    index, value = item
    odd = math.isnan(value)
    return odd, 0 if odd else -value, index


def naive(row: list[Any], count: int, labels: list[str]) -> list[bytes]:
    answer = []
    for i, value in sorted(enumerate(row), key=place)[:count]:
        label = labels[i] if i < len(labels) else ""
        number = str(value) if isinstance(value, int) else f"{value:.6f}"
        answer.append(":".join([number, str(i)] + [label] * bool(label)).encode())
    return answer


@given(SCORES, st.integers(1, 40), LABELS)
def test_rows_are_told_like_the_plain_definition(scores: Any, count: int, labels: list[str]) -> None:
    """Each row's list is the sorted, cut and written list of its values."""
    answer = oip.classify(Tensor.from_array(scores), count, name="y", labels=labels, batches=True)
    rows = scores.reshape(len(scores), -1) if scores.size else np.zeros((len(scores), 0))
    assert [list(row) for row in answer.array()] == [naive(row, count, labels) for row in rows.tolist()]


@given(SCORES, st.integers(1, 40), LABELS)
def test_a_row_alone_is_told_like_the_same_row_in_a_batch(scores: Any, count: int, labels: list[str]) -> None:
    """Batching does not change what a caller is told."""
    together = oip.classify(Tensor.from_array(scores), count, name="y", labels=labels, batches=True)
    for i, row in enumerate(scores):
        alone = oip.classify(Tensor.from_array(row), count, name="y", labels=labels, batches=False)
        assert alone.array().tolist() == together.array()[i].tolist()
