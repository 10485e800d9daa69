"""Metrics: against scikit-learn, on worked examples, and by their properties."""

from __future__ import annotations

import pickle
import warnings
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from tests.unit.training.scored import classes, labels_of, numbers, some
from training.data.dataset import Kind
from training.evaluate.metrics import METRICS, Undefined, figures, main_metric, measure, softmax
from training.evaluate.metrics.ranks import ranked

ALL = list(Kind)
LOW = {name for name, metric in METRICS.items() if not metric.higher}


def close(found: dict[str, float], expected: dict[str, float]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name


def weights_of(rows: int, seed: int) -> Any:
    return np.random.default_rng(seed).uniform(0.2, 3.0, rows).astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_classes_agree_with_scikit_learn(seed: int) -> None:
    """Weighted accuracy, both F1 and the one-vs-rest AUC of probabilities."""
    weights = weights_of(60, seed)
    scores, labels, _ = some(Kind.CLASSIFY, seed=seed, weights=weights)
    answers, how = scores.argmax(axis=1), {"sample_weight": weights}
    close(
        measure(scores, labels),
        {
            "accuracy": reference.accuracy_score(labels.values, answers, **how),
            "f1_macro": reference.f1_score(labels.values, answers, average="macro", **how),
            "f1_micro": reference.f1_score(labels.values, answers, average="micro", **how),
            "auc": reference.roc_auc_score(labels.values, softmax(scores), multi_class="ovr", **how),
        },
    )


@pytest.mark.parametrize("seed", range(5))
def test_several_labels_agree_with_scikit_learn(seed: int) -> None:
    """Rows all of whose labels are right, both F1 over labels, and the mean AUC."""
    weights = weights_of(60, seed)
    scores, labels, _ = some(Kind.MULTILABEL, seed=seed, weights=weights)
    answers, truth, how = scores > 0, labels.values > 0, {"sample_weight": weights}
    close(
        measure(scores, labels),
        {
            "accuracy": reference.accuracy_score(truth, answers, **how),
            "f1_macro": reference.f1_score(truth, answers, average="macro", **how),
            "f1_micro": reference.f1_score(truth, answers, average="micro", **how),
            "auc": reference.roc_auc_score(truth, scores, average="macro", **how),
        },
    )


@pytest.mark.parametrize("seed", range(5))
def test_numbers_agree_with_scikit_learn_and_numpy(seed: int) -> None:
    """Errors by scikit-learn, the correlation by numpy's weighted covariance."""
    weights = weights_of(60, seed)
    scores, labels, _ = some(Kind.REGRESS, seed=seed, weights=weights)
    covariance = np.cov(scores, labels.values, aweights=weights)
    close(
        measure(scores, labels),
        {
            "mae": reference.mean_absolute_error(labels.values, scores, sample_weight=weights),
            "rmse": reference.root_mean_squared_error(labels.values, scores, sample_weight=weights),
            "pearson": covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]),
        },
    )


@pytest.mark.parametrize("seed", range(5))
def test_ranked_lists_agree_with_scikit_learn(seed: int) -> None:
    """NDCG@5 of lists with ties, averaged as scikit-learn averages; MRR as precision at the first hit."""
    scores, labels, _ = some(Kind.RANK, seed=seed)
    lists = [np.flatnonzero(labels.queries == query) for query in np.unique(labels.queries)]
    lists = [rows for rows in lists if len(set(labels.values[rows])) > 1]
    gains = [reference.ndcg_score([labels.values[rows]], [scores[rows]], k=5) for rows in lists]
    assert measure(scores, labels)["ndcg_5"] == pytest.approx(np.mean(gains), rel=1e-9)

    single = labels_of(Kind.RANK, np.eye(6)[seed % 6], queries=np.zeros(6))
    alone = np.random.default_rng(seed).normal(size=6)
    expected = reference.label_ranking_average_precision_score([single.values], [alone])
    assert measure(alone, single)["mrr"] == pytest.approx(expected)


