"""Training: it learns, in every way that a configuration can say, and refuses what cannot be learned from."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.training import small
from tests.training.rows import config, every_kind, images, labelled, sentences
from tests.training.runs import ENOUGH, accuracy, same_weights, stop_at
from training import fit
from training.data import Kind, Part
from training.errors import TrainingError
from training.evaluate.metrics import measure
from training.loop import Stopped, check_tasks, train
from training.objectives import Teacher
from training.run import Run

if TYPE_CHECKING:
    from pathlib import Path

    from training.data import Dataset


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
        train(given, dataset, tmp_path / "stopped", report=stop_at(2 * per_epoch + 1))
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


def test_a_task_without_a_label_to_learn_from_is_refused(tmp_path: Path) -> None:
    dataset = sentences(16)
    none = labelled(Kind.REGRESS, np.zeros(16), dataset.parts > 0)
    with pytest.raises(TrainingError, match="task 'empty': no training row has a label"):
        train(config(dataset), replace(dataset, labels={"empty": none}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


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
