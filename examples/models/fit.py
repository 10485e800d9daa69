"""Choosing a learner's hyper-parameters on the validation rows, and only there.

Classifiers are chosen by log loss, not by accuracy: a soft vote averages probabilities, so a member that is
sure when it is wrong spoils the vote, however often it is right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sklearn.base import clone, is_classifier
from sklearn.metrics import accuracy_score, log_loss, r2_score, root_mean_squared_error
from sklearn.model_selection import ParameterGrid
from sklearn.pipeline import Pipeline, make_pipeline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from protos.tensor import TensorSpec

__all__ = ["Fitted", "Recipe", "Rows", "Trial", "choose"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to make one model.

    Args:
        name: The model's name.
        task: What it predicts; the name of the target.
        features: The scikit-learn transformer in front of the learner; it sees training rows only.
        learner: The scikit-learn estimator.
        grid: Values to try for each of the learner's parameters.
        outputs: What the exported model returns.
    """

    name: str
    task: str
    features: Any
    learner: Any
    grid: Mapping[str, Sequence[Any]]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """Inputs and targets of some rows, as scikit-learn takes them."""

    inputs: Any
    targets: Any


@dataclass(frozen=True, slots=True)
class Trial:
    """One setting of the grid.

    Args:
        parameters: The setting.
        measures: What it reached on the validation rows: ``log_loss`` and ``accuracy``, or ``rmse`` and
            ``r2``. The first one decides; the lower, the better.
    """

    parameters: Mapping[str, Any]
    measures: Mapping[str, float]

    @property
    def loss(self) -> float:
        """The measure that decides."""
        return next(iter(self.measures.values()))


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model that was fitted on the training rows.

    Args:
        pipeline: From raw input to answer.
        chosen: The setting kept.
        tried: Every setting of the grid, in order.
    """

    pipeline: Pipeline
    chosen: Trial
    tried: tuple[Trial, ...]


def choose(recipe: Recipe, train: Rows, validation: Rows) -> Fitted:
    """Fit every setting of the grid on the training rows and keep the best on the validation rows.

    Of equals the first one wins, so grids go from simple to complex.
    """
    features = clone(recipe.features).fit(train.inputs, train.targets)
    known, unseen = features.transform(train.inputs), features.transform(validation.inputs)
    fits = [
        (learner, Trial(parameters, _measures(learner, unseen, validation.targets)))
        for parameters in ParameterGrid(recipe.grid)
        for learner in [clone(recipe.learner).set_params(**parameters).fit(known, train.targets)]
    ]
    learner, chosen = min(fits, key=lambda fit: fit[1].loss)
    return Fitted(make_pipeline(features, learner), chosen, tuple(trial for _, trial in fits))


def _measures(learner: Any, inputs: Any, targets: Any) -> dict[str, float]:
    if not is_classifier(learner):
        scores = learner.predict(inputs)
        return {
            "rmse": float(root_mean_squared_error(targets, scores)),
            "r2": float(r2_score(targets, scores)),
        }
    probabilities = learner.predict_proba(inputs)
    return {
        "log_loss": float(log_loss(targets, probabilities, labels=learner.classes_)),
        "accuracy": float(accuracy_score(targets, learner.classes_[probabilities.argmax(axis=1)])),
    }
