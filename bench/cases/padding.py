"""What padding costs a text model: MiniLM with int8 weights on the reviews, like lengths together or not."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np

from bench import ROOT
from bench import plot as plots
from bench.cases.demo import DATA, MODELS
from bench.figures import ratios, spread
from bench.report import Claim, Outcome, Table, cell
from examples.models import heldout
from examples.models.minilm.export import made_by, make
from examples.models.repository import is_current
from workers.model.repository import find
from workers.model.session import load
from workers.model.text import feed
from workers.model.text.groups import split
from workers.model.text.tokenizer import open_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bench.rounds import Bench
    from workers.model.session import Session

__all__ = ["TEXT", "measure", "plot"]

TEXT = "a text model with and without runs of rows of like length"
MODEL, INPUT = "minilm-int8", "text"
#: Rows of a batch; the last is the most that the model takes.
SIZES = (8, 16, 64)
TOGETHER, PADDED = "of like length together", "padded to the longest"
BOUND = 1.3
ROWS, QUICK_ROWS = 512, 64
WAYS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    PADDED: lambda: patch.object(feed, "split", _whole),
    TOGETHER: nullcontext,
}


def measure(bench: Bench) -> Outcome:
    """Answer the same reviews in either way, by turns; every round has other ones."""
    if not is_current(MODELS, MODEL, made_by()):
        make(MODEL, MODELS, ROOT / "build" / "downloads")
    session = load(find(MODELS, MODEL))
    count, rounds = QUICK_ROWS if bench.quick else ROWS, bench.pace.rounds
    texts = heldout.unpack("text", heldout.load(DATA / "reviews.npz"))
    order = np.resize(np.random.default_rng(1).permutation(len(texts)), count * rounds)
    mixed = [texts[i] for i in order]
    rates: dict[int, dict[str, list[float]]] = {size: {way: [] for way in WAYS} for size in SIZES}
    _rows_per_s(session, mixed[: SIZES[-1]], SIZES[-1])
    for i in range(rounds):
        some = mixed[i * count : (i + 1) * count]
        for j, size in enumerate(SIZES):
            bench.progress((i + j / len(SIZES)) / rounds, f"batches of {size}")
            # whoever comes first may meet a machine that is busier or colder
            for way in reversed(WAYS) if i % 2 else WAYS:
                with WAYS[way]():
                    rates[size][way].append(_rows_per_s(session, some, size))
    lengths = _lengths(session, mixed)
    rows, facts, found = [], {}, {}
    for size in SIZES:
        speeds = {way: spread(rates[size][way]) for way in WAYS}
        found[size] = spread(ratios(rates[size][TOGETHER], rates[size][PADDED]))
        tokens = _tokens(lengths, size)
        facts[str(size)] = {"rows_per_s": speeds, "ratio": found[size], "tokens": tokens}
        for way in WAYS:
            named, ratio = (f"{size} rows", "") if way == PADDED else ("", cell(found[size]))
            computed, wasted = tokens[way], 1 - float(np.mean(lengths)) / tokens[way]
            rows.append([named, way, cell(speeds[way]), ratio, f"{computed:.1f}", f"{100 * wasted:.0f} %"])
    columns = ["batch", "rows", "rows/s", "times padded", "tokens a row", "of them padding"]
    claim = Claim(
        f"MiniLM int8, {SIZES[-1]} reviews in a batch: rows/s, those of like length together",
        bound=BOUND,
        at_least=True,
        unit="x padded to the longest",
        found=found[SIZES[-1]],
    )
    how = f"{rounds} rounds of {count} reviews, the same for both ways; medians, least and greatest."
    table = Table("Reviews through MiniLM int8, in process", columns, rows)
    return Outcome([table], [claim], facts=facts, how=how)


def plot(outcome: Outcome, path: Path, caption: str) -> None:
    """Draw the rows per second of either way, batch by batch."""
    bars = {f"{size} rows": found["rows_per_s"] for size, found in outcome.facts.items()}
    plots.bars(path, bars, caption, across="rows per second")


def _whole(lengths: Sequence[int] | np.ndarray[Any, np.dtype[Any]]) -> list[np.ndarray[Any, np.dtype[Any]]]:
    return [np.arange(len(lengths))]


def _rows_per_s(session: Session, texts: Sequence[str], size: int) -> float:
    batches = [
        np.array([[text.encode()] for text in texts[first : first + size]], object)
        for first in range(0, len(texts), size)
    ]
    started = time.perf_counter()
    for batch in batches:
        session.run({INPUT: batch})
    return len(texts) / (time.perf_counter() - started)


def _lengths(session: Session, texts: Sequence[str]) -> list[int]:
    tokenizer = open_tokenizer(session.files)
    tokenizer.truncate(session.files.config.tuning.max_tokens)
    return [len(ids) for ids, _ in tokenizer.encode(texts)]


def _tokens(lengths: Sequence[int], size: int) -> dict[str, float]:
    """Return how many tokens are computed for a row, padding included, in either way."""
    batches = [np.array(lengths[first : first + size]) for first in range(0, len(lengths), size)]
    cuts: dict[str, Callable[[Sequence[int]], list[np.ndarray[Any, np.dtype[Any]]]]]
    cuts = {PADDED: _whole, TOGETHER: split}
    return {
        way: sum(len(run) * int(batch[run].max()) for batch in batches for run in cut(batch.tolist()))
        / len(lengths)
        for way, cut in cuts.items()
    }
