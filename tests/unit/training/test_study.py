"""Models side by side: the same draws for all, choices on validation only, what is missing left out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.unit.training.scored import labels_of, some
from training.data.dataset import Dataset, Kind, Labels, Pairs, Part, Texts
from training.evaluate.calibration import fit_temperature
from training.evaluate.compare import paired_bootstrap
from training.evaluate.findings import Cost, Model, Role, Scores
from training.evaluate.metrics import measure
from training.evaluate.study import compare_models

ROWS = 600
PARTS = np.repeat([Part.TRAIN, Part.VALIDATION, Part.TEST], ROWS // 3).astype(np.int8)
VALIDATION, TEST = slice(ROWS // 3, 2 * ROWS // 3), slice(2 * ROWS // 3, ROWS)


def dataset(labels: dict[str, Labels], groups: Any = None) -> Dataset:
    return Dataset(
        inputs=Texts(tuple(map(str, range(ROWS)))),
        labels=labels,
        groups=np.arange(ROWS) if groups is None else groups,
        domains=np.zeros(ROWS, np.int64),
        domain_names=("all",),
        parts=PARTS,
        card={},
    )


def model(name: str, role: Role = Role.JOINT, cost: Cost | None = None, **scores: Any) -> Model:
    cut = {task: [Scores(each[VALIDATION], each[TEST])] for task, each in scores.items()}
    return Model(name=name, role=role, scores=cut, cost=cost)


def noisy(scores: Any, much: float, seed: int = 9) -> Any:
    return scores + much * np.random.default_rng(seed).normal(size=scores.shape)


def test_a_temperature_does_not_tell_a_model_from_itself() -> None:
    """Whoever exports a model divides its scores; no figure may change by that, the AUC included."""
    scores, labels, _ = some(Kind.CLASSIFY, rows=ROWS)
    scores = noisy(scores, 0.1)  # without ties, which rounding would break
    raw = measure(scores, labels)["auc"], measure(scores / 3, labels)["auc"]
    assert raw[0] != raw[1]  # else there were nothing to see to
    models = [model("trained", t=scores), model("exported", Role.VARIANT, t=scores / 3)]
    (task,) = compare_models(dataset({"t": labels}), models, draws=20).tasks
    for found in task.differences["exported"].values():
        assert found.estimate == pytest.approx(0, abs=1e-6)


def test_a_difference_is_that_of_the_paired_bootstrap() -> None:
    """By groups: the general way gives what the way for means gives, draw for draw."""
    scores, labels, _ = some(Kind.CLASSIFY, rows=ROWS)
    groups = np.arange(ROWS) // 4
    other = noisy(scores, 1.0)
    study = compare_models(
        dataset({"t": labels}, groups), [model("a", t=scores), model("b", t=other)], draws=500, seed=3
    )
    right = [each.argmax(axis=1)[TEST] == labels.values[TEST] for each in (other, scores)]
    expected = paired_bootstrap(*right, groups[TEST], draws=500, seed=3)
    found = study.tasks[0].differences["b"]["accuracy"]
    assert (found.estimate, found.low, found.high) == pytest.approx(
        (expected.estimate, expected.low, expected.high)
    )


def test_figures_are_those_of_the_test_rows() -> None:
    """Whatever the scores of other rows; unlabelled rows and weights as in the metrics."""
    known = np.random.default_rng(0).random(ROWS) < 0.8
    weights = np.random.default_rng(1).uniform(0.5, 2, ROWS)
    for kind in (Kind.CLASSIFY, Kind.REGRESS, Kind.RANK):
        scores, labels, _ = some(kind, rows=ROWS, known=known, weights=weights)
        study = compare_models(dataset({"t": labels}), [model("a", t=scores)], draws=20)
        rows = np.arange(ROWS)
        served = scores[TEST]
        if kind is Kind.CLASSIFY:
            served = served / fit_temperature(scores[VALIDATION], labels.take(rows[VALIDATION])).value
        expected = measure(served, labels.take(rows[TEST]))
        for name, value in study.tasks[0].values["a"].items():
            assert value.estimate == pytest.approx(expected[name]), name
            assert value.low <= value.estimate <= value.high
        assert study.tasks[0].rows == known[TEST].sum()


def test_the_mean_over_tasks_has_an_interval_of_its_own() -> None:
    """Narrower than those of the tasks, if their errors have nothing to do with each other."""
    first, labels, _ = some(Kind.CLASSIFY, rows=ROWS)
    second, others, _ = some(Kind.CLASSIFY, rows=ROWS, seed=1)
    study = compare_models(
        dataset({"a": labels, "b": others}),
        [model("joint", a=first, b=second), model("alone", a=noisy(first, 1), b=noisy(second, 1, seed=4))],
        draws=500,
    )
    each = [task.differences["alone"]["accuracy"] for task in study.tasks]
    mean = study.means["alone"]
    assert mean.estimate == pytest.approx(np.mean([one.estimate for one in each]))
    assert mean.high - mean.low < max(one.high - one.low for one in each)


def test_a_model_of_one_task_has_no_mean_over_tasks() -> None:
    """It would be compared with more than it answers."""
    scores, labels, _ = some(Kind.CLASSIFY, rows=ROWS)
    study = compare_models(
        dataset({"a": labels, "b": labels}),
        [model("joint", a=scores, b=scores), model("one", a=scores)],
        draws=20,
    )
    assert "one" not in study.means
    assert [list(task.values) for task in study.tasks] == [["joint", "one"], ["joint"]]


def test_seeds_are_averaged() -> None:
    """The figure is the mean of the seeds' figures, and its interval is narrower than one seed's."""
    scores, labels, _ = some(Kind.REGRESS, rows=ROWS)
    seeds = [noisy(scores, 2, seed=i) for i in range(4)]
    one = model("one", t=seeds[0])
    four = replace(one, name="four", scores={"t": [Scores(s[VALIDATION], s[TEST]) for s in seeds]})
    study = compare_models(dataset({"t": labels}), [one, four], draws=300)
    found = study.tasks[0].values
    rows = np.arange(ROWS)[TEST]
    each = [measure(s[TEST], labels.take(rows))["pearson"] for s in seeds]
    assert found["four"]["pearson"].estimate == pytest.approx(np.mean(each))
    width = {name: value["pearson"].high - value["pearson"].low for name, value in found.items()}
    assert width["four"] < width["one"]


def test_temperature_and_threshold_are_chosen_without_the_test_rows() -> None:
    """Other test rows leave both as they were."""
    scores, labels, _ = some(Kind.CLASSIFY, rows=ROWS)
    truth = labels.values.copy()
    truth[TEST] = 0
    cheap, costly = noisy(2 * scores, 1), 2 * scores + 3 * np.eye(3)[labels.values]
    models = [
        model("costly", Role.JOINT, Cost(9, 9, 9), t=costly),
        model("cheap", Role.VARIANT, Cost(1, 1, 1), t=cheap),
    ]
    chosen = []
    for values in (labels.values, truth):
        study = compare_models(
            dataset({"t": labels_of(Kind.CLASSIFY, values)}), models, cascades=[("cheap", "costly")], draws=20
        )
        chosen.append((study.calibrations[0].temperature, study.cascades[0].chosen))
    assert chosen[0] == chosen[1]


def test_a_cascade_costs_the_cheap_model_for_every_row() -> None:
    """And the costly one for the rest; both ways of measuring it agree on what it gains."""
    scores, labels, _ = some(Kind.CLASSIFY, rows=ROWS)
    models = [
        model("costly", Role.JOINT, Cost(9, 9, 8.0), t=scores + 2 * np.eye(3)[labels.values]),
        model("cheap", Role.VARIANT, Cost(1, 1, 0.5), t=scores),
    ]
    (found,) = compare_models(
        dataset({"t": labels}), models, cascades=[("cheap", "costly")], draws=50
    ).cascades
    assert found.ms == pytest.approx(0.5 + (1 - found.share) * 8.0)
    alone = measure(models[0].scores["t"][0].test, labels.take(np.arange(ROWS)[TEST]))["accuracy"]
    assert found.difference.estimate == pytest.approx(found.accuracy.estimate - alone)


def test_spans_are_compared_as_text() -> None:
    """The contexts are those of the test rows."""
    answers, labels, contexts = some(Kind.SPAN, rows=ROWS)
    pairs = replace(dataset({"t": labels}), inputs=Pairs(("?",) * ROWS, tuple(contexts)))
    (task,) = compare_models(pairs, [model("a", t=answers)], draws=20).tasks
    rows = np.arange(ROWS)[TEST]
    expected = measure(answers[TEST], labels.take(rows), contexts[TEST])
    assert {name: value.estimate for name, value in task.values["a"].items()} == pytest.approx(expected)
    assert task.main == "f1"


def test_a_task_without_a_labelled_test_row_says_so() -> None:
    """Undefined figures, reasons, and no exception anywhere."""
    scores, labels, _ = some(Kind.CLASSIFY, rows=ROWS, known=np.arange(ROWS) < TEST.start)
    models = [model("a", t=scores), model("b", t=scores)]
    study = compare_models(dataset({"t": labels}), models, cascades=[("b", "a")], draws=20)
    (task,) = study.tasks
    assert task.rows == 0
    assert set(task.undefined["a"].values()) == {"no row is labelled"}
    assert np.isnan(task.differences["b"]["accuracy"].estimate)
    assert study.cascades == ()
