"""How a step is cut into pieces."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.batches import pieces


@given(st.integers(0, 40), st.integers(1, 8), st.booleans(), st.booleans(), st.integers(0, 2**16))
def test_every_row_is_in_one_piece_and_lists_are_whole(
    n: int, count: int, listed: bool, long: bool, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    step = generator.permutation(50)[:n].astype(np.int64)
    lists = generator.integers(-1, 6, 50) if listed else None
    lengths = generator.integers(1, 30, 50) if long else None
    cut = pieces(step, count, lists=lists, lengths=lengths)
    assert len(cut) == count
    assert sorted(np.concatenate(cut).tolist()) == list(range(n))
    if lists is not None:
        homes = [{int(lists[row]) for row in step[piece] if lists[row] >= 0} for piece in cut]
        assert sum(map(len, homes)) == len(set().union(*homes))


def test_rows_of_like_length_go_together() -> None:
    cut = pieces(np.arange(4), 2, lengths=np.array([9, 1, 8, 2]))
    assert [sorted(piece.tolist()) for piece in cut] == [[1, 3], [0, 2]]
