"""A demonstration's findings, made up: everything is as promised, so that each test can spoil one thing."""

from __future__ import annotations

import numpy as np

from examples.demo.direct import Match
from examples.demo.outage import Call, Outage
from examples.demo.refusals import Refusal
from examples.demo.scores import Comparison, compare_accuracy
from examples.demo.studies import DigitsStudy, ReviewsStudy, SentimentStudy, Studies
from examples.demo.wrong_graphs import Complaint
from training.evaluate.compare import Interval

__all__ = ["call", "comparison", "digits_study", "outage", "reviews_study", "sentiment_study", "studies"]

VICTIM = "digits-svm"


def call(sent_s: float, *, missing: str = "", error: str = "", degraded: bool | None = None) -> Call:
    """A call; it lacks the victim for the cause given, and by default says so."""
    return Call(
        row=0,
        sent_s=sent_s,
        took_s=0.01,
        error=error,
        degraded=bool(missing) if degraded is None else degraded,
        missing={VICTIM: missing} if missing else {},
        outputs={},
    )


def outage(*calls: Call) -> Outage:
    """The worker is killed after one second; by default it is missed once, and back two seconds later."""
    given = calls or (call(0.5), call(0.995, missing="WORKER_CRASHED"), call(3.0), call(3.1))
    return Outage(victim=VICTIM, killed_s=1.0, calls=given)


def comparison(ensemble: str, right: int, best_right: int) -> Comparison:
    """100 rows of which the ensemble and its best member have that many right."""
    truth, rows = np.ones(100, int), np.arange(100)
    members = {"worst": (rows < 40).astype(int), "best": (rows < best_right).astype(int)}
    return compare_accuracy(ensemble, (rows < right).astype(int), members, truth)


def digits_study() -> DigitsStudy:
    return DigitsStudy(
        comparison=comparison("digits", 95, 96),
        matches=(Match("digits.probabilities", 100, 1e-8, equal=True),),
        outage=outage(),
        outage_match=Match("digits.probabilities, a member missing or not", 4, 0.0, equal=True),
        refusals=(
            Refusal("63 pixels", "INVALID_ARGUMENT", "SHAPE_MISMATCH", "takes [-1, 64]", expected=True),
        )
        * 2,
    )


def reviews_study() -> ReviewsStudy:
    return ReviewsStudy(
        comparison=comparison("polarity", 80, 60),
        domain=Interval(0.9, 0.88, 0.92),
        intensity_rmse=1.2,
        intensity_correlation=0.7,
        matches=(Match("intensity.score", 100, 0.0, equal=True),),
        refusals=(
            Refusal("a quorum", "INVALID_ARGUMENT", "PARAMETER_INVALID", "not permitted", expected=True),
        ),
    )


def sentiment_study() -> SentimentStudy:
    return SentimentStudy(
        comparison=comparison("sentiment", 75, 70),
        matches=(Match("sentiment.probabilities", 100, 0.0, equal=True),),
        critical_path="minilm > sentiment-mlp > sentiment-meta",
        complaints=(
            Complaint("a circle", ("line 9: ensembles.e: form a cycle: a -> b -> a",), expected=True),
        ),
    )


def studies() -> Studies:
    return Studies(digits_study(), reviews_study(), sentiment_study())
