"""Models: what is frozen stays, what is kept is what would be computed, what is read is what was written."""

from __future__ import annotations

import copy
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from tests.training.rows import config, every_kind, images, made, sentences
from training.data import Arrays, Pairs, Texts
from training.errors import TrainingError
from training.models import build, described, freeze
from training.models import prefix as prefixes
from training.models.spans import best_spans

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")


def test_each_kind_of_task_has_scores_of_its_shape() -> None:
    dataset = every_kind()
    model = build(config(dataset), dataset).eval()
    batch = model.collate(dataset, np.arange(5))
    scores = model(batch)
    tokens = batch["input_ids"].shape[1]
    shapes = {task: tuple(each.shape) for task, each in scores.items()}
    assert shapes == {"class": (5, 3), "tags": (5, 2), "number": (5,), "rank": (5,), "span": (5, tokens, 2)}


@pytest.mark.parametrize("task", ["train", "type", "keys", "items", "forward"])
def test_a_task_may_be_named_as_an_attribute_of_a_module(task: str) -> None:
    dataset = sentences(16)
    dataset = made(dataset.inputs, {task: dataset.labels["mood"]}, 16)
    model = build(config(dataset), dataset)
    assert model(model.collate(dataset, np.arange(2)))[task].shape == (2, 2)
    assert model.heads[task].linear.out_features == 2


@pytest.mark.parametrize("name", ["bert", "bag"])
def test_a_row_is_answered_alike_alone_and_among_longer_ones(name: str) -> None:
    dataset = sentences(24)
    model = build(config(dataset, encoder={"name": name}), dataset).eval()
    with torch.no_grad():
        among = model(model.collate(dataset, np.arange(24)))["mood"]
        alone = torch.cat([model(model.collate(dataset, np.array([row])))["mood"] for row in range(24)])
    assert torch.allclose(among, alone, atol=1e-5)


@pytest.mark.parametrize(("frozen", "trained"), [(1, "layer.1."), (2, "heads.")])
def test_frozen_layers_keep_their_weights_and_the_others_do_not(frozen: int, trained: str) -> None:
    dataset = sentences(16)
    model = build(config(dataset, encoder={"freeze": frozen}), dataset).train()
    before = copy.deepcopy(model.state_dict())
    rule = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    sum(each.square().sum() for each in model(model.collate(dataset, np.arange(8))).values()).backward()
    rule.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert any(trained in name for name in changed)
    assert not any("embeddings" in name or f"layer.{frozen - 1}." in name for name in changed)


def test_frozen_layers_drop_nothing_in_training() -> None:
    """Or what is kept of them would differ from what they say. Those behind them do."""
    dataset = sentences(16)
    model = build(config(dataset, encoder={"freeze": 1}, dropout=0.5), dataset).train()
    batch = model.collate(dataset, np.arange(4))
    assert torch.equal(model.encoder.prefix(batch, 1), model.encoder.prefix(batch, 1))
    assert not torch.equal(model(batch)["mood"], model(batch)["mood"])


def test_patterns_freeze_what_they_match() -> None:
    dataset = sentences(16)
    model = build(config(dataset, encoder={"freeze": ["*.attention.*", "*embeddings*"]}), dataset)
    fixed = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert fixed == {n for n, _ in model.named_parameters() if ".attention." in n or "embeddings" in n}


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (3, "3 layers, the encoder has 2; lower it"),
        (("*layer.9*",), "matches no parameter"),
        (("*",), "nothing is left"),
    ],
)
def test_freezing_what_is_not_there_is_refused(what: Any, words: str) -> None:
    dataset = sentences(16)
    model = build(config(dataset), dataset)
    with pytest.raises(TrainingError, match=words):
        freeze(model, what)


@pytest.mark.parametrize("dataset", [sentences(40), every_kind()], ids=["texts", "pairs"])
def test_kept_answers_of_frozen_layers_give_the_scores_of_going_all_the_way(
    dataset: Any, tmp_path: Path
) -> None:
    """But for what sixteen bits round; and a second run reads what the first one wrote."""
    model = build(config(dataset, encoder={"freeze": 1, "cache": True}), dataset).eval()
    feed = model.feed(dataset)
    kept = prefixes.make(model.encoder, feed, tmp_path, device=CPU)
    rows = np.arange(len(feed.starts) - 1)[::-1].copy()
    with torch.no_grad():
        entered, whole = model(kept.collate(rows)), model(feed.collate(rows))
    for task, scores in whole.items():
        assert torch.allclose(entered[task], scores, atol=5e-3), task
        assert entered[task].abs().max() > 0.05
    (file,) = tmp_path.iterdir()
    written = file.stat().st_mtime_ns
    prefixes.make(model.encoder, feed, tmp_path, device=CPU)
    assert [each.stat().st_mtime_ns for each in tmp_path.iterdir()] == [written]


