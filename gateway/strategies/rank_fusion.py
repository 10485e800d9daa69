"""Rank fusion: several rankings of things become one, by where each thing stands, not by its score.

All rows and seats are one flat table of entries (seat, row, item, rank), built and summed by sorting, so
there is no loop over rows or items.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gateway.strategies.base import (
    Array,
    Example,
    Mask,
    Options,
    SeatSpec,
    State,
    Strategy,
    StrategyError,
    Traits,
)
from gateway.strategies.kernels import gather, names_answered
from gateway.strategies.labels import class_names
from gateway.strategies.proof import FLOATS, only_output, shared_spec
from protos.tensor import TensorSpec, datatype_of

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["RankFusion"]

Ints = NDArray[np.int64]


class RankFusionOptions(Options):
    """Options of the rank fusion."""

    output: str | None = Field(
        None, description="the rankings to fuse; null takes the only output that the members have"
    )
    method: Literal["reciprocal_rank", "borda"] = Field(
        "reciprocal_rank", description="how a rank becomes points: reciprocal_rank or borda"
    )
    k: int = Field(
        60, ge=1, le=1_000_000, description="the constant of reciprocal_rank; larger flattens the top"
    )
    top: int = Field(10, ge=1, le=10_000, description="how many items to return for each row")


class Entries(NamedTuple):
    """Every item that any seat ranked for any row, each once, as columns.

    Args:
        seat: Index of the seat, int64 [e].
        row: Index of the row.
        item: Number of the item; numbers ascend in the order that breaks ties.
        rank: Its place in that seat's ranking of that row, from 1.
    """

    seat: Ints
    row: Ints
    item: Ints
    rank: Ints


class RankFusion(Strategy):
    """Reciprocal rank fusion or the Borda count.

    The output is a ranking per row, best first (INT64 ids, negative ones are padding; or BYTES, empty ones
    are padding; [-1, L], lengths may differ), or scores (floats, [-1, C]) that are ranked from the highest,
    ties by lowest index, and whose ids are the class names or else the indices. An id that stands twice in
    one ranking counts where it stands first.

    - reciprocal_rank: score(d) = sum over rankings with d of 1 / (k + rank(d)). Source: Cormack, Clarke,
      Buettcher, "Reciprocal rank fusion outperforms Condorcet and individual rank learning methods"
      (SIGIR 2009), with its k = 60.
    - borda: of c items that a row's rankings name together, the first of a ranking gets c points, the
      second c - 1, and so on; the items that it leaves out share the points left evenly. Source: Aslam
      and Montague, "Models for metasearch" (SIGIR 2001).

    It yields ``ids`` [rows, top], best first, padded with -1 or an empty element, and their ``scores``, FP32,
    padded with 0. Ties go to the lowest id; for BYTES, byte order; for scores, the lowest index.
    """

    kind: ClassVar[str] = "rank_fusion"
    traits: ClassVar[Traits] = Traits(idempotent=False, keeps_shape=False)
    Options = RankFusionOptions
    options: RankFusionOptions

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Return one example for each kind of ranking and each method."""
        classes = ("ham", "spam", "eggs", "beans")
        borda = {"method": "borda", "top": 3}
        ids, words = TensorSpec("ids", "INT64", (-1, -1)), TensorSpec("ids", "BYTES", (-1, -1))
        scores = TensorSpec("scores", "FP32", (-1, 4), labels=classes)
        return (
            Example(outputs=(ids,)),
            Example(options=borda, outputs=(ids,)),
            Example(outputs=(words,)),
            Example(options=borda, outputs=(words,)),
            Example(options={"top": 2, "k": 1}, outputs=(scores,)),
            Example(
                options=borda | {"output": "logits"}, outputs=(TensorSpec("logits", "BF16", (-1, 5)), ids)
            ),
        )

    def reads(self, seat: SeatSpec) -> frozenset[str]:
        """Return the output that ranks."""
        return frozenset(seat.outputs if self.options.output is None else (self.options.output,))

    def outputs(self, seats: Sequence[SeatSpec]) -> tuple[TensorSpec, ...]:
        """Return ``ids`` and ``scores``."""
        name = self.options.output or only_output(seats)
        spec = shared_spec(seats, name, (*FLOATS, "INT64", "BYTES"), any_length=True)
        if spec.datatype in FLOATS:
            spec = shared_spec(seats, name, FLOATS)
        if len(spec.shape) != 2:
            raise StrategyError(
                f"output {name!r} has shape {list(spec.shape)}; rank_fusion takes a ranking per row, [-1, L]"
            )
        named = spec.datatype == "BYTES" or (spec.datatype in FLOATS and spec.labels)
        shape = (spec.shape[0], self.options.top)
        return TensorSpec("ids", "BYTES" if named else "INT64", shape), TensorSpec("scores", "FP32", shape)

    def combine(self, state: State, rows: Mask) -> dict[str, Array]:
        """Return the best items of each row and their scores."""
        name = self.options.output or names_answered(state)[0]
        values, weights = gather(state, rows, name, self.used(state, rows), any_length=True)
        counts = weights > 0
        if datatype_of(values[0].dtype) in FLOATS:
            rankings, items = _ranked(values, state.labels.get(name, ()))
        else:
            rankings, items = _numbered(values, counts)
        entries = _entries(rankings, counts, len(items))
        return self._fused(entries, counts, items)

    def _fused(self, entries: Entries, counts: Mask, items: Array) -> dict[str, Array]:
        """Sum the points of each (row, item) and return the best of each row."""
        seats, n = counts.shape
        pairs, pair = np.unique(entries.row * max(len(items), 1) + entries.item, return_inverse=True)
        row, item = np.divmod(pairs, max(len(items), 1))
        if self.options.method == "borda":
            lengths = np.bincount(entries.seat * n + entries.row, minlength=seats * n).reshape(seats, n)
            left_out = (np.bincount(row, minlength=n) - lengths + 1) / 2
            first = np.bincount(row, minlength=n)[entries.row]
            points = first - entries.rank + 1 - left_out[entries.seat, entries.row]
            least = (left_out * counts).sum(axis=0)[row]
        else:
            points, least = 1 / (self.options.k + entries.rank), np.zeros(len(pairs))
        # Points are added in rank order, so the order of the seats cannot change a bit of the sum.
        order = np.lexsort((entries.rank, pair))
        score = least + np.bincount(pair[order], points[order], len(pairs))
        best = np.lexsort((item, -score, row))
        place = _place(row[best])
        kept, place = best[place < self.options.top], place[place < self.options.top]
        ids = np.full((n, self.options.top), b"" if items.dtype == object else -1, items.dtype)
        scores = np.zeros(ids.shape, np.float32)
        ids[row[kept], place], scores[row[kept], place] = items[item[kept]], score[kept]
        return {"ids": ids, "scores": scores}


