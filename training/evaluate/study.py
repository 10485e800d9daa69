"""Models side by side on the same test rows: every figure with its interval, every difference with its own.

All models, tasks and metrics see the same draws, so any two may be subtracted, and a mean over tasks has an
interval too. What is chosen (temperatures, the cascade's threshold) is chosen on validation rows and
measured on test rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from training.data.dataset import Kind, Pairs, Part
from training.evaluate.calibration import KINDS, calibration_error, fit_temperature, reliability
from training.evaluate.cascade import answered, choose, curve
from training.evaluate.compare import interval, resample
from training.evaluate.findings import Calibration, Cascade, Role, Study, TaskStudy
from training.evaluate.metrics import Undefined, figures, main_metric, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from training.data.dataset import Dataset, Labels
    from training.evaluate.cascade import Point
    from training.evaluate.compare import Interval
    from training.evaluate.findings import Cost, Model, Scores

    _Of = Callable[[NDArray[np.float64]], NDArray[np.float64]]
    _Estimates = Mapping[str, Mapping[str, float]]
    _Draws = Mapping[tuple[str, str], NDArray[np.float64]]

__all__ = ["DRAWS", "compare_models"]

_Key = TypeVar("_Key")

DRAWS = 2_000
#: Points of a curve that are kept.
_SHOWN = 200

#: Roles of models that were trained on labels, and whose confidence is looked at.
_TRAINED = (Role.JOINT, Role.INDIVIDUAL)


def compare_models(
    dataset: Dataset,
    models: Sequence[Model],
    *,
    cascades: Iterable[tuple[str, str]] = (),
    tolerance: float = 0.01,
    draws: int = DRAWS,
    seed: int = 0,
) -> Study:
    """Compare models with the first of them, on the test rows.

    Args:
        dataset: The rows.
        models: The models; the first is the reference.
        cascades: Names of a cheap and a costly model to try one before the other.
        tolerance: What a cascade may lose of the costly model's accuracy on validation.
        draws: How often rows are drawn.
        seed: Seed of the draws.
    """
    tried = _Trial(dataset, draws, seed)
    studies, on_draws = zip(*(_task(tried, task, models) for task in dataset.labels), strict=True)
    return Study(
        reference=models[0].name,
        models=tuple(models),
        tasks=tuple(study for study in studies if study.values),
        means=_means(studies, on_draws, models),
        calibrations=tuple(_calibrations(tried, models)),
        cascades=tuple(_cascades(tried, models, cascades, tolerance)),
        draws=draws,
    )


class _Trial:
    """The test rows, and their draws."""

    def __init__(self, dataset: Dataset, draws: int, seed: int) -> None:
        self._draws, self._seed = draws, seed
        self._validation, self._test = dataset.rows(Part.VALIDATION), dataset.rows(Part.TEST)
        self._groups = dataset.groups[self._test]
        self.validation = {task: labels.take(self._validation) for task, labels in dataset.labels.items()}
        self.test = {task: labels.take(self._test) for task, labels in dataset.labels.items()}
        self.contexts = (
            [dataset.inputs.contexts[row] for row in self._test.tolist()]
            if isinstance(dataset.inputs, Pairs)
            else None
        )

    def draw(self, labels: Labels, found: Mapping[_Key, _Of]) -> dict[_Key, NDArray[np.float64]]:
        return resample(
            found,
            self._groups,
            weights=labels.weights,
            known=labels.known,
            draws=self._draws,
            seed=self._seed,
        )


def _task(
    tried: _Trial, task: str, models: Sequence[Model]
) -> tuple[TaskStudy, dict[str, NDArray[np.float64]]]:
    """Study one task; also return each model's main metric on every draw."""
    labels, first = tried.test[task], models[0].name
    told = {
        model.name: [_served(tried.validation[task], scores) for scores in model.scores[task]]
        for model in models
        if model.scores.get(task)
    }
    measured = {
        name: [measure(scores, labels, tried.contexts) for scores in seeds] for name, seeds in told.items()
    }
    estimates = {
        name: {metric: float(np.mean([seed[metric] for seed in seeds])) for metric in seeds[0]}
        for name, seeds in measured.items()
    }
    on_draws = tried.draw(labels, _figures(told, labels, tried.contexts))
    main = main_metric(labels.kind)
    study = TaskStudy(
        task=task,
        kind=labels.kind,
        rows=int(labels.known.sum()),
        main=main,
        values=_intervals(estimates, on_draws),
        differences=_intervals(*_less(first, estimates, on_draws)) if first in estimates else {},
        undefined=_undefined(measured),
    )
    return study, {name: on_draws[name, main] for name in measured}


def _figures(
    told: Mapping[str, Sequence[NDArray[Any]]], labels: Labels, contexts: Sequence[str] | None
) -> dict[tuple[str, str], _Of]:
    """Return each metric of each model, the mean over its seeds, as a figure of the rows' weights."""
    found: dict[tuple[str, str], _Of] = {}
    for name, seeds in told.items():
        each = [figures(scores, labels, contexts) for scores in seeds]
        for metric in each[0]:
            found[name, metric] = _mean_of([figure[metric].of for figure in each])
    return found


def _intervals(estimates: _Estimates, on_draws: _Draws) -> dict[str, dict[str, Interval]]:
    return {
        name: {metric: interval(value, on_draws[name, metric]) for metric, value in of.items()}
        for name, of in estimates.items()
    }


