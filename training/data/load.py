"""From the configuration to a data set: sources, then groups and parts, then labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from training.data import card
from training.data.corpora import read_corpus
from training.data.dataset import Arrays, Dataset, Inputs, Pairs, Part
from training.data.files import read_file
from training.data.inputs import read_inputs
from training.data.split import connected, place_groups, some_groups, torn
from training.data.table import at, files, joined, named
from training.data.task import QUERY, read_task
from training.data.weigh import inverse_sqrt_size
from training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from training.config import Config, Data
    from training.data.table import Table

__all__ = ["load"]

#: Torn groups that a complaint names.
_NAMED = 3


def load(config: Config) -> Dataset:
    """Read the data that a configuration asks for.

    Raises:
        TrainingError: If a source cannot be had, or a row is not what it should be.
    """
    data = config.data
    tables = tuple(
        read_corpus(source, data.downloads) if source.corpus else read_file(source) for source in data.source
    )
    names, domains = _domains(tables, data)
    keys = _keys(tables, read_inputs(tables, data), config)
    groups = connected(*keys.values())
    parts = place_groups(
        groups, [names[d] for d in domains], _given(tables, data), data.split.parts, seed=data.split.seed
    )
    _check_parts(tables, keys, groups, parts)
    kept = _kept(groups, parts, data)
    tables, parts, groups, domains = _some(tables, kept), parts[kept], groups[kept], domains[kept]
    _check_shares(tables, parts, data)
    inputs = read_inputs(tables, data)
    train = parts == Part.TRAIN
    contexts = inputs.contexts if isinstance(inputs, Pairs) else ()
    labels = {name: read_task(name, task, tables, contexts, train) for name, task in config.tasks.items()}
    weighed = [name for name, task in config.tasks.items() if task.sample_weight == "inverse_sqrt_size"]
    made: dict[str, Any] = {
        "inputs": inputs,
        "labels": inverse_sqrt_size(labels, weighed, domains, train),
        "groups": np.unique(groups, return_inverse=True)[1].astype(np.int64),
        "domains": domains,
        "domain_names": names,
        "parts": parts,
    }
    return Dataset(**made, card=card.made(tables, data.split, **made))


def _domains(tables: Sequence[Table], data: Data) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    of_row: list[str] = []
    for table in tables:
        column = data.domain or table.domain
        if column is None:
            of_row += [table.name] * len(table)
        else:
            table.cells(column, "data.domain")
            of_row += [table.name if cell is None else named(cell) for cell in joined([table], column)]
    names, domains = np.unique(np.array(of_row, object), return_inverse=True)
    return tuple(names.tolist()), domains.astype(np.int64)


def _keys(tables: Sequence[Table], inputs: Inputs, config: Config) -> dict[str, list[str]]:
    """Return what keeps rows together, by name: rows with an equal value of one key belong together."""
    if isinstance(inputs, Arrays):
        same, texts = "input", [row.tobytes().hex() for row in inputs.values]
    elif isinstance(inputs, Pairs):
        same, texts = "context", [_tidied(text) for text in inputs.contexts]
    else:
        same, texts = "text", [_tidied(text) for text in inputs.texts]
    keys = {same: texts}
    queries = [task.query or QUERY for task in config.tasks.values() if task.kind == "rank"]
    own = (column for table in tables for column in table.together)
    for column in dict.fromkeys((*config.data.split.by, *queries, *own)):
        if not any(column in table.columns for table in tables):
            remedy = "name it in the task's query" if column in queries else "mend data.split.by"
            raise TrainingError(files(tables), f"no source has the column {column!r} to split by", remedy)
        cells = joined(tables, column)
        # an empty cell keeps nothing together
        keys[column] = [f"\0{row}" if cell is None else named(cell) for row, cell in enumerate(cells)]
    return keys


def _tidied(text: str) -> str:
    return " ".join(text.lower().split())


def _given(tables: Sequence[Table], data: Data) -> NDArray[np.int8]:
    """Return the part that each row must be in, or -1."""
    names = [part.name.lower() for part in Part]
    given: list[int] = []
    for table in tables:
        if table.part is not None:
            given += [names.index(table.part)] * len(table)
        elif data.split.column is not None:
            for row, cell in enumerate(table.cells(data.split.column, "data.split.column")):
                if cell not in names:
                    problem = f"{data.split.column!r} is {cell!r}, no part"
                    raise TrainingError(table.at(row), problem, f"write one of {', '.join(names)}")
                given.append(names.index(cell))
        else:
            given += [-1] * len(table)
    return np.array(given, np.int8)


def _check_parts(
    tables: Sequence[Table], keys: dict[str, list[str]], groups: NDArray[np.int64], parts: NDArray[np.int8]
) -> None:
    pairs = torn(groups, parts)
    if not pairs:
        return
    names = [part.name.lower() for part in Part]
    told = []
    for one, other in pairs[:_NAMED]:
        shared = next(
            (f"{key} {values[one]!r:.60}" for key, values in keys.items() if values[one] == values[other]), ""
        )
        why = f"share the {shared}" if shared else "belong together through other rows"
        told.append(
            f"{at(tables, one)} ({names[parts[one]]}) and {at(tables, other)} ({names[parts[other]]}) {why}"
        )
    more = f"; and {len(pairs) - _NAMED} more" if len(pairs) > _NAMED else ""
    raise TrainingError(
        "data.split",
        f"{len(pairs)} groups of rows are in more than one part: {'; '.join(told)}{more}",
        "put each group into one part, or let the split deal them",
    )


def _kept(groups: NDArray[np.int64], parts: NDArray[np.int8], data: Data) -> NDArray[np.int64]:
    """Return the rows that are used: whole groups of each part."""
    kept = np.ones(len(groups), bool)
    for part in Part:
        rows = np.flatnonzero(parts == part)
        share = data.train_share if part is Part.TRAIN else 1.0
        if data.max_rows is not None:
            share = min(share, data.max_rows / len(groups))
        if share < 1 and len(rows):
            kept[rows] = some_groups(groups[rows], share, seed=data.split.seed)
    return np.flatnonzero(kept)


def _some(tables: Sequence[Table], kept: NDArray[np.int64]) -> tuple[Table, ...]:
    begins = np.cumsum([0, *map(len, tables)])
    return tuple(
        table.take(kept[(kept >= begin) & (kept < begin + len(table))] - begin)
        for table, begin in zip(tables, begins[:-1], strict=True)
    )


def _check_shares(tables: Sequence[Table], parts: NDArray[np.int8], data: Data) -> None:
    given = data.split.column is not None or any(table.part for table in tables)
    for part, share in zip(Part, data.split.parts, strict=True):
        needed = part is not Part.TEST if given else bool(share)
        if needed and not (parts == part).any():
            remedy = "give it rows" if given else "add groups of rows, or give it a larger share"
            raise TrainingError(files(tables), f"the part {part.name.lower()} has no rows", remedy)