def test_ndcg_of_the_textbook_list() -> None:
    """Relevance 3, 2, 3, 0, 1, 2 in the order answered: DCG 6.861 of 7.141, NDCG 0.961.

    Source: Wikipedia, "Discounted cumulative gain", section "Example", whose ideal order is of the six
        documents alone.
    """
    labels = labels_of(Kind.RANK, [3, 2, 3, 0, 1, 2], queries=[0] * 6)
    found = figures(np.arange(6, 0, -1.0), labels)
    assert list(found) == ["ndcg_5", "mrr"]
    of_six = ranked(np.arange(6, 0, -1.0), labels.values.astype(float), np.zeros(6, np.int64), cut=6)
    assert of_six["ndcg_6"].of(np.ones((1, 6)))[0] == pytest.approx(6.861 / 7.141, abs=2e-4)


def test_mrr_of_the_textbook_lists() -> None:
    """The right answer at places 3, 2 and 1 gives 11/18.

    Source: Wikipedia, "Mean reciprocal rank", section "Example" (cats, torus, virus).
    """
    labels = labels_of(Kind.RANK, [0, 0, 1, 0, 1, 0, 1, 0, 0], queries=[7, 7, 7, 4, 4, 4, 5, 5, 5])
    assert measure(np.tile([3.0, 2.0, 1.0], 3), labels)["mrr"] == pytest.approx(11 / 18)


def test_a_tie_is_worth_the_mean_over_its_orders() -> None:
    """Four equal scores, one of them right: (1 + 1/2 + 1/3 + 1/4) / 4, wherever the right one stands."""
    for place in range(4):
        labels = labels_of(Kind.RANK, np.eye(4)[place], queries=[0] * 4)
        assert measure(np.zeros(4), labels)["mrr"] == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


def test_ties_of_several_right_rows_are_counted_over_all_orders() -> None:
    """Against every order written out."""
    relevance = np.array([1, 0, 1, 0, 0])
    labels = labels_of(Kind.RANK, relevance, queries=[0] * 5)
    first = [1 / (1 + int(np.argmax(relevance[list(order)]))) for order in permutations(range(5))]
    assert measure(np.zeros(5), labels)["mrr"] == pytest.approx(np.mean(first))


def test_lists_that_say_nothing_of_order_do_not_count() -> None:
    """A list of equal relevance would raise every model's figure alike."""
    labels = labels_of(Kind.RANK, [1, 0, 2, 2, 2], queries=[0, 0, 1, 1, 1])
    assert measure(np.array([0.0, 1.0, 5.0, 1.0, 0.0]), labels)["mrr"] == 0.5


def test_macro_and_micro_f1_of_the_textbook_example() -> None:
    """Truth 0 1 2 0 1 2, answers 0 2 1 0 0 1: macro 0.266..., micro 0.333...

    Source: scikit-learn's documentation of ``f1_score``, section "Examples".
    """
    found = measure(*classes([0, 1, 2, 0, 1, 2], [0, 2, 1, 0, 0, 1]))
    assert found["f1_macro"] == pytest.approx(0.26666666)
    assert found["f1_micro"] == pytest.approx(1 / 3)


def test_auc_of_the_textbook_example() -> None:
    """Scores .1 .4 .35 .8 of truth 0 0 1 1: three of four pairs are in order.

    Source: scikit-learn's documentation of ``roc_auc_score``, "Binary case", with its numbers from
        ``roc_curve``.
    """
    labels = labels_of(Kind.MULTILABEL, [[0], [0], [1], [1]], names=("there",))
    assert measure(np.array([[0.1], [0.4], [0.35], [0.8]]), labels)["auc"] == 0.75


def test_spans_are_compared_as_squad_does() -> None:
    """Articles, case and punctuation do not count; F1 is over shared words.

    Source: evaluate-v2.0.py of the SQuAD website, compute_exact and compute_f1; the sentence is the first
        of SQuAD 1.1's
    validation file.
    """
    context = "The American Football Conference (AFC) champion Denver Broncos defeated the Carolina Panthers."
    denver, champion = context.index("Denver"), context.index("champion")
    end = denver + len("Denver Broncos")
    article = context.index("the Carolina")
    carolina = article + len("the ")
    truth = [[denver, end], [denver, end], [denver, end], [carolina, len(context) - 1], [-1, -1], [-1, -1]]
    answer = [[denver, end], [champion, end], [0, 12], [article, len(context)], [-1, -1], [0, 3]]
    labels = labels_of(Kind.SPAN, truth)
    for row, (em, f1) in enumerate([(1, 1), (0, 2 * (2 / 3) / (2 / 3 + 1)), (0, 0), (1, 1), (1, 1), (1, 1)]):
        found = measure(np.array(answer)[[row]], labels.take(np.array([row])), [context])
        # an answer of nothing but an article reads as none, as in SQuAD's script
        assert (found["em"], found["f1"]) == (em, pytest.approx(f1)), row


