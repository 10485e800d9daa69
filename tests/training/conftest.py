"""These tests need the packages of the extra ``train``; without them they are skipped, visibly."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.training.small import Made
    from training.data import Dataset
    from training.run import Run

# threads that wait for each other would spin on a busy machine
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

#: An export alone takes ten seconds of CPU.
_TIMEOUT_S = 240


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give training more time than a test has elsewhere, unless it says itself how much."""
    for item in items:
        if Path(__file__).parent in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_TIMEOUT_S))


@pytest.fixture(scope="session")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Dataset]:
    """A run that has learned its three tasks, and its data."""
    from tests.training.rows import config, sentences
    from tests.training.runs import ENOUGH
    from training.evaluate.metrics import measure
    from training.loop import train

    dataset = sentences(160)
    out = tmp_path_factory.mktemp("learned") / "run"
    return train(config(dataset, **ENOUGH), dataset, out, measure=measure), dataset


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A data set, an untrained model, and its file."""
    from tests.training import small

    return small.made(tmp_path_factory.mktemp("onnx"))


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
