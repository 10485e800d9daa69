"""What is measured of each example, through a running gateway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from examples.demo import refusals
from examples.demo.asking import ask_all
from examples.demo.direct import Match, compare, model_outputs, soft_vote
from examples.demo.outage import Outage, kill_and_watch
from examples.demo.scores import Comparison, compare_accuracy
from examples.demo.wrong_graphs import Complaint, check_wrongly
from examples.models import heldout
from examples.models.embed import embed
from training.evaluate.compare import Interval, bootstrap

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from accord.client import Client
    from examples.demo.server import Server

__all__ = [
    "DigitsStudy",
    "ReviewsStudy",
    "SentimentStudy",
    "Studies",
    "study_digits",
    "study_reviews",
    "study_sentiment",
]

VICTIM = "digits-svm"
DIGITS = ("digits-linear", "digits-svm", "digits-forest", "digits-boosting", "digits-mlp")
POLARITY = ("polarity-words", "polarity-chars", "polarity-bayes", "polarity-lexicon")
POLARITIES = np.array([b"negative", b"neutral", b"positive"], object)

#: Rows of one call: what the example models take at most.
DIGITS_BATCH, REVIEWS_BATCH = 256, 64

BASES = ("polarity-words", "sentiment-linear", "sentiment-mlp")
#: Rows of the graph's study: an embedding takes a millisecond or two.
SENTIMENT_ROWS, SEED = 2000, 2014


@dataclass(frozen=True, slots=True, kw_only=True)
class DigitsStudy:
    """The digits example.

    Args:
        comparison: The ensemble beside its members.
        matches: Served outputs against the same computed directly.
        outage: A worker killed under load.
        outage_match: The answers during it against the mean of the members that were left.
        refusals: Wrong requests.
    """

    comparison: Comparison
    matches: tuple[Match, ...]
    outage: Outage
    outage_match: Match
    refusals: tuple[refusals.Refusal, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewsStudy:
    """The reviews example.

    Args:
        comparison: The polarity ensemble beside its members.
        domain: Accuracy of the domain task.
        intensity_rmse: Root mean squared error of the intensity task, in steps of the rating.
        intensity_correlation: Pearson's correlation with the true ratings.
        matches: As for the digits.
        refusals: As for the digits.
    """

    comparison: Comparison
    domain: Interval
    intensity_rmse: float
    intensity_correlation: float
    matches: tuple[Match, ...]
    refusals: tuple[refusals.Refusal, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SentimentStudy:
    """The sentiment example, a graph.

    Args:
        comparison: The stacked answer beside the members that the meta-model reads.
        matches: As for the digits.
        critical_path: What the last answer waited for.
        complaints: What was said of wrong graphs.
    """

    comparison: Comparison
    matches: tuple[Match, ...]
    critical_path: str
    complaints: tuple[Complaint, ...]


@dataclass(frozen=True, slots=True)
class Studies:
    """All of them."""

    digits: DigitsStudy
    reviews: ReviewsStudy
    sentiment: SentimentStudy


def study_digits(client: Client, server: Server, repository: Path, data: Path) -> DigitsStudy:
    """Measure the digits ensemble and kill one of its workers on the way.

    Raises:
        CallError: If a call fails that should not.
        ExampleError: If the models or rows are not there, or an answer lacks a member.
    """
    held_out = heldout.load(data / "digits.npz")
    inputs = {"pixels": held_out["pixels"]}
    served = ask_all(client, "digits", inputs, batch=DIGITS_BATCH)
    own = {
        name: model_outputs(repository, name, inputs, batch=DIGITS_BATCH)["probabilities"] for name in DIGITS
    }
    merged = soft_vote(list(own.values()))
    labels = {name: served.members[name]["probabilities"].argmax(axis=1) for name in DIGITS}
    outage = kill_and_watch(client, "digits", inputs, VICTIM, server.workers[VICTIM])
    return DigitsStudy(
        comparison=compare_accuracy("digits", served.outputs["label"], labels, held_out["label"]),
        matches=(
            compare("digits.probabilities", served.outputs["probabilities"], merged),
            compare("digits.label", served.outputs["label"], merged.argmax(axis=1)),
        ),
        outage=outage,
        outage_match=_during(outage, own),
        refusals=tuple(refusals.ask_wrongly(client, wrong) for wrong in refusals.ON_DIGITS),
    )


def study_reviews(client: Client, repository: Path, data: Path) -> ReviewsStudy:
    """Measure the three review tasks, asked in one call.

    Raises:
        CallError: If a call fails that should not.
        ExampleError: If the models or rows are not there, or an answer lacks a member.
    """
    held_out = heldout.load(data / "reviews.npz")
    groups = held_out["group"]
    inputs = {"text": np.array(heldout.unpack("text", held_out), object)[:, None]}
    served = ask_all(client, "reviews", inputs, batch=REVIEWS_BATCH)
    own = {
        name: model_outputs(repository, name, inputs, batch=REVIEWS_BATCH)
        for name in (*POLARITY, "intensity", "domain")
    }
    merged = soft_vote([own[name]["probabilities"] for name in POLARITY])
    labels = {
        name: POLARITIES[served.members[f"polarity/{name}"]["probabilities"].argmax(axis=1)]
        for name in POLARITY
    }
    outputs = served.outputs
    score, rating = outputs["intensity.score"][:, 0], held_out["intensity"]
    domain = outputs["domain.label"].reshape(-1)
    return ReviewsStudy(
        comparison=compare_accuracy(
            "polarity", outputs["polarity.label"], labels, _names(held_out["polarity"]), groups
        ),
        domain=bootstrap(domain == _names(held_out["domain"]), groups),
        intensity_rmse=float(np.sqrt(np.mean((score - rating) ** 2, dtype=np.float64))),
        intensity_correlation=float(np.corrcoef(score, rating)[0, 1]),
        matches=(
            compare("polarity.probabilities", outputs["polarity.probabilities"], merged),
            compare("polarity.label", outputs["polarity.label"], POLARITIES[merged.argmax(axis=1)]),
            compare("intensity.score", outputs["intensity.score"], own["intensity"]["score"]),
            compare("domain.probabilities", outputs["domain.probabilities"], own["domain"]["probabilities"]),
            compare("domain.label", domain, _names(own["domain"]["label"])),
        ),
        refusals=tuple(refusals.ask_wrongly(client, wrong) for wrong in refusals.ON_REVIEWS),
    )


def study_sentiment(
    client: Client, example: Path, repository: Path, data: Path, scratch: Path
) -> SentimentStudy:
    """Measure the graph from texts to the meta-model, and check wrong ones.

    Args:
        client: A connection to the gateway.
        example: The example's configuration.
        repository: The models.
        data: The held-out rows.
        scratch: Where copies of the configuration go.

    Raises:
        CallError: If a call fails that should not.
        ExampleError: If the models or rows are not there, or an answer lacks a member.
    """
    held_out = heldout.load(data / "reviews.npz")
    every = heldout.unpack("text", held_out)
    chosen = np.sort(np.random.default_rng(SEED).permutation(len(every))[:SENTIMENT_ROWS])
    inputs = {"text": np.array(every, object)[chosen, None]}
    served = ask_all(client, "sentiment", inputs, batch=REVIEWS_BATCH)
    embeddings = embed(repository, inputs["text"][:, 0].tolist())
    own = {
        name: model_outputs(
            repository, name, inputs if name == BASES[0] else {"features": embeddings}, batch=REVIEWS_BATCH
        )["probabilities"]
        for name in BASES
    }
    stacked = np.hstack([own[name] for name in BASES])
    meta = model_outputs(repository, "sentiment-meta", {"features": stacked}, batch=REVIEWS_BATCH)
    labels = {name: POLARITIES[served.members[name]["probabilities"].argmax(axis=1)] for name in BASES}
    truth, groups = _names(held_out["polarity"])[chosen], held_out["group"][chosen]
    label = served.outputs["label"].reshape(-1)
    path = client.infer("sentiment", {"text": inputs["text"][:1]}).report.critical_path.seat
    return SentimentStudy(
        comparison=compare_accuracy("sentiment", label, labels, truth, groups, how="meta-model"),
        matches=(
            compare("minilm.embedding", served.members["minilm"]["embedding"], embeddings),
            *(
                compare(f"{name}.probabilities", served.members[name]["probabilities"], own[name])
                for name in BASES
            ),
            compare("sentiment.probabilities", served.outputs["probabilities"], meta["probabilities"]),
            compare("sentiment.label", label, _names(meta["label"])),
        ),
        critical_path=path,
        complaints=check_wrongly(example, repository, scratch),
    )


def _during(outage: Outage, own: Mapping[str, NDArray[Any]]) -> Match:
    """Hold every answer of the outage against the mean of the members that it was made of."""
    answered = [call for call in outage.calls if not call.error]
    want = [soft_vote([own[n][call.row] for n in own if n not in call.missing]) for call in answered]
    served = np.concatenate([call.outputs["probabilities"] for call in answered])
    return compare("digits.probabilities, a member missing or not", served, np.array(want))


def _names(strings: NDArray[Any]) -> NDArray[Any]:
    """Return strings as the BYTES elements they are on the wire."""
    return np.array([str(string).encode() for string in strings], object)
