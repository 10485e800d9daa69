"""A checkpoint is whole or not there, and what it cannot go on from is said."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest
import torch

from tests.training.rows import config, sentences
from tests.training.runs import stop_at
from training import checkpoint, files, fit
from training.errors import TrainingError
from training.loop import Stopped, train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_full_disk_leaves_the_former_checkpoint_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = sentences(48)
    with pytest.raises(Stopped):
        train(config(dataset), dataset, tmp_path / "run", report=stop_at(2))
    before = (tmp_path / "run" / "checkpoints" / "last").read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(
            TrainingError,
            match=r"last: cannot be written: No space left on device, what was there before is whole",
        ):
            train(config(dataset), dataset, tmp_path / "run", resume=True)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["last"]
    assert (tmp_path / "run" / "checkpoints" / "last").read_bytes() == before
    train(config(dataset), dataset, tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    "spoil", [lambda b: b[:-100], lambda b: b[:5000] + b"x" + b[5001:], lambda _: b"", lambda _: b"PK"]
)
def test_a_broken_checkpoint_is_said_to_be(spoil: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "last"
    checkpoint.save(path, {"weights": torch.arange(3000.0), "step": 3})
    assert checkpoint.load(path)["step"] == 3
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(TrainingError, match=r"last: is broken: .* remove the run and start again"):
        checkpoint.load(path)


def test_reading_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "made"),)

    checkpoint.save(tmp_path / "last", {"step": Hostile()})
    with pytest.raises(Exception, match="Weights only load failed"):
        checkpoint.load(tmp_path / "last")
    assert not (tmp_path / "made").exists()


def _spoiled(at: int) -> Callable[..., float]:
    return lambda step, *_, **__: float("nan") if step == at else 0.5


@pytest.mark.parametrize(
    ("at", "words"),
    [
        (4, r"step 6: the loss of task 'mood' is nan; lower train.optimizer.lr .*checkpoint .*last is kept"),
        (
            8,
            r"step 9: the weights are no numbers any more; lower train.optimizer.lr .*last is kept",
        ),
    ],
    ids=["within an epoch", "before a checkpoint"],
)
def test_what_is_no_number_is_named_with_step_and_remedy_and_the_checkpoint_stays(
    at: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = sentences(48)
    given = config(dataset, batch=4)
    with pytest.raises(Stopped):
        train(given, dataset, tmp_path / "run", report=stop_at(2))
    before = (tmp_path / "run" / "checkpoints" / "last").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(fit, "factor", _spoiled(at))
        with pytest.raises(TrainingError, match=words):
            train(given, dataset, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "checkpoints" / "last").read_bytes() == before
    train(given, dataset, tmp_path / "run", resume=True)