@pytest.mark.parametrize("kind", ALL)
def test_the_order_of_the_rows_never_matters(kind: Kind) -> None:
    """Ties included."""
    scores, labels, contexts = some(kind)
    order = np.random.default_rng(3).permutation(len(labels.known))
    shuffled = measure(scores[order], labels.take(order), [contexts[i] for i in order])
    close(shuffled, measure(scores, labels, contexts))


@pytest.mark.parametrize("kind", ALL)
def test_a_perfect_score_is_perfect(kind: Kind) -> None:
    """1 where more is better, else 0."""
    _, labels, contexts = some(kind)
    perfect = labels.values
    if kind is Kind.CLASSIFY:
        perfect = 9.0 * np.eye(3)[labels.values]
    elif kind is Kind.MULTILABEL:
        perfect = labels.values - 0.5
    for name, value in measure(perfect, labels, contexts).items():
        assert value == pytest.approx(0 if name in LOW else 1), name


@pytest.mark.parametrize(
    ("kind", "chance"),
    [
        (Kind.CLASSIFY, {"accuracy": 1 / 3, "f1_macro": 1 / 3, "auc": 0.5}),
        (Kind.MULTILABEL, {"auc": 0.5}),
        (Kind.REGRESS, {"pearson": 0.0}),
    ],
)
def test_shuffled_labels_fall_to_chance(kind: Kind, chance: dict[str, float]) -> None:
    """Negative control: good scores against labels of other rows are worth what guessing is."""
    scores, labels, _ = some(kind, rows=20_000)
    order = np.random.default_rng(5).permutation(20_000)
    found, shuffled = measure(scores, labels), measure(scores, labels.take(order))
    for name, value in chance.items():
        assert shuffled[name] == pytest.approx(value, abs=0.02), name
        assert found[name] > value + 0.2, name


def test_shuffled_relevance_falls_to_chance() -> None:
    """Negative control: reciprocal rank of one right row among four falls to 25/48."""
    generator = np.random.default_rng(1)
    relevance = np.eye(4)[generator.integers(0, 4, 8_000)].ravel()
    labels = labels_of(Kind.RANK, relevance, queries=np.repeat(np.arange(8_000), 4))
    assert measure(relevance + generator.normal(size=32_000) / 3, labels)["mrr"] > 0.9
    assert measure(generator.normal(size=32_000), labels)["mrr"] == pytest.approx(25 / 48, abs=0.01)


@pytest.mark.parametrize("kind", ALL)
def test_masked_rows_never_matter(kind: Kind) -> None:
    """Whatever stands there, not-a-number included, the figures are those of the labelled rows alone."""
    known = np.random.default_rng(2).random(60) < 0.7
    scores, labels, contexts = some(kind, known=known, weights=weights_of(60, 4))
    rows = np.flatnonzero(known)
    alone = measure(scores[rows], labels.take(rows), [contexts[i] for i in rows])
    wild = np.where(known.reshape(-1, *[1] * (scores.ndim - 1)), scores, -7 if kind is Kind.SPAN else np.nan)
    values = np.array(labels.values)
    values[~known] = 1_000_000 if kind is not Kind.MULTILABEL else 77
    odd = labels_of(kind, values, known=known, weights=labels.weights, queries=labels.queries)
    close(measure(wild, odd, contexts), alone)


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind is not Kind.RANK])
def test_a_row_of_weight_two_counts_as_two_rows(kind: Kind) -> None:
    """And one of weight 0 as none."""
    times = np.random.default_rng(6).integers(0, 4, 60)
    scores, labels, contexts = some(kind, weights=times)
    rows = np.repeat(np.arange(60), times)
    repeated = labels_of(kind, labels.values[rows])
    close(measure(scores, labels, contexts), measure(scores[rows], repeated, [contexts[i] for i in rows]))


