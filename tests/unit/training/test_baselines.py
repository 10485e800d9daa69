"""Baselines learn what there is to learn, choose without test rows, and stand aside where they do not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.unit.training.scored import labels_of
from training.data.dataset import Arrays, Dataset, Inputs, Kind, Labels, Pairs, Part, Texts
from training.evaluate.baselines import COMMONEST_NAME, LINEAR, MAJORITY, RANDOM_NAME, VADER, baselines
from training.evaluate.metrics import measure

ROWS = 240
PARTS = (np.arange(ROWS) % 4 - 1).clip(0).astype(np.int8)
TEST = np.flatnonzero(PARTS == Part.TEST)
TRUTH = np.arange(ROWS) // 4 % 3
WORDS = ("bad awful poor", "a box came", "good fine lovely")
TEXTS = Texts(
    tuple(f"{np.random.default_rng(i).choice(WORDS[t].split())} the it {i % 7}" for i, t in enumerate(TRUTH))
)


def dataset(inputs: Inputs, labels: Labels) -> Dataset:
    return Dataset(
        inputs=inputs,
        labels={"t": labels},
        groups=np.arange(ROWS),
        domains=np.zeros(ROWS, np.int64),
        domain_names=("all",),
        parts=PARTS,
        card={},
    )


def scored(inputs: Inputs, labels: Labels, **options: Any) -> dict[str, dict[str, float]]:
    contexts = [inputs.contexts[row] for row in TEST.tolist()] if isinstance(inputs, Pairs) else None
    found = baselines(dataset(inputs, labels), "t", **options)
    return {name: measure(scores[TEST], labels.take(TEST), contexts) for name, scores in found.items()}


@pytest.mark.parametrize("kind", [Kind.CLASSIFY, Kind.MULTILABEL, Kind.REGRESS, Kind.RANK])
def test_linear_learns_what_words_say_and_majority_does_not(kind: Kind) -> None:
    """For every kind of task on texts."""
    values: Any = np.eye(3)[TRUTH] if kind is Kind.MULTILABEL else TRUTH
    queries = np.arange(ROWS) // 16 if kind is Kind.RANK else None
    found = scored(TEXTS, labels_of(kind, values, queries=queries))
    main = {"classify": "accuracy", "multilabel": "auc", "regress": "pearson", "rank": "ndcg_5"}[kind.value]
    assert found[LINEAR][main] > 0.95
    assert not found[MAJORITY][main] > 0.8


def test_majority_is_the_commonest_class_the_mean_and_the_share() -> None:
    """Of the weighted training rows."""
    train = PARTS == Part.TRAIN
    weights = np.where(TRUTH == 2, 5.0, 1.0)
    said = baselines(dataset(TEXTS, labels_of(Kind.CLASSIFY, TRUTH, weights=weights)), "t")[MAJORITY]
    assert set(said.argmax(axis=1).tolist()) == {2}
    said = baselines(dataset(TEXTS, labels_of(Kind.REGRESS, TRUTH, weights=weights)), "t")[MAJORITY]
    assert said[0] == pytest.approx(np.average(TRUTH[train], weights=weights[train]), rel=1e-6)
    said = baselines(dataset(TEXTS, labels_of(Kind.MULTILABEL, np.eye(3)[TRUTH])), "t")[MAJORITY]
    assert 1 / (1 + np.exp(-said[0])) == pytest.approx(np.eye(3)[TRUTH][train].mean(axis=0))


def test_shuffled_labels_leave_nothing_to_learn() -> None:
    """Negative control: the linear baseline falls to chance."""
    shuffled = np.random.default_rng(0).permutation(TRUTH)
    assert scored(TEXTS, labels_of(Kind.CLASSIFY, shuffled))[LINEAR]["accuracy"] < 0.6


def test_test_labels_have_no_part_in_anything() -> None:
    """Other test labels, equal scores."""
    other = np.where(PARTS == Part.TEST, 0, TRUTH)
    one, two = (baselines(dataset(TEXTS, labels_of(Kind.CLASSIFY, values)), "t") for values in (TRUTH, other))
    for name, scores in one.items():
        assert np.array_equal(scores, two[name]), name


def test_unlabelled_training_rows_are_not_learned_from() -> None:
    """Nonsense in their place changes nothing."""
    known = np.arange(ROWS) % 3 > 0
    wild = np.where(known, TRUTH, 0)
    one, two = (
        baselines(dataset(TEXTS, labels_of(Kind.CLASSIFY, values, known=known)), "t")[LINEAR]
        for values in (TRUTH, wild)
    )
    assert np.array_equal(one, two)


def test_images_have_a_linear_baseline_too() -> None:
    """On their numbers; a pixel that never changes is no trouble."""
    pixels = np.zeros((ROWS, 2, 2), np.float32)
    pixels[:, 0, 0] = TRUTH + 0.1 * np.random.default_rng(0).normal(size=ROWS)
    pixels[:, 1, 1] = TRUTH == 1
    assert scored(Arrays(pixels), labels_of(Kind.CLASSIFY, TRUTH))[LINEAR]["accuracy"] > 0.95


def test_a_class_without_training_rows_is_never_answered() -> None:
    """Also where only one class is left."""
    train = PARTS == Part.TRAIN
    for values in (np.where(train & (TRUTH == 2), 1, TRUTH), np.where(train, 0, TRUTH)):
        found = baselines(dataset(TEXTS, labels_of(Kind.CLASSIFY, values)), "t")[LINEAR]
        assert set(found.argmax(axis=1).tolist()) <= set(values[train].tolist())


def test_texts_without_a_common_word_have_no_linear_baseline() -> None:
    """And no exception."""
    texts = Texts(tuple(f"word{i}" for i in range(ROWS)))
    assert list(baselines(dataset(texts, labels_of(Kind.CLASSIFY, TRUTH)), "t")) == [MAJORITY]


def test_without_a_labelled_training_row_there_are_none() -> None:
    """Nothing could be fitted."""
    labels = labels_of(Kind.CLASSIFY, TRUTH, known=PARTS != Part.TRAIN)
    assert baselines(dataset(TEXTS, labels), "t") == {}


def rule(text: str) -> float:
    """Stands in for VADER's rules."""
    words = set(text.split())
    return 0.8 if words & set(WORDS[2].split()) else -0.8 if words & set(WORDS[0].split()) else 0.02


