"""Splits: nothing that belongs together is parted, and every stratum is shared out alike."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from examples.models.split import Part, connected, split_groups

SHARES = (0.7, 0.1, 0.2)
KEYS = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("uvwxyz")), min_size=1, max_size=40)


@given(KEYS)
def test_rows_are_together_exactly_if_a_chain_of_shared_values_joins_them(
    rows: list[tuple[str, str]],
) -> None:
    """Against the definition: the transitive closure of sharing a value of either key."""
    first, second = zip(*rows, strict=True)
    near = np.array([[a == c or b == d for c, d in rows] for a, b in rows])
    for _ in rows:
        near = (near.astype(int) @ near) > 0
    group = connected(first, second)
    assert ((group[:, None] == group) == near).all()
    assert set(group) == set(range(group.max() + 1))


@given(st.lists(st.integers(0, 30), min_size=1, max_size=200), st.integers(0, 5))
def test_no_group_is_parted(groups: list[int], seed: int) -> None:
    """All rows of a group are in one part, whatever the sizes."""
    group = np.array(groups)
    part = split_groups(group, [str(g % 3) for g in groups], SHARES, seed=seed)
    assert all(len(set(part[group == g])) == 1 for g in set(groups))


def test_every_stratum_is_shared_out_as_asked() -> None:
    """Groups of 1 to 5 rows: each stratum's parts are within 2 % of the wanted shares."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(1500), rng.integers(1, 6, 1500))
    strata = [("a", "b", "c")[g % 3] for g in groups]
    part = split_groups(groups, strata, SHARES, seed=1)
    for name in "abc":
        here = part[np.array(strata) == name]
        found = [np.mean(here == p) for p in Part]
        np.testing.assert_allclose(found, SHARES, atol=0.02)


def test_the_seed_decides() -> None:
    """One seed gives one split, another seed another one."""
    groups, strata = np.arange(300), ["x"] * 300
    assert (
        split_groups(groups, strata, SHARES, seed=1) == split_groups(groups, strata, SHARES, seed=1)
    ).all()
    assert (
        split_groups(groups, strata, SHARES, seed=1) != split_groups(groups, strata, SHARES, seed=2)
    ).any()
