"""A run that was stopped goes on to the bit; a run that is done is handed to nobody else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.training.rows import config, images, sentences
from tests.training.runs import ENOUGH, interrupted, same_weights, stop_at
from training import fit, history
from training.config import Config
from training.errors import TrainingError
from training.loop import Progress, Stopped, train
from training.run import Run

if TYPE_CHECKING:
    from pathlib import Path

    from training.data import Dataset


def test_after_kill_9_it_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    """To the bit, on one thread; the balance's own weights and the dropout included."""
    started = [sys.executable, "-m", "tests.training.killed"]
    environment = os.environ | {"PYTHONPATH": "."}
    subprocess.run(
        [*started, str(tmp_path / "whole")], check=True, env=environment, stdout=subprocess.DEVNULL
    )
    with subprocess.Popen(
        [*started, str(tmp_path / "killed")], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("training") and int(line.split()[1]) > 40:
                process.send_signal(signal.SIGKILL)
                break
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "metrics.json").exists()
    subprocess.run(
        [*started, str(tmp_path / "killed"), "--resume"],
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    assert same_weights(tmp_path / "whole", tmp_path / "killed")
    steps = [[line["step"] for line in Run.read(tmp_path / name).history] for name in ("whole", "killed")]
    assert steps[0] == steps[1]


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"balance": {"kind": "famo"}},
        {"balance": {"kind": "dwa"}},
        {"balance": {"kind": "pcgrad"}},
        {"accumulate": 3},
        {"early_stopping": {"patience": 9}, "evaluate_every": 2},
        {"optimizer": {"kind": "sgd", "lr": 1e-2}, "schedule": "cosine"},
    ],
    ids=str,
)
def test_ctrl_c_ends_with_a_checkpoint_from_which_it_goes_on_to_the_bit(wanted: Any, tmp_path: Path) -> None:
    dataset = sentences(48)
    given = config(dataset, epochs=4, **wanted)
    train(given, dataset, tmp_path / "whole")
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Stopped, match="stopped after step 5"):
        train(given, dataset, tmp_path / "stopped", report=stop_at(5))
    assert signal.getsignal(signal.SIGINT) is before
    train(given, dataset, tmp_path / "stopped", resume=True)
    assert same_weights(tmp_path / "whole", tmp_path / "stopped")


def test_ctrl_c_in_the_last_step_is_heard_too(tmp_path: Path) -> None:
    """What is to come after it, another task or a student, is not begun."""
    dataset = sentences(16)
    given = config(dataset, epochs=1)
    steps = train(given, dataset, tmp_path / "whole").metrics["steps"]
    with pytest.raises(Stopped, match=f"stopped after step {steps}:"):
        train(given, dataset, tmp_path / "stopped", report=stop_at(steps))
    assert not (tmp_path / "stopped" / "metrics.json").exists()
    assert train(given, dataset, tmp_path / "stopped", resume=True).metrics["steps"] == steps
    assert same_weights(tmp_path / "whole", tmp_path / "stopped")


def test_ctrl_c_in_the_last_checkpoint_is_heard_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = sentences(16)
    save = fit.save

    def slow(*given: Any) -> None:
        save(*given)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(fit, "save", slow)
    with pytest.raises(Stopped):
        train(config(dataset, epochs=1), dataset, tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_individual_models_go_on_where_they_stopped_and_not_as_a_joint_one(tmp_path: Path) -> None:
    dataset = images(64)
    given = config(dataset, mode="individual", epochs=2)
    train(given, dataset, tmp_path / "whole")
    seen: list[str] = []

    def report(progress: Progress) -> None:
        seen.append(progress.phase)
        if seen.count("answering") == 1 and progress.phase == "training" and progress.done == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped, match="upper"):
        train(given, dataset, tmp_path / "stopped", report=report)
    for mode, change in (("joint", {}), ("individual", {"batch": 8})):
        other = config(dataset, epochs=2, mode=mode, **change)
        with pytest.raises(TrainingError, match="is of another run"):
            train(other, dataset, tmp_path / "stopped", resume=True)
    run = train(given, dataset, tmp_path / "stopped", resume=True)
    for task in run.parts:
        assert same_weights(tmp_path / "whole" / task, tmp_path / "stopped" / task)
    with pytest.raises(TrainingError, match=r"it differs in train.mode"):
        train(config(dataset, epochs=2), dataset, tmp_path / "stopped", resume=True)


def test_a_run_that_came_to_nothing_leaves_the_folder_to_any_other(tmp_path: Path) -> None:
    """Also what it kept as its best weights: here they are broken, and would be said to be."""
    dataset = sentences(16)
    with pytest.raises(KeyboardInterrupt):
        train(config(dataset), dataset, tmp_path / "run", report=interrupted("training"))
    (tmp_path / "run" / "checkpoints").mkdir()
    (tmp_path / "run" / "checkpoints" / "best").write_bytes(b"of another run")
    given = config(dataset, batch=8, early_stopping={}, evaluate_every=10_000)
    run = train(given, dataset, tmp_path / "run", resume=True)
    assert run.metrics["steps"] == run.history[-1]["step"] == 4


