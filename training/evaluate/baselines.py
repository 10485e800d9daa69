"""What a model must beat: answers that cost nearly nothing. Fitted on training, chosen on validation rows.

- *majority*: what is commonest, or the mean, whatever the row.
- *linear*: TF-IDF of words and pairs of words and a linear model on top; of arrays, their numbers. The
strength of its
  regularisation is chosen on validation, because an untuned baseline flatters whoever beats it.
- *VADER's rules*: for polarity and intensity of sentences in English (:mod:`training.evaluate.vader`).
- *random name*, *commonest name*: for spans that are names in their context.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from training.data.cloze import NAME
from training.data.dataset import Arrays, Kind, Labels, Pairs, Part, Texts
from training.evaluate.metrics import main_metric, measure
from training.evaluate.vader import POLAR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from training.data.dataset import Dataset

__all__ = ["CHANCE", "COMMONEST_NAME", "LINEAR", "MAJORITY", "RANDOM_NAME", "VADER", "baselines"]

MAJORITY, LINEAR, VADER = "majority", "linear", "VADER's rules"
RANDOM_NAME, COMMONEST_NAME = "random name", "commonest name"
#: Those that know nothing of a row.
CHANCE = (MAJORITY, RANDOM_NAME)

#: Strengths of regularisation that are tried: Ridge's alpha, or 1 / C of a logistic regression.
_STRENGTHS = (1.0, 0.3, 3.0)
_ITERATIONS = 500

#: The score of a class that was never seen.
_NEVER = -30.0


def baselines(
    dataset: Dataset, task: str, *, vader: Callable[[str], float] | None = None, seed: int = 0
) -> dict[str, NDArray[Any]]:
    """Return raw scores of every row by each baseline that fits the task.

    Args:
        dataset: The rows; test rows have no part in any choice.
        task: The task's name.
        vader: VADER's rules, if they are at hand and the texts are English sentences.
        seed: Seed of what is random.
    """
    labels, inputs = dataset.labels[task], dataset.inputs
    if not labels.known[dataset.rows(Part.TRAIN)].any():
        return {}
    if labels.kind is Kind.SPAN:
        return _names(inputs, seed) if isinstance(inputs, Pairs) else {}
    found = {MAJORITY: _majority(dataset, labels)}
    features = _features(dataset)
    if features is not None:
        found[LINEAR] = _linear(dataset, labels, features)
    if vader is not None and isinstance(inputs, Texts) and _is_polar(labels):
        found[VADER] = _ruled(dataset, labels, vader)
    return found


def _fitting(dataset: Dataset, labels: Labels) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    rows = dataset.rows(Part.TRAIN)
    rows = rows[labels.known[rows]]
    return rows, labels.weights[rows].astype(np.float64)


def _majority(dataset: Dataset, labels: Labels) -> NDArray[np.float64]:
    rows, weights = _fitting(dataset, labels)
    values = labels.values[rows]
    if labels.kind is Kind.CLASSIFY:
        shares = np.bincount(values, weights, minlength=len(labels.classes)) + 1e-9
        return np.tile(np.log(shares / shares.sum()), (len(dataset), 1))
    mean = np.average(values, axis=0, weights=weights if weights.any() else None)
    if labels.kind is Kind.MULTILABEL:
        mean = np.log((mean + 1e-9) / (1 - mean + 1e-9))
    return np.tile(np.asarray(mean, np.float64), (len(dataset), *[1] * (values.ndim - 1)))


def _features(dataset: Dataset) -> Any:
    """Return a row of numbers for each row, sparse for texts; None for inputs that have none."""
    inputs, rows = dataset.inputs, dataset.rows(Part.TRAIN)
    if isinstance(inputs, Texts):
        from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415 - a second to import

        word = r"(?u)\b\w+\b"  # also of one letter
        words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, token_pattern=word)
        try:
            words.fit([inputs.texts[row] for row in rows.tolist()])
        except ValueError:  # no word stands in two rows
            return None
        return words.transform(inputs.texts)
    if isinstance(inputs, Arrays):
        flat = inputs.values.reshape(len(inputs), -1).astype(np.float64)
        spread = flat[rows].std(axis=0)
        return (flat - flat[rows].mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return None


def _linear(dataset: Dataset, labels: Labels, features: Any) -> NDArray[np.float64]:
    """Fit with each strength and return the scores of the one that does best on validation."""
    checked = dataset.rows(Part.VALIDATION)
    wanted = main_metric(labels.kind)
    best, best_value = None, -np.inf
    for strength in _STRENGTHS:
        scores = _fitted(dataset, labels, features, strength)
        value = measure(scores[checked], labels.take(checked))[wanted]
        if best is None or value > best_value:
            best, best_value = scores, value
    assert best is not None  # noqa: S101 - there is a strength
    return best


def _fitted(dataset: Dataset, labels: Labels, features: Any, strength: float) -> NDArray[np.float64]:
    rows, weights = _fitting(dataset, labels)
    values, seen = labels.values[rows], features[rows]
    if labels.kind in (Kind.REGRESS, Kind.RANK):
        from sklearn.linear_model import Ridge  # noqa: PLC0415 - a second to import

        model = Ridge(alpha=strength, solver="lsqr").fit(seen, values.astype(np.float64), weights)
        return np.asarray(model.predict(features), np.float64)
    if labels.kind is Kind.CLASSIFY:
        known, logits = _logistic(seen, values, weights, strength)(features)
        scores = np.full((len(dataset), len(labels.classes)), _NEVER)  # of classes that no training row has
        scores[:, known] = logits
        return scores
    scores = np.zeros((len(dataset), len(labels.classes)))
    for k in range(len(labels.classes)):
        known, logits = _logistic(seen, (values[:, k] > 0.5).astype(np.int64), weights, strength)(features)
        both = np.full((len(dataset), 2), _NEVER)
        both[:, known] = logits
        scores[:, k] = both[:, 1] - both[:, 0]
    return scores


def _logistic(
    features: Any, values: NDArray[np.int64], weights: NDArray[np.float64], strength: float
) -> Callable[[Any], tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Return what gives the classes that were seen, and their logarithmic probabilities."""
    classes = np.unique(values)
    if len(classes) == 1:
        return lambda asked: (classes, np.zeros((asked.shape[0], 1)))
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - a second to import

    model = LogisticRegression(C=1 / strength, max_iter=_ITERATIONS, tol=1e-3)
    model.fit(features, values, weights)
    return lambda asked: (classes, model.predict_log_proba(asked))


