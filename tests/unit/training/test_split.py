"""Splits: nothing that belongs together is parted, and every stratum is shared out alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data import Part
from training.data.split import connected, place_groups, some_groups, split_groups, torn

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


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    ("sizes", "found"),
    [
        ([900, *[5] * 20], [900, 35, 65]),
        ([250, *[5] * 150], [700, 100, 200]),
        ([300, 300, 200, 100, 100], [700, 100, 200]),
        ([5, 1, 1], [5, 1, 1]),
        ([1, 1, 1], [1, 1, 1]),
        ([998, 2], [998, 0, 2]),
    ],
)
def test_large_groups_leave_no_part_empty(sizes: list[int], found: list[int], seed: int) -> None:
    """Whatever the seed; a plain deal would let one of them swallow a small part."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    strata = [str(g % 2) for g in groups]
    part = split_groups(groups, strata, SHARES, seed=seed)
    np.testing.assert_allclose(np.bincount(part, minlength=3), found, rtol=1 / 3)


@given(st.lists(st.integers(1, 60), min_size=3, max_size=40), st.integers(0, 5))
def test_every_part_has_rows_if_there_are_groups_enough(sizes: list[int], seed: int) -> None:
    """And a part that wants none gets none."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    strata = ["x"] * len(groups)
    assert set(split_groups(groups, strata, SHARES, seed=seed)) == {0, 1, 2}
    assert set(split_groups(groups, strata, (0.8, 0.2, 0.0), seed=seed)) == {0, 1}


def test_groups_of_one_size_are_dealt_by_the_seed() -> None:
    """Also where one large group has them dealt by size."""
    groups = np.repeat(np.arange(41), [400, *[10] * 40])
    one, other = (split_groups(groups, ["x"] * 800, (0.4, 0.3, 0.3), seed=seed) for seed in (0, 1))
    assert [np.bincount(part).tolist() for part in (one, other)] == [[400, 200, 200]] * 2
    assert (one[400:] != other[400:]).any()


def test_the_seed_decides() -> None:
    """One seed gives one split, another seed another one."""
    groups, strata = np.arange(300), ["x"] * 300
    assert (
        split_groups(groups, strata, SHARES, seed=1) == split_groups(groups, strata, SHARES, seed=1)
    ).all()
    assert (
        split_groups(groups, strata, SHARES, seed=1) != split_groups(groups, strata, SHARES, seed=2)
    ).any()


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(-1, 2)), min_size=1, max_size=60), st.integers(0, 3)
)
def test_given_parts_stay_and_drag_their_groups_along(rows: list[tuple[int, int]], seed: int) -> None:
    """A row stays in the part that it must be in; torn groups are those of contradictions, and are found."""
    groups = np.unique([group for group, _ in rows], return_inverse=True)[1].astype(np.int64)
    given_parts = np.array([part for _, part in rows], np.int8)
    parts = place_groups(groups, ["x"] * len(rows), given_parts, SHARES, seed=seed)
    assert (parts[given_parts >= 0] == given_parts[given_parts >= 0]).all()
    assert (parts >= 0).all()
    contradicted = {g for g in set(groups.tolist()) if len(set(given_parts[groups == g].tolist()) - {-1}) > 1}
    pairs = torn(groups, parts)
    assert {int(groups[one]) for one, _ in pairs} == contradicted
    assert len(pairs) == len(contradicted)
    for one, other in pairs:
        assert groups[one] == groups[other]
        assert parts[one] != parts[other]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=50), st.floats(0.01, 1), st.floats(0.01, 1))
def test_some_groups_are_whole_and_grow_with_the_share(groups: list[int], one: float, other: float) -> None:
    """So the rows of a curve over sizes contain each other."""
    of = np.array(groups, np.int64)
    few, many = (some_groups(of, share, seed=3) for share in sorted((one, other)))
    assert few.any()
    assert (many | ~few).all()
    assert all(len(set(few[of == group])) == 1 for group in set(groups))


def test_a_split_by_row_is_caught() -> None:
    """The negative control: rows dealt one by one tear groups of five, and the check says which."""
    groups = np.repeat(np.arange(100), 5)
    by_row = split_groups(np.arange(500), ["x"] * 500, SHARES, seed=0)
    assert len(torn(groups, by_row)) > 50
    assert not torn(groups, split_groups(groups, ["x"] * 500, SHARES, seed=0))
