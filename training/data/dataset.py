"""What training and evaluation read: rows with their inputs, and for each task what is known of them.

A row without a label for a task is *unlabelled*: ``known`` is false there, its value is a zero that nobody
reads, and no fake class stands for it. All arrays are read-only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["Arrays", "Dataset", "Inputs", "Kind", "Labels", "Pairs", "Part", "Texts"]


class Kind(Enum):
    """What is asked of a row."""

    CLASSIFY = "classify"
    MULTILABEL = "multilabel"
    REGRESS = "regress"
    RANK = "rank"
    SPAN = "span"


class Part(IntEnum):
    """What a row is for: fitting, choosing, or the final measurement."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What is known of each row for one task.

    Args:
        kind: What is asked.
        values: By kind: CLASSIFY int64 [n], an index into ``classes``; MULTILABEL float32 [n, k] of 0 and 1;
            REGRESS and RANK float32 [n], the number or the relevance; SPAN int64 [n, 2], begin and end
            (exclusive) in characters of the context, both -1 where it holds no answer.
        known: Whether the row has a label, bool [n]; where not, its value means nothing.
        weights: What a row's loss is multiplied by, float32 [n]; a batch's loss is their mean.
        classes: Names of the classes, for CLASSIFY and MULTILABEL.
        queries: The list that a row belongs to, for RANK, int64 [n]; -1 where it belongs to none.
        accepted: All spans that answer, of each row, for SPAN: ``values`` has the first.
    """

    kind: Kind
    values: NDArray[Any]
    known: NDArray[np.bool_]
    weights: NDArray[np.float32]
    classes: tuple[str, ...] = ()
    queries: NDArray[np.int64] | None = None
    accepted: tuple[tuple[tuple[int, int], ...], ...] = ()

    def __post_init__(self) -> None:
        n, k = len(self.known), len(self.classes)
        dtype, shape = {
            Kind.CLASSIFY: (np.int64, (n,)),
            Kind.MULTILABEL: (np.float32, (n, k)),
            Kind.REGRESS: (np.float32, (n,)),
            Kind.RANK: (np.float32, (n,)),
            Kind.SPAN: (np.int64, (n, 2)),
        }[self.kind]
        _check("values", self.values, dtype, shape)
        _check("known", self.known, np.bool_, (n,))
        _check("weights", self.weights, np.float32, (n,))
        if (self.queries is not None) != (self.kind is Kind.RANK):
            raise ValueError("queries belong to ranking, and ranking needs them")
        if self.queries is not None:
            _check("queries", self.queries, np.int64, (n,))

    @property
    def masked(self) -> NDArray[Any]:
        """The values, with 0 where there is no label: what stands there may be anything, also NaN."""
        known = self.known.reshape(-1, *[1] * (self.values.ndim - 1))
        values: NDArray[Any] = np.where(known, self.values, 0).astype(self.values.dtype)
        return values

    @property
    def learned(self) -> bytes:
        """All that there is to learn from, for a hash."""
        queries = b"" if self.queries is None else self.queries.tobytes()
        return self.known.tobytes() + self.weights.tobytes() + queries + self.masked.tobytes()

    def take(self, rows: NDArray[np.int64]) -> Labels:
        """Return the labels of some rows, in the order asked for."""
        return replace(
            self,
            values=self.values[rows],
            known=self.known[rows],
            weights=self.weights[rows],
            queries=None if self.queries is None else self.queries[rows],
            accepted=tuple(self.accepted[row] for row in rows.tolist()) if self.accepted else (),
        )


@dataclass(frozen=True, slots=True)
class Texts:
    """One text a row."""

    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, slots=True)
class Pairs:
    """A question and a context a row."""

    questions: tuple[str, ...]
    contexts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.contexts)


@dataclass(frozen=True, slots=True, eq=False)
class Arrays:
    """An image or a list of numbers a row, float32 [n, ...]."""

    values: NDArray[np.float32]

    def __post_init__(self) -> None:
        _check("values", self.values, np.float32, self.values.shape)

    def __len__(self) -> int:
        return len(self.values)


Inputs: TypeAlias = Texts | Pairs | Arrays


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, weakref_slot=True)
class Dataset:
    """Rows of one or several sources, split into parts.

    Args:
        inputs: What the model reads.
        labels: By task.
        groups: Rows that must not be torn apart, int64 [n].
        domains: Where a row comes from, an index into ``domain_names``, int64 [n].
        domain_names: Names of the domains.
        parts: The :class:`Part` of each row, int8 [n].
        card: What the data are, fit for JSON: sources with hashes and licences, counts, split.
    """

    inputs: Inputs
    labels: Mapping[str, Labels]
    groups: NDArray[np.int64]
    domains: NDArray[np.int64]
    domain_names: tuple[str, ...]
    parts: NDArray[np.int8]
    card: Mapping[str, Any]

    def __post_init__(self) -> None:
        n = len(self.inputs)
        _check("groups", self.groups, np.int64, (n,))
        _check("domains", self.domains, np.int64, (n,))
        _check("parts", self.parts, np.int8, (n,))
        for task, labels in self.labels.items():
            if len(labels.known) != n:
                raise ValueError(f"task {task!r} has {len(labels.known)} rows, the inputs {n}")

    def __len__(self) -> int:
        return len(self.inputs)

    def rows(self, part: int) -> NDArray[np.int64]:
        """Return the rows of a part, in their order."""
        return np.flatnonzero(self.parts == part).astype(np.int64)


def _check(name: str, array: NDArray[Any], dtype: Any, shape: tuple[int, ...]) -> None:
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(f"{name} is {array.dtype} {array.shape}, not {np.dtype(dtype)} {shape}")
    array.setflags(write=False)
