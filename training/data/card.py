"""The data card: where the rows come from, under which terms, how they were split, and what is known of them.

Its fingerprints change with any input, label or part, so that a run can tell whether it still has the data
that it began with.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from training.data.dataset import Arrays, Kind, Pairs, Part
from training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from training.config import Split
    from training.data.dataset import Dataset, Inputs, Labels
    from training.data.table import Table

__all__ = ["check", "made"]


def made(
    tables: Sequence[Table],
    split: Split,
    *,
    inputs: Inputs,
    labels: Mapping[str, Labels],
    groups: NDArray[np.int64],
    domains: NDArray[np.int64],
    domain_names: Sequence[str],
    parts: NDArray[np.int8],
) -> dict[str, Any]:
    """Return the card of a data set; the arguments are the data set's."""
    return {
        "sources": [
            {"name": table.name, "file": table.file, "rows": len(table), **table.facts} for table in tables
        ],
        "split": {
            "by": _ways(tables, split),
            "seed": split.seed,
            "groups": _by_part(groups, parts, distinct=True),
        },
        "rows": _by_part(np.arange(len(parts)), parts),
        "domains": {
            name: _by_part(np.flatnonzero(domains == i), parts) for i, name in enumerate(domain_names)
        },
        "tasks": {name: _of_task(each, parts) for name, each in labels.items()},
        "fingerprints": {
            "inputs": _fingerprint(*_bytes(inputs)),
            "split": _fingerprint(parts),
            **{
                f"task {name}": _fingerprint(
                    json.dumps(each.classes).encode(),
                    each.known,
                    each.masked,
                )
                for name, each in labels.items()
            },
            **{
                f"lists of {name}": _fingerprint(each.queries)
                for name, each in labels.items()
                if each.queries is not None
            },
            **{
                f"further answers of {name}": _fingerprint(json.dumps(each.accepted).encode())
                for name, each in labels.items()
                if each.accepted
            },
            "domains": _fingerprint(json.dumps(list(domain_names)).encode(), domains),
        },
    }


def check(card: Mapping[str, Any], dataset: Dataset) -> None:
    """Refuse data other than those that a card was made of.

    Raises:
        TrainingError: If inputs, labels or parts differ.
    """
    then, now = card["fingerprints"], dataset.card["fingerprints"]
    other = [what for what in then.keys() | now.keys() if then.get(what) != now.get(what)]
    if other:
        raise TrainingError(
            "the data card",
            f"the data are not those of the run: {', '.join(sorted(other))} changed",
            "restore the data and their section of the configuration, or start a new run",
        )


def _ways(tables: Sequence[Table], split: Split) -> list[str]:
    given = [f"column {split.column}"] if split.column else []
    together = dict.fromkeys((*split.by, *(column for table in tables for column in table.together)))
    shares = [] if split.column else ["shares " + ", ".join(f"{share:g}" for share in split.parts)]
    return [*given, *shares, *(f"group {column}" for column in together), "repeated inputs"]


def _by_part(values: NDArray[Any], parts: NDArray[np.int8], *, distinct: bool = False) -> dict[str, int]:
    """Count rows, given as indices, or distinct values of all rows, by part."""
    if distinct:
        return {part.name.lower(): len(np.unique(values[parts == part])) for part in Part}
    return {part.name.lower(): int((parts[values] == part).sum()) for part in Part}


def _of_task(labels: Labels, parts: NDArray[np.int8]) -> dict[str, Any]:
    about: dict[str, Any] = {
        "kind": labels.kind.value,
        "labelled": _by_part(np.flatnonzero(labels.known), parts),
    }
    if labels.classes:
        values = (
            labels.values if labels.kind is Kind.MULTILABEL else np.eye(len(labels.classes))[labels.values]
        )
        about["classes"] = {
            name: _by_part(np.flatnonzero(labels.known & (values[:, k] > 0)), parts)
            for k, name in enumerate(labels.classes)
        }
    if labels.kind in (Kind.REGRESS, Kind.RANK):
        numbers = labels.values[labels.known & (parts == Part.TRAIN)].astype(np.float64)
        about["train"] = {
            "mean": round(float(numbers.mean()), 6),
            "sd": round(float(numbers.std()), 6),
            "min": float(numbers.min()),
            "max": float(numbers.max()),
        }
    if labels.queries is not None:
        listed = labels.known & (labels.queries >= 0)
        about["queries"] = _by_part(labels.queries[listed], parts[listed], distinct=True)
    if labels.kind is Kind.SPAN:
        about["without_answer"] = _by_part(np.flatnonzero(labels.known & (labels.values[:, 0] < 0)), parts)
    return about


def _bytes(inputs: Inputs) -> tuple[bytes | NDArray[Any], ...]:
    if isinstance(inputs, Arrays):
        return (inputs.values,)
    texts = (inputs.questions, inputs.contexts) if isinstance(inputs, Pairs) else (inputs.texts,)
    return tuple(json.dumps(each).encode() for each in texts)


def _fingerprint(*contents: bytes | NDArray[Any]) -> str:
    hashed = sha256()
    for content in contents:
        whole = content if isinstance(content, bytes) else content.tobytes()
        hashed.update(len(whole).to_bytes(8, "little") + whole)
    return hashed.hexdigest()[:16]
