"""Several processes: the gradient of the whole batch, however its rows are dealt, and errors told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from tests.training.rows import config, every_kind, sentences
from tests.training.runs import same_weights, stop_at
from training import checkpoint, device
from training.data import Part
from training.errors import TrainingError
from training.loop import Stopped, train
from training.models import build
from training.objectives import Balance
from training.processes import share
from training.step import Losses, Stepper

if TYPE_CHECKING:
    from collections.abc import Callable

STEP = np.arange(23)


def _gradients(kind: str, out: str, report: Callable[[Any], None]) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    dataset = every_kind()
    given = config(dataset, dropout=0, processes=int(os.environ.get("WORLD_SIZE", "1")))
    accelerator = device.accelerator(given.train)
    model = build(given, dataset)
    feed = model.feed(dataset)
    targets = {task: feed.targets(labels) for task, labels in dataset.labels.items()}
    balance = Balance(kind, [1.0] * len(targets))
    stepper = Stepper(
        accelerator,
        accelerator.prepare_model(model),
        feed,
        Losses(targets, accelerator.device),
        balance,
        accumulate=1,
    )
    outcome = stepper.gradient(STEP)
    if accelerator.is_main_process:
        found = {name: p.grad for name, p in model.named_parameters()}
        torch.save(
            {"gradients": found, "losses": outcome.losses, "rows": [len(p) for p in stepper._mine(STEP)]}, out
        )
    report(accelerator.num_processes)


@pytest.mark.parametrize("kind", ["fixed", "uw", "pcgrad"])
def test_two_processes_have_the_gradient_of_the_whole_batch(kind: str, tmp_path: Path) -> None:
    """To 1e-6, though the halves have unequal numbers of labels: five kinds of tasks, 23 rows."""
    told: list[int] = []
    share(2, _gradients, (kind, str(tmp_path / "two")), told.append)
    _gradients(kind, str(tmp_path / "one"), told.append)
    assert told == [2, 1]
    one, two = (torch.load(tmp_path / name) for name in ("one", "two"))
    assert (one["rows"], two["rows"]) == ([23], [12])
    assert two["losses"] == pytest.approx(one["losses"], abs=1e-6)
    for name, gradient in one["gradients"].items():
        # PCGrad goes through the tasks in an order drawn at random
        if kind != "pcgrad" or name.startswith("heads."):
            assert torch.allclose(two["gradients"][name], gradient, atol=1e-6), name


def _fails(how: str, _: Callable[[Any], None]) -> None:
    if os.environ["RANK"] == "1":
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "lacks":
            (Path(os.devnull) / "x").read_bytes()
        raise TrainingError("rows.csv:7", "is odd", "mend it")
    torch.distributed.barrier()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("raises", r"^rows.csv:7: is odd; mend it$"),
        ("killed", r"^process 2 of 2: was killed by SIGKILL; .*then resume$"),
    ],
)
def test_what_ends_one_process_ends_all_and_is_told(how: str, words: str) -> None:
    with pytest.raises(TrainingError, match=words):
        share(2, _fails, (how,), lambda _: None)


def test_files_of_a_process_fail_in_the_words_of_one() -> None:
    with pytest.raises(NotADirectoryError, match="Not a directory"):
        share(2, _fails, ("lacks",), lambda _: None)


def _threads(wanted: int, report: Callable[[Any], None]) -> None:
    os.environ.pop("OMP_NUM_THREADS", None)
    dataset = sentences(16)
    device.accelerator(config(dataset, threads=wanted, processes=2).train)
    report(torch.get_num_threads())


def test_each_process_has_the_threads_that_are_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    """Which accelerate would choose itself, and say so, where the environment has no number."""
    told: list[int] = []
    share(2, _threads, (3,), told.append)
    assert told == [3]
    assert "OMP_NUM_THREADS" not in capfd.readouterr().err


def test_a_run_of_two_processes_stops_resumes_and_answers_every_row(tmp_path: Path) -> None:
    dataset = sentences(48)
    given = config(dataset, epochs=60, processes=2, balance={"kind": "famo"})
    train(given, dataset, tmp_path / "whole")

    with pytest.raises(Stopped):
        train(given, dataset, tmp_path / "stopped", report=stop_at(2))
    run = train(given, dataset, tmp_path / "stopped", resume=True)
    assert same_weights(tmp_path / "whole", tmp_path / "stopped")
    assert run.card["processes"] == 2
    rows = np.concatenate([dataset.rows(Part.VALIDATION), dataset.rows(Part.TEST)])
    model = run.model()
    with torch.no_grad():
        wanted = model(model.collate(dataset, rows))
    for task, scores in wanted.items():
        assert np.allclose(run.predictions[task], scores.numpy(), atol=1e-4)


def test_ctrl_c_in_a_terminal_reaches_every_process_and_still_ends_with_a_checkpoint(tmp_path: Path) -> None:
    """A terminal sends SIGINT to the whole group, and the parent hands it on: twice is not meant."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.training.killed", str(tmp_path / "run"), "--two"],
        env=os.environ | {"PYTHONPATH": "."},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("training 3"):
                os.killpg(process.pid, signal.SIGINT)
                break
        _, said = process.communicate()
    assert "training.fit.Stopped: stopped after step" in said
    assert checkpoint.load(tmp_path / "run" / "checkpoints" / "last")["step"] >= 3
