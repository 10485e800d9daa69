"""The examples in the documentation of training's evaluation."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import training.evaluate

MODULES = [
    found.name
    for found in pkgutil.walk_packages(training.evaluate.__path__, f"{training.evaluate.__name__}.")
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_say_what_they_show(name: str) -> None:
    """Every module loads without torch, and its examples give what stands below them."""
    found = doctest.testmod(importlib.import_module(name))
    assert found.failed == 0


def test_there_are_modules_and_examples() -> None:
    """The walk above finds something."""
    modules = [importlib.import_module(name) for name in MODULES]
    assert sum(len(test.examples) for m in modules for test in doctest.DocTestFinder().find(m)) >= 20