#: Names that differ from BERT's.
DISTIL = {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 64}
MARKS = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        ("roberta", {}),
        ("xlm-roberta", {}),
        ("distilbert", DISTIL),
        ("modernbert", MARKS),
        ("mpnet", {}),
        ("electra", {"embedding_size": 32}),
        ("deberta-v2", {}),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_other_architectures_can_be_entered_in_the_middle_too(kind: str, own: Any, tmp_path: Path) -> None:
    dataset = sentences(24)
    like_bert = {} if own is DISTIL else {
        "num_hidden_layers": 3, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4,
    }  # fmt: skip
    given = {"model_type": kind, "vocab_size": 64, "max_position_embeddings": 64, "pad_token_id": 0}
    base = build(config(dataset), dataset)
    about = base.describe()
    about["encoder"] = {"kind": "text", "max_length": 32, "config": given | like_bert | own}
    model = described(about, base.encoder.tokenizer)
    freeze(model, 2)
    kept = prefixes.make(model.encoder, model.feed(dataset), tmp_path, device=CPU)
    sum(each.sum() for each in model.train()(kept.collate(np.arange(8))).values()).backward()
    trained = {name for name, p in model.named_parameters() if p.grad is not None}
    assert trained == {name for name, p in model.named_parameters() if p.requires_grad}
    assert any(".2." in name for name in trained)


def test_an_architecture_without_a_list_of_layers_is_trained_as_a_whole() -> None:
    dataset = sentences(24)
    base = build(config(dataset), dataset)
    about = base.describe()
    about["encoder"]["config"] |= {"model_type": "albert", "embedding_size": 16, "num_hidden_layers": 3}
    model = described(about, base.encoder.tokenizer)
    assert model(model.collate(dataset, np.arange(2)))["mood"].shape == (2, 2)
    with pytest.raises(TrainingError, match="1 layers, the encoder has 0"):
        freeze(model, 1)


def test_other_weights_or_other_texts_have_other_answers_kept(tmp_path: Path) -> None:
    dataset = sentences(12)
    model = build(config(dataset, encoder={"freeze": 1}), dataset)
    prefixes.make(model.encoder, model.feed(dataset), tmp_path, device=CPU)
    with torch.no_grad():
        model.encoder.layers[1].output.dense.weight.add_(1)  # it is behind the frozen ones
    prefixes.make(model.encoder, model.feed(dataset), tmp_path, device=CPU)
    assert len(list(tmp_path.iterdir())) == 1
    with torch.no_grad():
        model.encoder.layers[0].output.dense.weight.add_(1)
    prefixes.make(model.encoder, model.feed(dataset), tmp_path, device=CPU)
    assert len(list(tmp_path.iterdir())) == 2
    prefixes.make(model.encoder, model.feed(sentences(12, seed=1)), tmp_path, device=CPU)
    assert len(list(tmp_path.iterdir())) == 3


def test_an_encoder_that_cannot_be_entered_in_the_middle_is_refused(tmp_path: Path) -> None:
    """Negative control: kept answers that are wrong are noticed before anything is learned from them."""
    dataset = sentences(12)
    model = build(config(dataset, encoder={"freeze": 1}), dataset)
    prefixes.make(model.encoder, model.feed(dataset), tmp_path, device=CPU)
    (file,) = tmp_path.iterdir()
    states = np.load(file)
    np.save(file, states[::-1])
    with pytest.raises(
        TrainingError, match=r"entering BertModel behind layer 1 changes its answer by .*cache: false"
    ):
        prefixes.make(model.encoder, model.feed(dataset), tmp_path, device=CPU)


def test_a_disk_too_full_for_kept_answers_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    dataset = sentences(12)
    model = build(config(dataset, encoder={"freeze": 1}), dataset)
    monkeypatch.setattr(prefixes.os, "posix_fallocate", full)
    with pytest.raises(TrainingError, match=r"cannot be kept \(No space left on device\); make room"):
        prefixes.make(model.encoder, model.feed(dataset), tmp_path, device=CPU)
    assert not list(tmp_path.iterdir())


def _aged(path: Path, size: int, hours: float) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    then = time.time() - 3600 * hours
    os.utime(path, (then, then))
    return path


def test_of_kept_answers_those_that_were_not_used_for_longest_are_removed(tmp_path: Path) -> None:
    dataset = sentences(12)
    model = build(config(dataset, encoder={"freeze": 1}), dataset)
    kept = prefixes.make(model.encoder, model.feed(dataset), tmp_path, device=CPU)
    (mine,) = tmp_path.iterdir()
    os.utime(mine, (0, 0))
    half = 1_900_000_000
    recent = [_aged(tmp_path / f"{i}.npy", half, hours=0.5) for i in range(2)]
    older, oldest = (_aged(tmp_path / f"{hours}.npy", half, hours) for hours in (2, 3))
    small = _aged(tmp_path / "small.npy", 1000, hours=4)
    dead, written = (_aged(tmp_path / f".x.npy.{hours}", 10, hours) for hours in (30, 2))
    again = prefixes.make(model.encoder, model.feed(dataset), tmp_path, device=CPU)
    assert set(tmp_path.iterdir()) == {mine, *recent, small, written}
    assert not older.exists()
    assert not oldest.exists()
    assert not dead.exists()
    assert np.array_equal(again.states, kept.states)


