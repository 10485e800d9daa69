"""The order of rows: each as often as it should be, the same for a seed, and the same from anywhere."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.data.mix import Order

DOMAINS = st.lists(st.integers(0, 3), min_size=1, max_size=40)
BATCH = st.integers(1, 9)
TEMPERATURE = st.sampled_from([1.0, 1.5, 2.0, 10.0, 1e6])


def mixed(domains: list[int], batch: int, temperature: float = 1.0, seed: int = 0) -> Order:
    units = [np.array([i]) for i in range(len(domains))]
    return Order(units, np.array(domains), batch=batch, temperature=temperature, seed=seed)


@given(DOMAINS, BATCH, st.integers(0, 5))
def test_by_size_an_epoch_has_every_row_once(domains: list[int], batch: int, seed: int) -> None:
    """And all steps but the last are full."""
    order = mixed(domains, batch, seed=seed)
    for epoch in range(2):
        steps = [order.at(epoch * order.per_epoch + i) for i in range(order.per_epoch)]
        assert sorted(np.concatenate(steps).tolist()) == list(range(len(domains)))
        assert all(len(step) == batch for step in steps[:-1])


@given(DOMAINS, BATCH, TEMPERATURE, st.integers(1, 6))
def test_within_a_domain_rows_are_drawn_equally_often(
    domains: list[int], batch: int, temperature: float, epochs: int
) -> None:
    """Give or take one, after any number of epochs; so is each domain's share of an epoch."""
    order = mixed(domains, batch, temperature)
    drawn = Counter(np.concatenate(list(order.steps(epochs))).tolist())
    assert drawn.total() == epochs * len(domains)
    sizes = Counter(domains)
    power = {domain: size ** (1 / temperature) for domain, size in sizes.items()}
    for domain in sizes:
        times = [drawn[row] for row, d in enumerate(domains) if d == domain]
        assert max(times) - min(times) <= 1
        share = epochs * len(domains) * power[domain] / sum(power.values())
        assert abs(sum(times) - share) <= epochs


@given(DOMAINS, BATCH, TEMPERATURE, st.integers(0, 3), st.data())
def test_an_order_resumes_at_any_step(
    domains: list[int], batch: int, temperature: float, seed: int, data: st.DataObject
) -> None:
    """A fresh order that begins there gives what was left, whatever was asked before."""
    whole = [step.tolist() for step in mixed(domains, batch, temperature, seed).steps(3)]
    start = data.draw(st.integers(0, len(whole)))
    again = mixed(domains, batch, temperature, seed)
    again.at(data.draw(st.integers(0, len(whole) - 1)))
    assert [step.tolist() for step in again.steps(3, start)] == whole[start:]


def test_the_seed_decides_and_epochs_differ() -> None:
    """Another seed is another order, and so is another epoch."""
    first, other = (mixed([0] * 50, 50, seed=seed) for seed in (0, 1))
    assert first.at(0).tolist() != other.at(0).tolist()
    assert first.at(0).tolist() != first.at(1).tolist()


def test_lists_are_drawn_whole() -> None:
    """A step has whole lists, as many as have about a batch of rows."""
    lists = np.split(np.arange(60), range(5, 60, 5))
    order = Order(lists, np.zeros(12, np.int64), batch=16)
    for step in order.steps(2):
        assert len(step) == 15
        assert {int(row) // 5 for row in step} == {int(row) // 5 for row in step[::5]}
