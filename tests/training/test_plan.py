"""What a run will take: what is timed is what a run does, and counted as often."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.training.rows import config, every_kind, images, sentences
from training import plan as plans
from training.data.mix import order
from training.errors import TrainingError
from training.loop import train
from training.trial import Costs, trial

if TYPE_CHECKING:
    from pathlib import Path

COSTS = Costs(
    started=100.0,
    prepared=10.0,
    read=0.1,
    frozen=0.2,
    steps={0: 1.0},
    answered=0.01,
    checkpoint=3.0,
    written=5.0,
)


def _planned(monkeypatch: pytest.MonkeyPatch, costs: Costs, **given: Any) -> plans.Plan:
    monkeypatch.setattr(plans, "trial", lambda *_: costs)
    dataset = images(80)
    return plans.plan(config(dataset, **given), dataset)


def test_each_thing_counts_as_often_as_a_run_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """80 rows: 60 to learn from, four steps of 16 an epoch, and 10 each for validation and test."""
    made = _planned(monkeypatch, COSTS, epochs=3)
    once = 100 + 10 + 80 * 0.1 + 80 * 0.2 + 5 + 20 * 0.01
    assert (made.steps, made.step_s, made.frozen_s) == (12, 1.0, 16.0)
    assert made.minutes * 60 == pytest.approx(once + 12 + 3 * (10 * 0.01 + 3))
    often = _planned(monkeypatch, COSTS, epochs=3, evaluate_every=2, checkpoint_every=5)
    assert often.minutes * 60 == pytest.approx(once + 12 + 6 * 10 * 0.01 + (3 + 2) * 3)


def test_steps_after_a_thaw_count_as_what_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    made = _planned(monkeypatch, replace(COSTS, steps={0: 1.0, 2: 4.0}), epochs=3)
    assert made.step_s == pytest.approx((8 * 1 + 4 * 4) / 12)


def test_individual_models_count_one_by_one_but_for_their_frozen_layers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = _planned(monkeypatch, COSTS, epochs=3, mode="individual", balance={"search": 8})
    one = 100 + 10 + 80 * 0.1 + 5 + 20 * 0.01 + 12 + 3 * (10 * 0.01 + 3)
    assert made.steps == 24
    assert made.minutes * 60 == pytest.approx(2 * one + 16)


def test_short_runs_of_a_search_count(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = [_planned(monkeypatch, COSTS, balance={"search": count}).minutes * 60 for count in (0, 8)]
    assert seconds[1] - seconds[0] == pytest.approx(8 * (1 + 10 * 0.01))


def test_what_is_timed_has_rows_of_every_task_however_rare(tmp_path: Path) -> None:
    dataset = sentences(400)
    rare = dataset.labels["force"].known & (np.cumsum(dataset.labels["force"].known) == 250)
    labels = dataset.labels | {"force": replace(dataset.labels["force"], known=rare)}
    given = config(replace(dataset, labels=labels), batch=2)
    made = plans.plan(given, replace(dataset, labels=labels))
    assert made.step_s > 0
    assert made.labelled["force"]["train"] <= 1


@pytest.mark.parametrize(
    "given",
    [
        {"encoder": {"freeze": 1, "cache": True}},
        {"encoder": {"freeze": 2, "unfreeze": [{"epoch": 1, "freeze": 0}]}},
        {"early_stopping": {"patience": 1}, "balance": {"kind": "pcgrad"}},
    ],
    ids=str,
)
def test_a_trial_measures_all_that_a_run_does(given: Any) -> None:
    dataset = every_kind()
    wanted = config(dataset, **given)
    costs = trial(wanted, dataset, order(dataset, batch=16))
    assert list(costs.steps) == ([0, 1] if "unfreeze" in given.get("encoder", {}) else [0])
    assert all(seconds > 0 for seconds in costs.steps.values())
    assert (costs.frozen > 0) is wanted.encoder.cache
    assert min(costs.prepared, costs.read, costs.answered, costs.checkpoint, costs.written) > 0


def test_steps_of_two_processes_are_timed_where_they_are_taken() -> None:
    dataset = sentences(48)
    costs = trial(config(dataset, processes=2), dataset, order(dataset, batch=16))
    assert costs.started > 0.1
    assert costs.steps[0] > 1e-4


def test_a_plan_refuses_what_a_run_would(tmp_path: Path) -> None:
    dataset = sentences(48)
    blind = replace(dataset, parts=np.where(dataset.parts == 1, 2, dataset.parts).astype(np.int8))
    given = config(dataset, early_stopping={})
    for work in (lambda: plans.plan(given, blind), lambda: train(given, blind, tmp_path / "run")):
        with pytest.raises(TrainingError, match="no validation row has a label"):
            work()
