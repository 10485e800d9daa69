"""What is longer than a model reads is counted, told, and refused where nothing would be left to learn."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.training.rows import config, every_kind, labelled, made, sentences
from training.data import Kind, Pairs, Part, Texts
from training.errors import TrainingError
from training.loop import train
from training.models import build

if TYPE_CHECKING:
    from pathlib import Path

    from training.config import Config
    from training.data import Dataset


def reading(config: Config, tokens: int) -> Config:
    return config.model_copy(update={"data": config.data.model_copy(update={"max_length": tokens})})


def test_texts_of_which_the_end_is_not_read_are_marked() -> None:
    """A text that just fits is whole."""
    texts = ("a b", "a b c", "a b c d")  # with a mark before and after
    dataset = made(
        Texts(texts), {"t": labelled(Kind.CLASSIFY, [0, 1, 0], np.ones(3, bool), classes=("x", "y"))}, 3
    )
    feed = build(reading(config(dataset), 5), dataset).feed(dataset)
    assert feed.cut.tolist() == [False, False, True]
    assert feed.lengths.tolist() == [4, 5, 5]


def test_the_card_counts_texts_and_answers_that_are_cut_off(tmp_path: Path) -> None:
    """By part; of each task of spans, the answers that are not read, which no model can give."""
    dataset = every_kind()
    short = train(reading(config(dataset, epochs=1), 9), dataset, tmp_path / "short").card["cut"]
    labels = dataset.labels["span"]
    feed = build(reading(config(dataset), 9), dataset).feed(dataset)
    lost = labels.known & ~feed.targets(labels).known
    assert lost.any()
    assert short == {
        "texts": {p.name.lower(): int(feed.cut[dataset.rows(p)].sum()) for p in Part},
        "answers of span": {p.name.lower(): int(lost[dataset.rows(p)].sum()) for p in Part},
    }
    whole = train(config(dataset, epochs=1), dataset, tmp_path / "whole").card["cut"]
    assert whole == {"texts": {"train": 0, "validation": 0, "test": 0}}


def spans_behind(dataset: Dataset) -> Dataset:
    """The same rows, each answer behind so many words that none is read."""
    assert isinstance(dataset.inputs, Pairs)
    before = "stone " * 40
    labels = dataset.labels["span"]
    contexts = tuple(before + context for context in dataset.inputs.contexts)
    values = np.where(labels.values < 0, 0, labels.values) + len(before)
    return replace(
        dataset,
        inputs=Pairs(dataset.inputs.questions, contexts),
        labels={"span": replace(labels, values=values)},
    )


def test_answers_that_are_all_cut_off_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    """Nothing could be learnt: it would be a model that has seen no answer."""
    dataset = spans_behind(every_kind())
    with pytest.raises(
        TrainingError, match=r"task 'span': every answer .* first 32 tokens.*data\.max_length"
    ):
        train(config(dataset), dataset, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_texts_are_cut_alike_whether_any_is_marked_or_not() -> None:
    """The tokens that a model reads of a row are those that its tokenizer gives, to the bit."""
    dataset = sentences(24)
    encoder = build(reading(config(dataset), 6), dataset).encoder
    feed = encoder.feed(dataset)
    encoder.tokenizer.enable_truncation(6)
    assert isinstance(dataset.inputs, Texts)
    ids = [encoder.tokenizer.encode(text).ids for text in dataset.inputs.texts]
    assert feed.ids.tolist() == [token for row in ids for token in row]