def test_a_run_that_is_cut_off_in_its_last_answers_tells_the_same_in_the_end(tmp_path: Path) -> None:
    dataset = sentences(48)
    given = config(dataset, balance={"kind": "uw"}, early_stopping={"patience": 9})
    whole = train(given, dataset, tmp_path / "whole").metrics
    with pytest.raises(KeyboardInterrupt):
        train(given, dataset, tmp_path / "cut", report=interrupted("answering"))
    cut = train(given, dataset, tmp_path / "cut", resume=True).metrics
    assert {k: v for k, v in cut.items() if k != "seconds"} == {
        k: v for k, v in whole.items() if k != "seconds"
    }
    assert same_weights(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize(
    ("change", "words"),
    [({"batch": 8}, "train.batch"), ({"seed": 3}, "train.seed"), ({"optimizer": {"lr": 1}}, "optimizer")],
)
def test_another_configuration_cannot_go_on_from_a_checkpoint(
    change: Any, words: str, tmp_path: Path
) -> None:
    dataset = sentences(48)
    with pytest.raises(Stopped):
        train(config(dataset), dataset, tmp_path / "run", report=stop_at(2))
    with pytest.raises(TrainingError, match=f"is of another run: it differs in .*{words}"):
        train(config(dataset, **change), dataset, tmp_path / "run", resume=True)
    with pytest.raises(TrainingError, match="it differs in data"):
        train(config(dataset), sentences(48, seed=5), tmp_path / "run", resume=True)


def test_rows_of_other_domains_cannot_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    """They are drawn in another order."""
    dataset = sentences(48)
    with pytest.raises(Stopped):
        train(config(dataset), dataset, tmp_path / "run", report=stop_at(2))
    other = replace(dataset, domains=np.arange(48) % 2, domain_names=("a", "b"))
    with pytest.raises(TrainingError, match="it differs in data"):
        train(config(dataset), other, tmp_path / "run", resume=True)


def test_what_is_refused_is_shown_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = sentences(48)
    with pytest.raises(Stopped):
        train(config(dataset), dataset, tmp_path / "run", report=stop_at(2))
    opened: list[Any] = []
    monkeypatch.setattr(history, "open_trackers", lambda *given: opened.append(given) or [])
    with pytest.raises(TrainingError, match="of another run"):
        train(config(dataset), sentences(48, seed=5), tmp_path / "run", resume=True)
    assert not opened
    train(config(dataset), dataset, tmp_path / "run", resume=True)
    assert len(opened) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch": 8}, r"config.yaml: is of another run: it differs in train.batch; give the run its conf"),
        ({"optimizer": {"lr": 1}}, r"it differs in train.optimizer.head_lr, train.optimizer.lr;"),
        ({"mode": "individual"}, r"it differs in train.mode;"),
        ({"tasks": {"mood": {"alpha": 2}}}, r"it differs in tasks.mood.alpha;"),
        ({"encoder": {"freeze": 1}}, r"it differs in encoder.freeze;"),
    ],
)
def test_a_finished_run_is_not_handed_to_another_configuration(
    learned: tuple[Run, Dataset], change: Any, words: str
) -> None:
    run, dataset = learned
    with pytest.raises(TrainingError, match=words):
        train(config(dataset, **ENOUGH | change), dataset, run.folder, resume=True)


def test_a_finished_run_is_handed_to_what_would_have_given_the_same_weights(
    learned: tuple[Run, Dataset], tmp_path: Path
) -> None:
    run, dataset = learned
    given = config(dataset, **ENOUGH, checkpoint_every=3).model_dump(exclude_unset=True, by_alias=True)
    given["train"]["threads"] = 2
    given |= {
        "compress": [{"kind": "int8"}],
        "export": {"repository": tmp_path},
        "track": ["wandb"],
        "out": tmp_path / "out",
    }
    assert train(Config.model_validate(given), dataset, run.folder, resume=True).metrics == run.metrics


def test_a_finished_run_is_not_handed_to_other_data(tmp_path: Path) -> None:
    dataset = sentences(16)
    made = {what: replace(dataset, card={"fingerprints": {"split": what}}) for what in ("then", "now")}
    given = config(dataset, epochs=1)
    train(given, made["then"], tmp_path / "run")
    train(given, made["then"], tmp_path / "run", resume=True)
    with pytest.raises(TrainingError, match=r"card.json: is of another run: it differs in data \(split\);"):
        train(given, made["now"], tmp_path / "run", resume=True)


def test_a_finished_run_whose_configuration_is_lost_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("{}")
    dataset = sentences(16)
    for content, words in ((None, "No such file"), ("data: [", "while"), ("{}", "validation error")):
        if content is not None:
            (tmp_path / "config.yaml").write_text(content)
        with pytest.raises(TrainingError, match=rf"config.yaml: cannot be read \(.*{words}.*by --out"):
            train(config(dataset), dataset, tmp_path, resume=True)


def test_an_out_that_is_a_file_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    dataset = sentences(16)
    for resume in (False, True):
        with pytest.raises(TrainingError, match="is no folder; name another by --out"):
            train(config(dataset), dataset, tmp_path / "run", resume=resume)


def test_a_folder_with_something_in_it_is_not_overwritten(learned: tuple[Run, Dataset]) -> None:
    run, dataset = learned
    with pytest.raises(
        TrainingError, match="holds something already; go on by --resume, or name another folder"
    ):
        train(config(dataset), dataset, run.folder)
    again = train(config(dataset, **ENOUGH), dataset, run.folder, resume=True)
    assert again.metrics == run.metrics
