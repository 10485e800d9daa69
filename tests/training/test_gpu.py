"""What only a GPU can show of training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from tests.training.rows import config, sentences
from tests.training.runs import stop_at
from training.errors import TrainingError
from training.loop import Stopped, train

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_it_learns_in_every_arithmetic(precision: str, tmp_path: Path) -> None:
    dataset = sentences(160)
    given = config(
        dataset, device="cuda", precision=precision, epochs=12, optimizer={"lr": 3e-3, "head_lr": 3e-2}
    )
    run = train(given, dataset, tmp_path / "run")
    assert run.card["device"].startswith("cuda")
    assert run.metrics["losses"]["test"]["mood"] < 0.4


@pytest.mark.parametrize("kind", ["fixed", "dwa", "famo", "gradvac"])
def test_it_goes_on_where_it_was_stopped(kind: str, tmp_path: Path) -> None:
    """A checkpoint is read onto the CPU, from where what balances the losses has to come back."""
    dataset = sentences(48)
    given = config(dataset, device="cuda", epochs=4, balance={"kind": kind})
    with pytest.raises(Stopped):
        train(given, dataset, tmp_path / "run", report=stop_at(5))
    run = train(given, dataset, tmp_path / "run", resume=True)
    assert run.metrics["steps"] == run.history[-1]["step"] > 5


def test_more_than_the_memory_holds_is_told_apart_and_mended_by_pieces(tmp_path: Path) -> None:
    dataset = sentences(64)
    torch.cuda.set_per_process_memory_fraction(0.001)
    try:
        with pytest.raises(TrainingError, match=r"not enough memory"):
            train(config(dataset, device="cuda", encoder={"width": 4096}), dataset, tmp_path / "run")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
