"""These tests need the packages of the extra ``train``; without them they are skipped, visibly."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

# threads that wait for each other would spin on a busy machine
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if find_spec("torch") is None:

    class _Lacking(pytest.Item):
        def runtest(self) -> None:
            pytest.skip("needs the extra train: make train-setup")

    class _Absent(pytest.File):
        def collect(self) -> list[pytest.Item]:
            return [_Lacking.from_parent(self, name=self.path.stem)]

    def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Collector:
        """Stand in for a file of tests that cannot be imported."""
        return _Absent.from_parent(parent, path=module_path)