def _is_polar(labels: Labels) -> bool:
    if labels.kind is Kind.CLASSIFY:
        return {"negative", "positive"} <= set(labels.classes) <= {"negative", "neutral", "positive"}
    return labels.kind is Kind.REGRESS


def _ruled(dataset: Dataset, labels: Labels, vader: Callable[[str], float]) -> NDArray[np.float64]:
    assert isinstance(dataset.inputs, Texts)  # noqa: S101 - the caller asked
    compound = np.array([vader(text) for text in dataset.inputs.texts])
    if labels.kind is Kind.CLASSIFY:
        # the farther beyond its bound, the surer
        say = {
            "negative": -compound - POLAR,
            "neutral": np.zeros_like(compound),
            "positive": compound - POLAR,
        }
        return np.stack([say[name] for name in labels.classes], axis=1)
    rows, weights = _fitting(dataset, labels)
    # its scale is not the labels'; a line is fitted on training rows
    return _line(compound[rows], labels.values[rows].astype(np.float64), weights)(compound)


def _line(
    x: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float64]
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    shares = weights / weights.sum() if weights.any() else np.full(len(x), 1 / len(x))
    middle, height = shares @ x, shares @ y
    spread = shares @ (x - middle) ** 2
    slope = shares @ ((x - middle) * (y - height)) / spread if spread else 0.0
    return lambda asked: np.asarray(height + slope * (asked - middle), np.float64)


def _names(inputs: Pairs, seed: int) -> dict[str, NDArray[np.int64]]:
    generator = np.random.default_rng(seed)
    found = [list(_candidates(q, c)) for q, c in zip(inputs.questions, inputs.contexts, strict=True)]
    names = [
        list({c[a:b]: (a, b) for a, b in spans}.values())
        for c, spans in zip(inputs.contexts, found, strict=True)
    ]
    drawn = [spans[generator.integers(len(spans))] if spans else (-1, -1) for spans in names]
    common = [_commonest(context, spans) for context, spans in zip(inputs.contexts, found, strict=True)]
    return {RANDOM_NAME: np.array(drawn, np.int64), COMMONEST_NAME: np.array(common, np.int64)}


def _candidates(question: str, context: str) -> Iterator[tuple[int, int]]:
    """Yield where names stand: words with a capital, within a sentence, and not in the question."""
    for match in NAME.finditer(context):
        before = context[: match.start()].rstrip()
        if before and before[-1] not in ".!?\"'" and match.group() not in question:
            yield match.span()


def _commonest(context: str, spans: Sequence[tuple[int, int]]) -> tuple[int, int]:
    if not spans:
        return -1, -1
    counts = Counter(context[begin:end] for begin, end in spans)
    return max(spans, key=lambda span: (counts[context[span[0] : span[1]]], -span[0]))