def test_a_list_weighs_the_mean_of_its_rows() -> None:
    """Two lists, at places 1 and 2, the second with three times the weight."""
    labels = labels_of(Kind.RANK, [1, 0, 0, 1], queries=[0, 0, 1, 1], weights=[1, 1, 2, 4])
    assert measure(np.array([2.0, 1.0, 2.0, 1.0]), labels)["mrr"] == pytest.approx((1 + 3 / 2) / 4)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"known": [False] * 60}, "no row is labelled"),
        ({"weights": [0] * 60}, "the weights of all labelled rows are 0"),
    ],
)
def test_of_nothing_there_is_no_figure_but_a_reason(kind: Kind, options: Any, reason: str) -> None:
    """Never an exception or a warning."""
    with warnings.catch_warnings(action="error"):
        found = measure(*some(kind, **options))
    assert {getattr(value, "reason", None) for value in found.values()} == {reason}


@pytest.mark.parametrize("kind", ALL)
def test_an_empty_part_has_no_figure(kind: Kind) -> None:
    """No rows at all."""
    scores, labels, _ = some(kind)
    found = measure(scores[:0], labels.take(np.arange(0)), [])
    assert all(np.isnan(value) for value in found.values())


def test_what_one_figure_lacks_leaves_the_others() -> None:
    """One class: no area; one number: no correlation; negative relevance: no gain. The rest is there."""
    one = measure(*classes([1, 1, 1], [1, 1, 0]))
    assert one["accuracy"] == pytest.approx(2 / 3)
    assert isinstance(one["auc"], Undefined)
    assert one["auc"].reason == "all rows are of one class"

    flat = measure(*numbers([1, 2, 3], [5, 5, 5]))
    assert flat["mae"] == 3
    assert isinstance(flat["pearson"], Undefined)

    below = measure(np.array([1.0, 2.0]), labels_of(Kind.RANK, [-1, 0], queries=[0, 0]))
    assert below["mrr"] == 1
    assert isinstance(below["ndcg_5"], Undefined)
    assert below["ndcg_5"].reason == "a relevance is below 0"


def test_a_score_that_is_no_number_is_named() -> None:
    """A diverged model has no figures."""
    scores, labels = numbers([1, 2], [1, np.nan])
    assert {v.reason for v in measure(scores, labels).values() if isinstance(v, Undefined)} == {
        "a score of a labelled row is not a finite number"
    }


def test_correlation_is_right_far_from_zero() -> None:
    """Squares of large numbers would swallow the differences."""
    found = measure(*numbers([1, 2, 3, 5], np.array([1, 2, 3, 5]) * 1e-3 + 1e6))
    assert found["pearson"] == pytest.approx(1, abs=1e-6)


def test_a_reason_survives_a_pickle() -> None:
    """Figures are handed between processes."""
    again = pickle.loads(pickle.dumps(Undefined("why")))
    assert (np.isnan(again), again.reason) == (True, "why")


def test_every_kind_is_judged_by_a_metric_it_has() -> None:
    """And people know every metric by a title."""
    for kind in ALL:
        found = measure(*some(kind))
        assert main_metric(kind) in found
        assert found.keys() <= METRICS.keys()


def test_scores_that_do_not_fit_are_a_fault_of_the_program() -> None:
    """A shape is never guessed."""
    _, labels, _ = some(Kind.CLASSIFY)
    with pytest.raises(ValueError, match="do not fit"):
        measure(np.zeros((60, 2)), labels)
    with pytest.raises(ValueError, match="contexts"):
        measure(np.zeros((60, 2)), some(Kind.SPAN)[1])


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(-3, 3), st.booleans()), min_size=1, max_size=12),
    st.sampled_from([Kind.CLASSIFY, Kind.REGRESS, Kind.RANK]),
)
def test_whatever_the_rows_a_figure_is_in_range_or_says_why(rows: list[Any], kind: Kind) -> None:
    """Small odd cases: one row, one class, all tied, nothing known."""
    truth, score, known = (np.array(column) for column in zip(*rows, strict=True))
    queries = np.arange(len(truth)) // 3 if kind is Kind.RANK else None
    scores = np.eye(3)[score % 3] if kind is Kind.CLASSIFY else score
    found = measure(scores, labels_of(kind, truth, known=known, queries=queries))
    for name, value in found.items():
        if np.isnan(value):
            assert isinstance(value, Undefined)
        elif name not in LOW:
            assert (-1 if name == "pearson" else 0) - 1e-9 <= value <= 1 + 1e-9
