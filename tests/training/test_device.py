"""Arithmetic and memory: what the hardware has is used, what it lacks is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from tests.training.rows import config, sentences
from tests.training.runs import ENOUGH, accuracy
from training import fit, trial
from training.device import on_gpu
from training.errors import TrainingError
from training.loop import train
from training.plan import plan


@pytest.mark.parametrize(
    ("train_", "words"),
    [({"precision": "fp16"}, "fp16 needs a GPU"), ({"device": "cuda"}, "there is no GPU")],
)
def test_what_the_hardware_lacks_is_refused(train_: Any, words: str, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    dataset = sentences(16)
    with pytest.raises(TrainingError, match=words):
        train(config(dataset, **train_), dataset, tmp_path / "run")


def test_each_process_wants_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``auto`` finds too few of is not used by some of them, and what ``cpu`` excludes by none."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    dataset = sentences(16)
    with pytest.raises(
        TrainingError, match=r"train.processes: 2 processes want a GPU each, and there are 1;"
    ):
        train(config(dataset, device="cuda", processes=2), dataset, Path("nowhere"))
    assert not Path("nowhere").exists()
    chosen = {(name, n): on_gpu(config(dataset, device=name, processes=n).train)
              for name in ("auto", "cpu") for n in (1, 2)}  # fmt: skip
    assert chosen == {("auto", 1): True, ("auto", 2): False, ("cpu", 1): False, ("cpu", 2): False}


def test_a_plan_for_a_gpu_without_enough_memory_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(trial, "prepare", full)
    dataset = sentences(16)
    with pytest.raises(TrainingError, match="the GPU: has not enough memory for the model"):
        plan(config(dataset), dataset)


def test_a_gpu_without_enough_memory_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(fit.Stepper, "gradient", full)
    dataset = sentences(16)
    with pytest.raises(
        TrainingError,
        match=r"step 1: the GPU has not enough memory for batches of 16; raise train.accumulate",
    ):
        train(config(dataset), dataset, tmp_path / "run")


def test_bf16_is_chosen_only_where_the_hardware_multiplies_it() -> None:
    from training.device import has_amx

    assert has_amx("flags\t\t: fpu amx_bf16 amx_tile\n")
    assert not has_amx("flags\t\t: fpu avx512_bf16\n")
    assert not has_amx("")


def test_bf16_learns_too(tmp_path: Path) -> None:
    dataset = sentences(96)
    run = train(config(dataset, precision="bf16", **ENOUGH), dataset, tmp_path / "run")
    assert run.card["precision"] == "bf16"
    assert accuracy(run, dataset, "mood") > 0.8


def test_sixteen_bits_are_put_around_the_model_only_when_other_layers_thaw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time lies around the one before: many epochs would be deeper than Python goes."""
    wrapped: list[Any] = []
    prepare_model = Accelerator.prepare_model
    monkeypatch.setattr(
        Accelerator, "prepare_model", lambda self, model: wrapped.append(model) or prepare_model(self, model)
    )
    dataset = sentences(48)
    encoder = {"freeze": 2, "unfreeze": [{"epoch": 2, "freeze": 1}]}
    train(config(dataset, epochs=9, precision="bf16", encoder=encoder), dataset, tmp_path / "run")
    assert len(wrapped) == 2