def _ranked(values: Sequence[Array], labels: Sequence[str]) -> tuple[list[Ints], Array]:
    """Rank the classes by descending score; return each seat's ranking of class numbers, and the classes."""
    classes = values[0].shape[1]
    # A two-byte float sorts slowly or not so; FP32 holds it exactly.
    exact = [value.astype(np.float32) if value.dtype.itemsize == 2 else value for value in values]
    rankings = [np.argsort(-value, axis=1, kind="stable") for value in exact]
    return rankings, class_names(labels) if labels else np.arange(classes)


def _numbered(values: Sequence[Array], counts: Mask) -> tuple[list[Ints], Array]:
    """Number the distinct ids in ascending order; return each seat's ranking (-1: padding), and the ids."""
    real = [_real(value) & here[:, None] for value, here in zip(values, counts, strict=True)]
    items, inverse = np.unique(
        np.concatenate([value[known] for value, known in zip(values, real, strict=True)]),
        return_inverse=True,
    )
    rankings = [np.full(known.shape, -1, np.int64) for known in real]
    parts = np.split(inverse, np.cumsum([known.sum() for known in real])[:-1])
    for ranking, known, part in zip(rankings, real, parts, strict=True):
        ranking[known] = part
    return rankings, items


def _real(ids: Array) -> Mask:
    """Tell which ids are not padding."""
    return np.asarray(ids != b"" if ids.dtype == object else ids >= 0, np.bool_)


def _entries(rankings: Sequence[Ints], counts: Mask, items: int) -> Entries:
    """Lay the rankings that count out as a table, each item once per ranking, where it stands first."""
    n, columns = counts.shape[1], []
    for seat, (ranking, here) in enumerate(zip(rankings, counts, strict=True)):
        row, at = np.nonzero((ranking >= 0) & here[:, None])
        columns.append((seat * n + row, ranking[row, at]))
    ballot = np.concatenate([ballots for ballots, _ in columns])
    item = np.concatenate([item for _, item in columns])
    _, first = np.unique(ballot * max(items, 1) + item, return_index=True)
    first.sort()
    ballot, item = ballot[first], item[first]
    return Entries(*np.divmod(ballot, max(n, 1)), item, _place(ballot) + 1)


def _place(groups: Ints) -> Ints:
    """Return each element's place within its group, from 0; equal groups stand together, ascending."""
    place: Ints = np.arange(len(groups)) - np.searchsorted(groups, groups)
    return place