def _less(first: str, estimates: _Estimates, on_draws: _Draws) -> tuple[_Estimates, _Draws]:
    """Subtract a model from the others: the estimates, and draw by draw."""
    base = estimates[first]
    others = {name: of for name, of in estimates.items() if name != first}
    return (
        {name: {metric: value - base[metric] for metric, value in of.items()} for name, of in others.items()},
        {
            (name, metric): on_draws[name, metric] - on_draws[first, metric]
            for name, of in others.items()
            for metric in of
        },
    )


def _undefined(measured: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, dict[str, str]]:
    """Return why metrics are undefined, of the models that have such."""
    found = {
        name: {m: v.reason for seed in seeds for m, v in seed.items() if isinstance(v, Undefined)}
        for name, seeds in measured.items()
    }
    return {name: why for name, why in found.items() if why}


def _served(labels: Labels, scores: Scores) -> NDArray[Any]:
    """Return test scores at the temperature of the validation rows, as an exported model has them.

    No answer changes; but with more than two classes the order of rows by the probability of a class does,
    and with it the AUC, which would otherwise tell a model from itself.
    """
    if labels.kind is not Kind.CLASSIFY:
        return scores.test
    return scores.test / fit_temperature(scores.validation, labels).value


def _mean_of(figures_: Sequence[_Of]) -> _Of:
    if len(figures_) == 1:
        return figures_[0]
    return lambda weights: np.mean([of(weights) for of in figures_], axis=0)


def _means(
    studies: Sequence[TaskStudy],
    on_draws: Sequence[Mapping[str, NDArray[np.float64]]],
    models: Sequence[Model],
) -> dict[str, Interval]:
    """Mean differences over tasks, where more than one is answered by both."""
    first, means = models[0].name, {}
    for model in models[1:]:
        both = [i for i, study in enumerate(studies) if {first, model.name} <= study.values.keys()]
        answered_by_first = [study for study in studies if first in study.values]
        if len(both) < 2 or len(both) < len(answered_by_first):
            continue
        gains = [studies[i].differences[model.name][studies[i].main].estimate for i in both]
        if not np.isfinite(gains).all():
            continue
        each = [on_draws[i][model.name] - on_draws[i][first] for i in both]
        means[model.name] = interval(float(np.mean(gains)), np.mean(each, axis=0))
    return means


def _calibrations(tried: _Trial, models: Sequence[Model]) -> Iterator[Calibration]:
    for task, labels in tried.test.items():
        for model in models:
            if labels.kind not in KINDS or model.role not in _TRAINED or not model.scores.get(task):
                continue
            scores = model.scores[task][0]
            temperature = fit_temperature(scores.validation, tried.validation[task])
            before = calibration_error(scores.test, labels)
            after = calibration_error(scores.test, labels, temperature.value)
            ece = tried.draw(labels, {"before": before.of, "after": after.of})
            plain = labels.weights[labels.known].astype(np.float64)[None]
            was, is_ = (float(figure.of(plain)[0]) for figure in (before, after))
            yield Calibration(
                model=model.name,
                task=task,
                temperature=temperature,
                before=interval(was, ece["before"]),
                after=interval(is_, ece["after"]),
                change=interval(is_ - was, ece["after"] - ece["before"]),
                bins_before=reliability(scores.test, labels),
                bins_after=reliability(scores.test, labels, temperature.value),
            )


def _cascades(
    tried: _Trial, models: Sequence[Model], pairs: Iterable[tuple[str, str]], tolerance: float
) -> Iterator[Cascade]:
    named = {model.name: model for model in models}
    for names in pairs:
        cheap, costly = (named[name] for name in names)
        for task, labels in tried.test.items():
            answer_it = cheap.scores.get(task) and costly.scores.get(task)
            if labels.kind is Kind.CLASSIFY and labels.known.any() and answer_it:
                found = _cascade(tried, task, cheap, costly, tolerance)
                if found is not None:
                    yield found


def _cascade(tried: _Trial, task: str, cheap: Model, costly: Model, tolerance: float) -> Cascade | None:
    """Choose a threshold on validation and measure it on test; None if no validation row is labelled."""
    labels, first, second = tried.test[task], cheap.scores[task][0], costly.scores[task][0]
    points = curve(first.validation, second.validation, tried.validation[task])
    if not points:
        return None
    chosen = choose(points, tolerance=tolerance)
    together, share = answered(first.test, second.test, chosen.threshold)
    both, alone = (figures(scores, labels)["accuracy"].of for scores in (together, second.test))
    plain = labels.weights[labels.known].astype(np.float64)[None]
    value, value_alone = (float(of(plain)[0]) for of in (both, alone))
    accuracy = tried.draw(labels, {"both": both, "alone": alone})
    return Cascade(
        task=task,
        cheap=cheap.name,
        costly=costly.name,
        curve=_thinned(points),
        chosen=chosen,
        share=share,
        accuracy=interval(value, accuracy["both"]),
        difference=interval(value - value_alone, accuracy["both"] - accuracy["alone"]),
        ms=_ms(cheap.cost, costly.cost, share),
    )


def _thinned(points: Sequence[Point]) -> tuple[Point, ...]:
    some = np.unique(np.linspace(0, len(points) - 1, _SHOWN).round().astype(int))
    return tuple(points[i] for i in some.tolist())


def _ms(cheap: Cost | None, costly: Cost | None, share: float) -> float:
    """Every row costs the cheap model; those that it leaves, the costly one too."""
    return np.nan if cheap is None or costly is None else cheap.ms_8 + (1 - share) * costly.ms_8