def test_rules_answer_polarity_in_the_order_of_its_classes_and_intensity_on_its_scale() -> None:
    """Beyond 0.05 a text is positive or negative; for numbers a line is fitted on training rows."""
    for names in (("negative", "neutral", "positive"), ("positive", "negative", "neutral")):
        values = [names.index(("negative", "neutral", "positive")[t]) for t in TRUTH]
        found = scored(TEXTS, labels_of(Kind.CLASSIFY, values, names=names), vader=rule)
        assert found[VADER]["accuracy"] == 1
    found = scored(TEXTS, labels_of(Kind.REGRESS, 10.0 * TRUTH - 7), vader=rule)
    assert found[VADER]["rmse"] < 0.3


def test_rules_say_nothing_of_other_classes() -> None:
    """A domain is no polarity."""
    labels = labels_of(Kind.CLASSIFY, TRUTH, names=("film", "shop", "tweet"))
    assert VADER not in baselines(dataset(TEXTS, labels), "t", vader=rule)


def test_names_are_looked_for_within_sentences_and_not_in_the_question() -> None:
    """The commonest one is taken where it stands first; where there is none, no answer is given."""
    context = "Then Ann Lee met Bob Ray. Later Bob Ray left, and Carl Dee saw Bob Ray and Ann Lee."
    none = "nobody was there."
    contexts = (context, none) * (ROWS // 2)
    questions = ("When did _____ leave Carl Dee?", "Who?") * (ROWS // 2)
    first = context.index("Bob")
    labels = labels_of(Kind.SPAN, [[first, first + 7], [-1, -1]] * (ROWS // 2))
    inputs = Pairs(questions, contexts)
    said = baselines(dataset(inputs, labels), "t", seed=1)
    assert said[COMMONEST_NAME][:2].tolist() == [[first, first + 7], [-1, -1]]
    drawn = {context[a:b] for a, b in said[RANDOM_NAME][::2].tolist()}
    assert drawn == {"Ann Lee", "Bob Ray"}
    assert scored(inputs, labels)[COMMONEST_NAME]["em"] == 1
