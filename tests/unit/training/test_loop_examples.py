"""The examples in the loop's light modules say what happens."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    "name",
    ["training.schedule", "training.batches", "training.run", "training.stopping", "training.fingerprint"],
)
def test_examples_hold(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0
    assert found.failed == 0