def test_a_run_goes_on_with_kept_answers_that_another_one_removes(tmp_path: Path) -> None:
    dataset = sentences(12)
    model = build(config(dataset, encoder={"freeze": 1}), dataset)
    kept = prefixes.make(model.encoder, model.feed(dataset), tmp_path, device=CPU)
    (file,) = tmp_path.iterdir()
    before = np.load(file)
    file.unlink()
    again = prefixes.make(model.encoder, model.feed(dataset), tmp_path, device=CPU)
    assert np.array_equal(kept.states, before)
    assert np.array_equal(again.states, before)


def test_spans_go_from_characters_to_tokens_and_back() -> None:
    dataset = every_kind()
    feed = build(config(dataset), dataset).feed(dataset)
    labels = dataset.labels["span"]
    targets = feed.targets(labels)
    rows = np.flatnonzero(targets.known)
    batch = {name: each.numpy() for name, each in feed.collate(rows).items()}
    scores = np.zeros((*batch["input_ids"].shape, 2))
    for i, (begin, end) in enumerate(targets.values[rows]):
        scores[i, begin, 0] = scores[i, end, 1] = 9
    found = best_spans(scores, batch["context"].astype(bool), batch["offsets"])
    assert (found == labels.values[rows]).all()
    assert (targets.known == labels.known).all()


def test_a_span_that_was_cut_off_is_as_good_as_unlabelled() -> None:
    dataset = every_kind()
    model = build(config(dataset), dataset)
    model.encoder.max_length = 8
    targets = model.feed(dataset).targets(dataset.labels["span"])
    assert targets.known.sum() == dataset.labels["span"].known.sum()
    model._feed = None
    short = model.encoder.feed(dataset).targets(dataset.labels["span"])
    assert 0 < short.known.sum() < targets.known.sum()


def test_a_question_longer_than_all_that_is_read_is_named_with_a_remedy() -> None:
    dataset = every_kind()
    assert isinstance(dataset.inputs, Pairs)
    questions = ["where is it"] * 48
    questions[5] = "where is it now"
    dataset = replace(dataset, inputs=Pairs(tuple(questions), dataset.inputs.contexts))
    model = build(config(dataset), dataset)
    model.encoder.max_length = 7
    with pytest.raises(
        TrainingError,
        match=r"row 6 of the data, 'where is it now': cannot be cut into .*raise data.max_length from 7",
    ):
        model.encoder.feed(dataset)


@pytest.mark.parametrize("encoder", [{}, {"name": "bag"}, {"name": "image"}, {"name": "tabular"}])
def test_a_described_model_with_its_weights_says_the_same(encoder: Any) -> None:
    dataset = images(16) if encoder.get("name") in ("image", "tabular") else sentences(16)
    model = build(config(dataset, encoder=encoder), dataset).eval()
    again = described(model.describe(), getattr(model.encoder, "tokenizer", None)).eval()
    again.load_state_dict(model.state_dict())
    rows = np.arange(6)
    with torch.no_grad():
        for task, scores in model(model.collate(dataset, rows)).items():
            assert torch.equal(again(again.collate(dataset, rows))[task], scores)


def test_an_encoder_of_a_folder_is_read_and_what_is_none_is_refused(tmp_path: Path) -> None:
    dataset = sentences(16)
    model = build(config(dataset), dataset).eval()
    model.encoder.model.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text(model.encoder.tokenizer.to_str())
    wanted = {"name": "local", "path": str(tmp_path)}
    local = build(config(dataset, encoder=wanted), dataset).eval()
    rows = np.arange(4)
    with torch.no_grad():
        assert torch.allclose(
            local.encoder(local.collate(dataset, rows)).row,
            model.encoder(model.collate(dataset, rows)).row,
            atol=1e-6,
        )
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(
        TrainingError, match=r"is no encoder that can be read .*; name a folder with config.json"
    ):
        build(config(dataset, encoder=wanted), dataset)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(TrainingError, match=r"tokenizer.json: is no tokenizer that can be read"):
        build(config(dataset, encoder=wanted), dataset)


@pytest.mark.parametrize(
    ("inputs", "encoder", "words"),
    [
        (Texts(("a",) * 16), {"name": "image"}, "reads numbers, and the rows are texts"),
        (Arrays(np.zeros((16, 4), np.float32)), {"name": "bert"}, "reads text, and the rows are numbers"),
        (
            Arrays(np.zeros((16, 4), np.float32)),
            {"name": "image"},
            r"image reads \[h, w\] or \[c, h, w\], not \[4\]",
        ),
    ],
)
def test_an_encoder_that_cannot_read_the_rows_is_refused(inputs: Any, encoder: Any, words: str) -> None:
    dataset = made(inputs, {"mood": sentences(16).labels["mood"]}, 16)
    with pytest.raises(TrainingError, match=words):
        build(config(dataset, encoder=encoder), dataset)
