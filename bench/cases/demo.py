"""Real models: the digits and reviews of ``make models``, and MiniLM, a text encoder, on token ids."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from bench import ROOT, BenchFailed, models
from bench import plot as plots
from bench.answers import Question
from bench.cases import ours
from bench.configs import write_config, write_example
from bench.figures import Load
from bench.report import Outcome, figures_table
from bench.rounds import Turn, measured
from examples.models import heldout
from examples.models.minilm.export import int8_onnx

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.answers import Arrays
    from bench.rounds import Bench
    from bench.targets import Target

__all__ = ["DIGITS", "MODELS", "TEXT", "digits", "digits_question", "measure", "plot"]

TEXT = "digits, reviews, and MiniLM on token ids"
MODELS, DATA, EXAMPLES = ROOT / "build" / "models", ROOT / "build" / "data", ROOT / "examples"
DIGITS = ("digits-linear", "digits-svm", "digits-forest", "digits-boosting", "digits-mlp")
POLARITY = ("polarity-words", "polarity-chars", "polarity-bayes", "polarity-lexicon")
MINILM, MINILM_OUTPUT = "minilm", "last_hidden_state"
#: Tokens of a request, and ids that any BERT vocabulary has words for.
TOKENS, IDS = 16, (2_000, 20_000)
SOME = 16


def measure(bench: Bench) -> Outcome:
    """Measure the echo and our gateways with each set of models."""
    failed: dict[str, str] = {}
    turns: list[Turn] = []
    with ExitStack() as stack:
        for name, serve, ask in (
            ("digits", digits, partial(digits_question, "digits", DIGITS)),
            ("reviews", _reviews, _reviews_question),
            ("MiniLM", _minilm, _minilm_question),
        ):
            try:
                gateways, refused = serve(stack, bench)
            except BenchFailed as error:
                failed[name] = str(error)
                continue
            failed |= refused
            what = ask()
            targets = {backend: (target, what) for backend, target in gateways.items()}
            loads = [Load(f"{name}, {count} in flight", **ours.in_flight(count)) for count in (1, SOME)]
            turns += ours.turns(stack, bench, targets, loads)
        results = measured(bench, turns, failed=failed)
    return Outcome([figures_table("Real models", results)], (), results)


def plot(outcome: Outcome, path: Path, caption: str) -> None:
    """Draw latency and throughput of all targets."""
    plots.ranges(path, outcome.results, caption)


def digits(stack: ExitStack, bench: Bench) -> tuple[dict[str, Target], dict[str, str]]:
    """Serve the digits with each backend; see :func:`bench.cases.ours.serve`."""
    return ours.serve(stack, bench, "digits", partial(_example, "digits"))


def digits_question(name: str, members: Sequence[str]) -> Question:
    """Return what the digits are asked: rows that no model was trained on."""
    pixels = heldout.load(DATA / "digits.npz")["pixels"][: ours.DISTINCT]
    feeds: list[Arrays] = [{"pixels": np.ascontiguousarray(row[None], np.float32)} for row in pixels]
    return Question(name, feeds, models.means(MODELS, members, feeds, ("probabilities",)))


def _example(name: str, backend: str, path: Path) -> Path:
    return write_example(path, EXAMPLES / f"{name}.yaml", backend)


def _reviews(stack: ExitStack, bench: Bench) -> tuple[dict[str, Target], dict[str, str]]:
    return ours.serve(stack, bench, "reviews", partial(_example, "reviews"))


def _reviews_question() -> Question:
    texts = heldout.unpack("text", heldout.load(DATA / "reviews.npz"))[: ours.DISTINCT]
    feeds: list[Arrays] = [{"text": np.array([[text.encode()]], dtype=object)} for text in texts]
    here: list[Arrays] = [{"text": np.array([[text]], dtype=object)} for text in texts]
    tasks = {
        "polarity.probabilities": models.means(MODELS, POLARITY, here, ("probabilities",)),
        "intensity.score": models.means(MODELS, ("intensity",), here, ("score",)),
        "domain.probabilities": models.means(MODELS, ("domain",), here, ("probabilities",)),
    }
    expected = [
        {name: own[i][name.partition(".")[2]] for name, own in tasks.items()} for i in range(len(texts))
    ]
    return Question("reviews", feeds, expected)


def _minilm(stack: ExitStack, bench: Bench) -> tuple[dict[str, Target], dict[str, str]]:
    repository = _minilm_repository()
    strategy = {"kind": "mean", "output": MINILM_OUTPUT}

    def write(backend: str, path: Path) -> Path:
        return write_config(path, repository, backend, {"embedding": [MINILM]}, strategy=strategy)

    return ours.serve(stack, bench, MINILM, write)


def _minilm_repository() -> Path:
    """Return a repository with MiniLM as it was published: an int8 ONNX file that takes tokens."""
    repository = ROOT / "build" / "minilm"
    target = repository / MINILM / "1" / "model.onnx"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(int8_onnx(ROOT / "build" / "downloads"))
    return repository


def _minilm_question() -> Question:
    generator = np.random.default_rng(1)
    ones = np.ones((1, TOKENS), np.int64)
    feeds: list[Arrays] = [
        {
            "input_ids": generator.integers(*IDS, (1, TOKENS), np.int64),
            "attention_mask": ones,
            "token_type_ids": 0 * ones,
        }
        for _ in range(ours.DISTINCT)
    ]
    return Question("embedding", feeds, models.means(_minilm_repository(), [MINILM], feeds, (MINILM_OUTPUT,)))
