"""Choosing a learner's hyper-parameters on the validation rows, and only there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sklearn.base import clone, is_classifier
from sklearn.model_selection import ParameterGrid
from sklearn.pipeline import Pipeline, make_pipeline

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from protos.tensor import TensorSpec

__all__ = ["Fitted", "Recipe", "Rows", "choose"]


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
        refine: Mends the fitted learner without changing what it predicts.
    """

    name: str
    task: str
    features: Any
    learner: Any
    grid: Mapping[str, Sequence[Any]]
    outputs: tuple[TensorSpec, ...]
    refine: Callable[[Any], None] = field(default=lambda learner: None)


@dataclass(frozen=True, slots=True)
class Rows:
    """Inputs and targets of some rows, as scikit-learn takes them."""

    inputs: Any
    targets: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A model that was fitted on the training rows.

    Args:
        pipeline: From raw input to answer.
        parameters: The grid's values that were chosen.
        metric: What the score is: ``accuracy``, or ``r2`` for a regression.
        score: Their score on the validation rows.
        tried: Every setting of the grid with its score, in order.
    """

    pipeline: Pipeline
    parameters: Mapping[str, Any]
    metric: str
    score: float
    tried: tuple[tuple[Mapping[str, Any], float], ...]


def choose(recipe: Recipe, train: Rows, validation: Rows) -> Fitted:
    """Fit every setting of the grid on the training rows and keep the best on the validation rows.

    Of equals the first one wins, so grids go from simple to complex.
    """
    features = clone(recipe.features).fit(train.inputs, train.targets)
    known, unseen = features.transform(train.inputs), features.transform(validation.inputs)
    best, tried = None, []
    for parameters in ParameterGrid(recipe.grid):
        learner = clone(recipe.learner).set_params(**parameters).fit(known, train.targets)
        score = float(learner.score(unseen, validation.targets))
        tried.append((parameters, score))
        if best is None or score > best[2]:
            best = (learner, parameters, score)
    if best is None:
        raise ValueError(f"the grid of {recipe.name} is empty")
    learner, parameters, score = best
    recipe.refine(learner)
    return Fitted(
        pipeline=make_pipeline(features, learner),
        parameters=parameters,
        metric="accuracy" if is_classifier(learner) else "r2",
        score=score,
        tried=tuple(tried),
    )
