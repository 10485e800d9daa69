"""Choosing hyper-parameters: by log loss, on the validation rows alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from examples.models.fit import Recipe, Rows, choose


def recipe(learner: Any, grid: dict[str, list[Any]]) -> Recipe:
    return Recipe(name="m", task="t", features=StandardScaler(), learner=learner, grid=grid, outputs=())


def rows(seed: int, n: int = 80) -> Rows:
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(n, 3))
    return Rows(inputs, (inputs[:, 0] + rng.normal(size=n) > 0).astype(int))


def test_the_setting_with_the_least_log_loss_on_the_validation_rows_is_kept() -> None:
    """It is the least of those tried, and it is measured on the pipeline that is returned."""
    fitted = choose(recipe(LogisticRegression(), {"C": [1e-4, 1e-2, 1.0]}), rows(0), rows(1))
    assert fitted.chosen.loss == min(trial.loss for trial in fitted.tried)
    assert len({trial.loss for trial in fitted.tried}) == 3
    probability = fitted.pipeline.predict_proba(rows(1).inputs)[np.arange(80), rows(1).targets]
    np.testing.assert_allclose(fitted.chosen.loss, -np.log(probability).mean(), rtol=1e-9)
    assert fitted.chosen.measures["accuracy"] == fitted.pipeline.score(rows(1).inputs, rows(1).targets)


def test_the_simpler_one_of_equals_is_kept() -> None:
    """Settings that make no difference leave the first."""
    fitted = choose(recipe(LogisticRegression(), {"max_iter": [200, 300]}), rows(0), rows(1))
    assert fitted.chosen.parameters == {"max_iter": 200}


def test_a_regression_is_chosen_by_its_error() -> None:
    """Root mean squared error decides, and R² stands beside it."""
    train, validation = rows(0), rows(1)
    fitted = choose(recipe(Ridge(), {"alpha": [1e4, 1.0]}), train, validation)
    assert fitted.chosen.parameters == {"alpha": 1.0}
    assert list(fitted.chosen.measures) == ["rmse", "r2"]


def test_features_are_learnt_from_the_training_rows_alone() -> None:
    """The scaler's mean is that of the training rows, however far off the validation rows lie."""
    train, far = rows(0), Rows(rows(1).inputs + 100, rows(1).targets)
    fitted = choose(recipe(LogisticRegression(), {"C": [1.0]}), train, far)
    np.testing.assert_allclose(fitted.pipeline[0].mean_, train.inputs.mean(axis=0))
