"""Training: it learns, it resumes to the bit, and what goes wrong is named and nothing is half-written."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from tests.training import small
from tests.training.rows import config, every_kind, images, labelled, sentences
from training import checkpoint, files, fit, history
from training.config import Config
from training.data import Kind, Part
from training.errors import TrainingError
from training.evaluate.metrics import measure
from training.loop import Progress, Stopped, check_tasks, train
from training.objectives import Teacher
from training.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from training.data import Dataset

ENOUGH: Any = {"epochs": 12, "optimizer": {"lr": 3e-3, "head_lr": 3e-2}}


def accuracy(run: Run, dataset: Dataset, task: str) -> float:
    answers = run.predictions
    labels = dataset.labels[task].take(answers["rows"])
    return float((answers[task].argmax(1) == labels.values)[labels.known].mean())


def same_weights(one: Path, other: Path) -> bool:
    a, b = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Dataset]:
    dataset = sentences(160)
    out = tmp_path_factory.mktemp("learned") / "run"
    return train(config(dataset, **ENOUGH), dataset, out, measure=measure), dataset


def test_it_learns_what_can_be_learned(learned: tuple[Run, Dataset]) -> None:
    run, dataset = learned
    assert accuracy(run, dataset, "mood") > 0.9
    assert accuracy(run, dataset, "place") > 0.9
    assert run.metrics["metrics"]["test"]["force"]["pearson"] > 0.7


def test_shuffled_labels_fall_to_chance(tmp_path: Path) -> None:
    """Negative control: nothing but the labels tells it the answers."""
    dataset = sentences(160)
    generator = np.random.default_rng(1)
    labels = {
        task: replace(each, values=generator.permutation(each.values))
        for task, each in dataset.labels.items()
    }
    run = train(config(dataset, **ENOUGH), replace(dataset, labels=labels), tmp_path / "run")
    assert accuracy(run, dataset, "mood") < 0.72
    assert accuracy(run, dataset, "place") < 0.6


def test_a_run_holds_all_that_the_next_ones_read(learned: tuple[Run, Dataset]) -> None:
    run, dataset = learned
    names = {path.relative_to(run.folder).as_posix() for path in run.folder.rglob("*") if path.is_file()}
    assert names == {
        "card.json", "checkpoints/last", "config.yaml", "history.jsonl", "metrics.json", "model.json",
        "model.safetensors", "predictions.npz", "tokenizer.json",
    }  # fmt: skip
    rows = np.concatenate([dataset.rows(Part.VALIDATION), dataset.rows(Part.TEST)])
    assert run.predictions["rows"].tolist() == rows.tolist()
    model = run.model()
    with torch.no_grad():
        again = model(model.collate(dataset, rows))
    for task, scores in again.items():
        assert np.allclose(scores.numpy(), run.predictions[task], atol=1e-4)
    assert {"losses", "weights", "lr", "step"} <= run.history[0].keys()
    assert run.history[-1]["validation"].keys() == dataset.labels.keys()
    assert run.card["data"] == dataset.card
    assert Run.read(run.folder).metrics == run.metrics


def test_its_configuration_can_be_read_again_from_anywhere(
    learned: tuple[Run, Dataset], tmp_path: Path
) -> None:
    from training.config import load

    run, dataset = learned
    moved = tmp_path / "config.yaml"
    moved.write_bytes((run.folder / "config.yaml").read_bytes())
    found, _ = load(moved)
    assert found.out == run.folder
    assert found.train == config(dataset, **ENOUGH).train


def test_the_same_seed_gives_the_same_weights_and_another_one_others(tmp_path: Path) -> None:
    dataset = sentences(48)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(config(dataset, seed=seed), dataset, tmp_path / name)
    assert same_weights(tmp_path / "a", tmp_path / "b")
    assert not same_weights(tmp_path / "a", tmp_path / "c")


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


def _stop_at(step: int) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.phase == "training" and progress.done == step:
            os.kill(os.getpid(), signal.SIGINT)

    return report


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
    with pytest.raises(Stopped, match="stopped after step 5"):
        train(given, dataset, tmp_path / "stopped", report=_stop_at(5))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    train(given, dataset, tmp_path / "stopped", resume=True)
    assert same_weights(tmp_path / "whole", tmp_path / "stopped")


def test_layers_thaw_when_the_schedule_says_so_also_after_going_on(tmp_path: Path) -> None:
    dataset = sentences(48)
    encoder = {"freeze": 2, "unfreeze": [{"epoch": 2, "freeze": 1}, {"epoch": 3, "freeze": 0}]}
    given = config(dataset, epochs=4, encoder=encoder)
    seen: dict[int, set[str]] = {}
    first: dict[str, Any] = {}
    per_epoch = -(-36 // 16)

    def note(self: fit.Fit) -> None:
        original(self)
        state = {k: v.clone() for k, v in self.own.state_dict().items()}
        seen[self.step // per_epoch] = {
            k for k, v in state.items() if k in first and not torch.equal(v, first[k])
        }
        first.update(state)

    original = fit.Fit._thaw
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit.Fit, "_thaw", note)
        train(given, dataset, tmp_path / "whole")
    touched = [{i for i in range(2) for k in seen[epoch] if f"layer.{i}." in k} for epoch in (1, 2, 3, 4)]
    assert touched == [set(), set(), {1}, {0, 1}]
    with pytest.raises(Stopped):
        train(given, dataset, tmp_path / "stopped", report=_stop_at(2 * per_epoch + 1))
    train(given, dataset, tmp_path / "stopped", resume=True)
    assert same_weights(tmp_path / "whole", tmp_path / "stopped")


def test_kept_answers_of_frozen_layers_lead_where_going_all_the_way_leads(tmp_path: Path) -> None:
    dataset = sentences(96)
    runs = {
        cache: train(
            config(dataset, encoder={"freeze": 1, "cache": cache}, epochs=4),
            dataset,
            tmp_path / str(cache),
            prefix=tmp_path / "prefix",
        )
        for cache in (False, True)
    }
    for task, loss in runs[False].metrics["losses"]["test"].items():
        assert runs[True].metrics["losses"]["test"][task] == pytest.approx(loss, rel=0.02)


def test_pieces_of_a_batch_lead_where_the_whole_batch_leads(tmp_path: Path) -> None:
    dataset = every_kind()
    rule = {"kind": "sgd", "lr": 0.1}
    for pieces in (1, 3):
        given = config(dataset, accumulate=pieces, dropout=0, epochs=1, optimizer=rule)
        train(given, dataset, tmp_path / str(pieces))
    one, other = (load_file(tmp_path / str(pieces) / "model.safetensors") for pieces in (1, 3))
    for name in one:
        assert torch.allclose(one[name], other[name], atol=1e-6), name


def test_individual_models_each_see_their_own_task_only(tmp_path: Path) -> None:
    dataset = images(64)
    run = train(config(dataset, mode="individual", epochs=4), dataset, tmp_path / "run", measure=measure)
    assert list(run.parts) == ["quarter", "upper"]
    assert {task: set(part.predictions) for task, part in run.parts.items()} == {
        "quarter": {"rows", "quarter"}, "upper": {"rows", "upper"},
    }  # fmt: skip
    assert set(run.predictions) == {"rows", "quarter", "upper"}
    assert run.metrics["metrics"]["test"].keys() == {"quarter", "upper"}


def test_a_run_starts_from_the_encoder_of_another(tmp_path: Path) -> None:
    dataset = sentences(48)
    source = train(config(dataset), dataset, tmp_path / "source")
    other = replace(dataset, labels={"place": dataset.labels["place"]})
    given = config(other, encoder={"from": str(source.folder), "freeze": 2})
    run = train(given, other, tmp_path / "run")
    before, after = (load_file(each.folder / "model.safetensors") for each in (source, run))
    kept = [name for name in after if name.startswith("encoder.")]
    assert kept
    assert all(torch.equal(before[name], after[name]) for name in kept)


def test_it_stops_when_validation_gets_no_better_and_keeps_the_best(tmp_path: Path) -> None:
    dataset = sentences(48)
    given = config(
        dataset,
        epochs=60,
        early_stopping={"patience": 2},
        optimizer={"lr": 1e-2, "head_lr": 1e-1},
        schedule="constant",
    )
    run = train(given, dataset, tmp_path / "run")
    looks = [line["validation_loss"] for line in run.history if "validation_loss" in line]
    assert run.metrics["stopped_early"]
    assert len(looks) < 60
    assert np.argmin(looks) == len(looks) - 3
    assert sum(run.metrics["losses"]["validation"].values()) == pytest.approx(min(looks), rel=1e-3)


def test_better_alphas_are_looked_for_and_the_model_starts_afresh(tmp_path: Path) -> None:
    dataset = sentences(64)
    given = config(
        dataset,
        epochs=4,
        encoder={"freeze": 1, "cache": True},
        balance={"search": 3},
        tasks={"force": {"alpha": 50}},
    )
    run = train(given, dataset, tmp_path / "run", prefix=tmp_path / "prefix")
    tried = run.metrics["search"]
    assert [each["score"] for each in tried] == sorted(each["score"] for each in tried)
    assert any(each["alphas"] == [1, 50, 1] and each["score"] == pytest.approx(1) for each in tried)
    assert list(run.metrics["alphas"].values()) == pytest.approx(tried[0]["alphas"])


def test_a_student_learns_from_a_teacher_where_there_is_no_label(
    learned: tuple[Run, Dataset], tmp_path: Path
) -> None:
    teacher_run, dataset = learned
    model = teacher_run.model()
    with torch.no_grad():
        scores = {t: s.numpy() for t, s in model(model.collate(dataset, np.arange(len(dataset)))).items()}
    few = {
        task: replace(each, known=each.known & (np.arange(len(dataset)) % 16 == 0))
        for task, each in dataset.labels.items()
    }
    few = {
        task: replace(each, known=each.known | (dataset.parts > 0) & dataset.labels[task].known)
        for task, each in few.items()
    }
    rows = replace(dataset, labels=few)
    given = config(rows, encoder={"name": "bag"}, epochs=20, optimizer={"lr": 3e-2, "head_lr": 3e-2})
    for name, told in (("taught", Teacher(scores, share=0.9)), ("untaught", None)):
        train(given, rows, tmp_path / name, teacher=told)
    taught, untaught = (
        accuracy(Run.read(tmp_path / name), dataset, "place") for name in ("taught", "untaught")
    )
    assert taught > untaught


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
        train(given, dataset, tmp_path / "run", report=_stop_at(2))
    before = (tmp_path / "run" / "checkpoints" / "last").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(fit, "factor", _spoiled(at))
        with pytest.raises(TrainingError, match=words):
            train(given, dataset, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "checkpoints" / "last").read_bytes() == before
    train(given, dataset, tmp_path / "run", resume=True)


def test_a_full_disk_leaves_the_former_checkpoint_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = sentences(48)
    with pytest.raises(Stopped):
        train(config(dataset), dataset, tmp_path / "run", report=_stop_at(2))
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


@pytest.mark.parametrize(
    ("change", "words"),
    [({"batch": 8}, "train.batch"), ({"seed": 3}, "train.seed"), ({"optimizer": {"lr": 1}}, "optimizer")],
)
def test_another_configuration_cannot_go_on_from_a_checkpoint(
    change: Any, words: str, tmp_path: Path
) -> None:
    dataset = sentences(48)
    with pytest.raises(Stopped):
        train(config(dataset), dataset, tmp_path / "run", report=_stop_at(2))
    with pytest.raises(TrainingError, match=f"is of another run: it differs in .*{words}"):
        train(config(dataset, **change), dataset, tmp_path / "run", resume=True)
    with pytest.raises(TrainingError, match="it differs in data"):
        train(config(dataset), sentences(48, seed=5), tmp_path / "run", resume=True)


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
        train(config(dataset), dataset, tmp_path / "run", report=_interrupted("training"))
    (tmp_path / "run" / "checkpoints").mkdir()
    (tmp_path / "run" / "checkpoints" / "best").write_bytes(b"of another run")
    given = config(dataset, batch=8, early_stopping={}, evaluate_every=10_000)
    run = train(given, dataset, tmp_path / "run", resume=True)
    assert run.metrics["steps"] == run.history[-1]["step"] == 4


def _interrupted(phase: str) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.phase == phase:
            raise KeyboardInterrupt

    return report


def test_a_run_that_is_cut_off_in_its_last_answers_tells_the_same_in_the_end(tmp_path: Path) -> None:
    dataset = sentences(48)
    given = config(dataset, balance={"kind": "uw"}, early_stopping={"patience": 9})
    whole = train(given, dataset, tmp_path / "whole").metrics
    with pytest.raises(KeyboardInterrupt):
        train(given, dataset, tmp_path / "cut", report=_interrupted("answering"))
    cut = train(given, dataset, tmp_path / "cut", resume=True).metrics
    assert {k: v for k, v in cut.items() if k != "seconds"} == {
        k: v for k, v in whole.items() if k != "seconds"
    }
    assert same_weights(tmp_path / "whole", tmp_path / "cut")


def test_what_nothing_can_judge_is_refused(tmp_path: Path) -> None:
    dataset = sentences(48)
    blind = replace(dataset, parts=np.where(dataset.parts == 1, 2, dataset.parts).astype(np.int8))
    given: Any
    for given in (
        {"early_stopping": {}},
        {"balance": {"search": 2}, "encoder": {"freeze": 1, "cache": True}},
    ):
        with pytest.raises(TrainingError, match=r"no validation row has a label of force, mood, place to"):
            train(config(blind, **given), blind, tmp_path / "run")
    train(config(blind, epochs=1), blind, tmp_path / "blind")
    seen = dataset.parts == 1
    labels = dataset.labels | {
        "mood": replace(dataset.labels["mood"], known=dataset.labels["mood"].known & ~seen)
    }
    one = replace(dataset, labels=labels)
    run = train(config(one, epochs=1, early_stopping={}), one, tmp_path / "one")
    look = run.history[-1]
    assert look["validation"]["mood"] is None
    assert look["validation_loss"] == pytest.approx(look["validation"]["force"] + look["validation"]["place"])
    with pytest.raises(TrainingError, match=r"train.early_stopping: no validation row has a label of mood"):
        train(config(one, early_stopping={}, mode="individual"), one, tmp_path / "alone")


def test_rows_of_other_domains_cannot_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    """They are drawn in another order."""
    dataset = sentences(48)
    with pytest.raises(Stopped):
        train(config(dataset), dataset, tmp_path / "run", report=_stop_at(2))
    other = replace(dataset, domains=np.arange(48) % 2, domain_names=("a", "b"))
    with pytest.raises(TrainingError, match="it differs in data"):
        train(config(dataset), other, tmp_path / "run", resume=True)


def test_what_is_refused_is_shown_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = sentences(48)
    with pytest.raises(Stopped):
        train(config(dataset), dataset, tmp_path / "run", report=_stop_at(2))
    opened: list[Any] = []
    monkeypatch.setattr(history, "open_trackers", lambda *given: opened.append(given) or [])
    with pytest.raises(TrainingError, match="of another run"):
        train(config(dataset), sentences(48, seed=5), tmp_path / "run", resume=True)
    assert not opened
    train(config(dataset), dataset, tmp_path / "run", resume=True)
    assert len(opened) == 1


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


def test_a_task_without_a_label_to_learn_from_is_refused(tmp_path: Path) -> None:
    dataset = sentences(16)
    none = labelled(Kind.REGRESS, np.zeros(16), dataset.parts > 0)
    with pytest.raises(TrainingError, match="task 'empty': no training row has a label"):
        train(config(dataset), replace(dataset, labels={"empty": none}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


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


@pytest.mark.filterwarnings("ignore")
def test_a_run_is_shown_by_tensorboard_and_wandb_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="needs the extra track")
    pytest.importorskip("tensorboard", reason="needs the extra track")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    dataset = sentences(32)
    given = config(dataset).model_copy(update={"track": ("tensorboard", "wandb")})
    train(given, dataset, tmp_path / "run")
    (events,) = (tmp_path / "run" / "tensorboard").iterdir()
    assert b"losses/mood" in events.read_bytes()
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))


def test_history_is_lines_of_json_that_a_strict_reader_accepts(learned: tuple[Run, Dataset]) -> None:
    run, _ = learned
    for line in (run.folder / "history.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)
    json.loads((run.folder / "metrics.json").read_text(), parse_constant=pytest.fail)


def test_a_task_that_a_teacher_answers_needs_no_label(tmp_path: Path) -> None:
    """Few rows are drawn after a cut, and none of them may have a label of a rare task."""
    rows = small.dataset(40)
    bare = replace(rows.labels["mood"], known=np.zeros(40, bool))
    rare = replace(rows, labels={**rows.labels, "mood": bare})
    config = small.config(tmp_path)
    with pytest.raises(TrainingError, match="task 'mood': no training row has a label"):
        check_tasks(config, rare)
    check_tasks(config, rare, taught={"mood"})
