"""Rows as they were read: columns of cells, and where each row stands in its file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Table", "at", "digest", "files", "joined", "number", "objects"]

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """One source.

    Args:
        name: What it is called, as a domain.
        file: The file, or the corpus, for complaints.
        columns: Cells by column: object [n], ``None`` where a cell is empty; or numbers [n, ...].
        marks: Where each row stands: a line, a number, an id.
        mark: What stands between file and mark: ``:`` before a line, ``, row `` before a number.
        inputs: The columns that a model reads, unless the configuration says otherwise.
        together: Columns whose equal values keep rows together.
        domain: The column that names a row's domain, if it has one.
        part: The part that all rows belong to, if the configuration says so.
        facts: For the data card: hash, size, licence.
    """

    name: str
    file: str
    columns: Mapping[str, NDArray[Any]]
    marks: NDArray[Any]
    mark: str = ":"
    inputs: tuple[str, ...] = ("text",)
    together: tuple[str, ...] = ()
    domain: str | None = None
    part: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.marks)

    def at(self, row: int) -> str:
        """Return where a row stands, for complaints.

        Example:
            >>> cells = np.array(["good", None], object)
            >>> Table(name="r", file="r.csv", columns={"text": cells}, marks=np.array([2, 3])).at(1)
            'r.csv:3'
        """
        return f"{self.file}{self.mark}{self.marks[row]}"

    def take(self, rows: NDArray[np.int64]) -> Table:
        """Return some of the rows."""
        columns = {name: cells[rows] for name, cells in self.columns.items()}
        return replace(self, columns=columns, marks=self.marks[rows])

    def cells(self, column: str, wanted_by: str) -> NDArray[Any]:
        """Return a column that must be there.

        Raises:
            TrainingError: If it is not.
        """
        if column not in self.columns:
            known = ", ".join(self.columns)
            raise TrainingError(
                self.file, f"has no column {column!r}, which {wanted_by} needs", f"it has {known}"
            )
        return self.columns[column]


def files(tables: Sequence[Table]) -> str:
    """Return the sources' names, for complaints about no row."""
    return ", ".join(table.file for table in tables)


def at(tables: Sequence[Table], row: int) -> str:
    """Return where a row stands, counted over all tables."""
    for table in tables:
        if row < len(table):
            return table.at(row)
        row -= len(table)
    raise IndexError(row)


def number(cell: object) -> float | None:
    """Return the finite number that a cell holds, as far as 32 bits go; or nothing.

    Example:
        >>> number("1e3"), number("1,5"), number(True), number("1e300")
        (1000.0, None, None, None)
    """
    if not isinstance(cell, str | int | float) or isinstance(cell, bool):
        return None
    try:
        read = float(cell)
    except (ValueError, OverflowError):
        return None
    return read if abs(read) <= _LARGEST else None


def objects(cells: Sequence[Any]) -> NDArray[Any]:
    """Return cells as an array of as many; numpy would unpack those that are sequences."""
    return np.fromiter(cells, object, len(cells))


def joined(tables: Sequence[Table], column: str) -> NDArray[Any]:
    """Return a column over several tables; tables without it have empty cells."""
    parts = [
        np.asarray(t.columns[column], object) if column in t.columns else np.full(len(t), None, object)
        for t in tables
    ]
    return np.concatenate(parts)


def digest(path: Path) -> dict[str, Any]:
    """Return a file's SHA-256 and size.

    Raises:
        TrainingError: If it cannot be read.
    """
    hashed, size = sha256(), 0
    try:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                hashed.update(block)
                size += len(block)
    except OSError as error:
        raise TrainingError(
            str(path), f"cannot be read: {error.strerror}", "mend data.source, or the file"
        ) from None
    return {"sha256": hashed.hexdigest(), "bytes": size}
