"""From cells to labels.

What a cell may hold, by kind; an empty one means unlabelled, whatever the kind:

- classify: a class's name.
- multilabel: names with the separator between them, or just the separator for none; or a column of 0 and 1
  for each class, of which a row has all or none.
- regress: a finite number. rank: one of at least 0, in a row that names its query.
- span: the answer as it stands in the context (where it stands more than once, ``<column>_start`` says
  where); spans of a corpus or a file of SQuAD.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from protos.document import hint
from training.data.dataset import Kind, Labels
from training.data.table import at, files, joined, named, number
from training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from training.config import Task
    from training.data.table import Table

__all__ = ["QUERY", "columns_of", "read_task"]

#: The column that names a row's list, unless the configuration says otherwise.
QUERY = "query"


def columns_of(name: str, task: Task) -> tuple[str, ...]:
    """Return the columns that a task reads its answers from."""
    return task.columns or (task.column or name,)


class Reader:
    """Reads the cells of one task; complaints name the row.

    Args:
        name: The task's name.
        task: Its configuration.
        tables: The sources.
        contexts: The context of each row, for spans.
        train: Which rows are for training, bool [n].
    """

    def __init__(
        self,
        name: str,
        task: Task,
        tables: Sequence[Table],
        contexts: Sequence[str],
        train: NDArray[np.bool_],
    ) -> None:
        self.name = name
        self.task = task
        self.tables = tables
        self.contexts = contexts
        self.train = train
        self.columns = columns_of(name, task)
        for column in self.columns:
            self._somewhere(column)
        self.cells = {column: joined(tables, column) for column in self.columns}
        self.known = np.array([cell is not None for cell in self.cells[self.columns[0]]], bool)

    def _somewhere(self, column: str) -> None:
        if not any(column in table.columns for table in self.tables):
            have = list(dict.fromkeys(name for table in self.tables for name in table.columns))
            raise TrainingError(
                files(self.tables),
                f"no source has the column {column!r} of task {self.name!r}{_meant(column, have)}",
                f"mend the task's column; there are {', '.join(have)}",
            )

    def wrong(self, row: int, problem: str, remedy: str) -> TrainingError:
        """Return a complaint about a row."""
        return TrainingError(at(self.tables, row), f"{problem} (task {self.name!r})", remedy)

    def labels(self) -> Labels:
        """Return what is known of each row.

        Raises:
            TrainingError: If a cell is not what the kind asks for, a class has no row, or no row has a label.
        """
        kinds: dict[Kind, Callable[[], Labels]] = {
            Kind.CLASSIFY: self._classes,
            Kind.MULTILABEL: self._sets,
            Kind.REGRESS: self._numbers,
            Kind.RANK: self._ranks,
            Kind.SPAN: self._spans,
        }
        if not (self.known & self.train).any():
            raise TrainingError(
                files(self.tables),
                f"no training row has a label for task {self.name!r}",
                "label some, or leave the task out",
            )
        return kinds[Kind(self.task.kind)]()

    def _made(self, values: NDArray[Any], **more: Any) -> Labels:
        weights = np.ones(len(self.known), np.float32)
        kind = Kind(self.task.kind)
        return Labels(kind=kind, values=values, known=self.known, weights=weights, **more)

    def _classes(self) -> Labels:
        cells = self.cells[self.columns[0]]
        names = [None if cell is None else self._name(row, cell) for row, cell in enumerate(cells)]
        classes, values = self._numbered([(name,) if name is not None else () for name in names])
        if len(classes) < 2:
            raise TrainingError(
                files(self.tables),
                f"task {self.name!r} has only the class {classes[0]!r}",
                "label rows of another class too",
            )
        return self._made(np.array([v[0] if v else 0 for v in values], np.int64), classes=classes)

    def _sets(self) -> Labels:
        if self.task.columns:
            return self._flags()
        separator = self.task.separator
        found: list[tuple[str, ...]] = []
        for row, cell in enumerate(self.cells[self.columns[0]]):
            parts = cell if isinstance(cell, list) else str(cell).split(separator) if cell is not None else []
            names = [self._name(row, part) for part in parts if str(part).strip()]
            found.append(tuple(names))
        classes, numbers = self._numbered(found)
        if not classes:
            raise TrainingError(
                files(self.tables),
                f"no training row of task {self.name!r} has any class",
                "label some, or leave the task out",
            )
        values = np.zeros((len(found), len(classes)), np.float32)
        for row, of_row in enumerate(numbers):
            values[row, list(of_row)] = 1
        return self._made(values, classes=classes)

    def _flags(self) -> Labels:
        flags = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "False": 0.0, "True": 1.0}
        values = np.zeros((len(self.known), len(self.columns)), np.float32)
        for k, column in enumerate(self.columns):
            for row, cell in enumerate(self.cells[column]):
                if (cell is not None) != self.known[row]:
                    problem = (
                        f"{'has' if cell is not None else 'lacks'} {column!r}, unlike {self.columns[0]!r}"
                    )
                    raise self.wrong(row, problem, "fill all columns of the task, or none")
                if cell is not None:
                    if str(cell) not in flags:
                        raise self.wrong(row, f"{column!r} is {cell!r}", "write 0 or 1, or leave it empty")
                    values[row, k] = flags[str(cell)]
        for column, rows in zip(self.columns, values[self.train & self.known].sum(0), strict=True):
            if not rows:
                raise self._empty(column)
        return self._made(values, classes=self.columns)

    def _name(self, row: int, cell: object) -> str:
        if not isinstance(cell, str | int | float) or (isinstance(cell, float) and not math.isfinite(cell)):
            raise self.wrong(row, f"{cell!r} names no class", "write a name, or leave it empty")
        name = named(cell)
        if len(name.splitlines()) != 1:  # a file of labels has a line for each
            raise self.wrong(row, f"the label {name!r:.60} is not one line", "write a name without line ends")
        return name

    def _numbered(self, of_rows: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...], list[tuple[int, ...]]]:
        """Return the classes, and the numbers for the names of each row."""
        trained = {name for names, train in zip(of_rows, self.train, strict=True) if train for name in names}
        classes = self.task.labels or tuple(sorted(trained))
        numbers = {name: i for i, name in enumerate(classes)}
        for row, names in enumerate(of_rows):
            for name in names:
                if name not in numbers:
                    remedy = (
                        f"mend the row, or add it to labels: {', '.join(classes)}"
                        if self.task.labels
                        else "no training row has it: change split.seed, move one into training, or mend it"
                    )
                    raise self.wrong(row, f"unknown label {name!r}{_meant(name, classes)}", remedy)
        for name in classes:
            if name not in trained:
                raise self._empty(name)
        return classes, [tuple(numbers[name] for name in names) for names in of_rows]

    def _empty(self, name: str) -> TrainingError:
        return TrainingError(
            files(self.tables),
            f"no training row of task {self.name!r} has the class {name!r}",
            "change split.seed, add rows of it, or take the class out of labels and the rows",
        )

    def _number(self, row: int, cell: object) -> float:
        read = number(cell)
        if read is None:
            raise self.wrong(row, f"{cell!r:.60} is no number", "write a finite number, or leave it empty")
        return read

    def _numbers(self) -> Labels:
        return self._made(self._floats())

    def _floats(self) -> NDArray[np.float32]:
        cells = self.cells[self.columns[0]]
        numbers = [0.0 if cell is None else self._number(row, cell) for row, cell in enumerate(cells)]
        return np.array(numbers, np.float32)

    def _ranks(self) -> Labels:
        relevance = self._floats()
        for row in np.flatnonzero(relevance < 0).tolist():
            raise self.wrong(row, f"the relevance {relevance[row]:g} is negative", "shift them to 0 and more")
        column = self.task.query or QUERY
        self._somewhere(column)
        numbers: dict[str, int] = {}
        queries = np.full(len(self.known), -1, np.int64)
        for row, cell in enumerate(joined(self.tables, column)):
            if cell is not None:
                queries[row] = numbers.setdefault(named(cell), len(numbers))
            elif self.known[row]:
                raise self.wrong(row, f"has a relevance, and no {column!r}", "name its query, or empty both")
        here = self.known & self.train
        rated = set(zip(queries[here].tolist(), relevance[here].tolist(), strict=True))
        if len(rated) == len({query for query, _ in rated}):
            raise TrainingError(
                files(self.tables),
                f"no training list of task {self.name!r} has rows of different relevance",
                f"rate rows of one {column} differently, or name another column in the task's query",
            )
        return self._made(relevance, queries=queries)

    def _spans(self) -> Labels:
        if not self.contexts:
            raise TrainingError(
                f"task {self.name!r}",
                "a span stands in a context, and the rows are no pairs",
                "name data.question and data.context",
            )
        column = self.columns[0]
        starts = joined(self.tables, f"{column}_start")
        accepted = [
            () if cell is None else self._accepted(row, cell, starts[row])
            for row, cell in enumerate(self.cells[column])
        ]
        values = np.array([spans[0] if spans else (-1, -1) for spans in accepted], np.int64).reshape(-1, 2)
        return self._made(values, accepted=tuple(accepted))

    def _accepted(self, row: int, cell: object, start: object) -> tuple[tuple[int, int], ...]:
        if isinstance(cell, tuple):  # spans that a corpus or a file of SQuAD gives
            return cell
        context, text = self.contexts[row], str(cell)
        if start is not None:
            at = self._number(row, start)
            begin = int(at)
            if begin != at or begin < 0 or context[begin : begin + len(text)] != text:
                raise self.wrong(row, f"the answer {text!r} does not stand at {at:g}", "mend one of the two")
            return ((begin, begin + len(text)),)
        begin = context.find(text)
        if begin < 0:
            raise self.wrong(row, f"the answer {text!r} is not in the context", "copy it as it stands there")
        if context.find(text, begin + 1) >= 0:
            remedy = f"say where it begins in a column {self.columns[0]}_start"
            raise self.wrong(row, f"the answer {text!r} stands more than once in the context", remedy)
        return ((begin, begin + len(text)),)


def read_task(
    name: str, task: Task, tables: Sequence[Table], contexts: Sequence[str], train: NDArray[np.bool_]
) -> Labels:
    """Return what is known of each row for a task.

    Args:
        name: The task's name.
        task: Its configuration.
        tables: The sources, whose rows follow each other.
        contexts: The context of each row, where a row is a pair; else empty.
        train: Which rows are for training, bool [n]: they decide which classes there are.

    Raises:
        TrainingError: If a column is missing, a cell is not what the kind asks for, or a class has no row.
    """
    return Reader(name, task, tables, contexts, train).labels()


def _meant(word: str, known: Sequence[str]) -> str:
    found = hint(word, known)
    return found if found.startswith("; did") else ""
