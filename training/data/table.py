"""Rows as they were read: columns of cells, and where each row stands in its file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Table", "at", "digest", "files", "joined", "named", "number", "objects", "read_bytes"]

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
    if not isinstance(cell, str | int | float | Decimal) or isinstance(cell, bool):
        return None
    try:
        read = float(cell)
    except (ValueError, OverflowError):
        return None
    return read if abs(read) <= _LARGEST else None


def named(cell: object) -> str:
    """Return what a cell names, the same however a file has it: a label, a group, a query, a domain.

    Example:
        >>> named(" good "), named(1), named(1.0), named(True)
        ('good', '1', '1', 'true')
    """
    if isinstance(cell, float) and cell.is_integer():  # whole numbers beside empty cells, as pandas has them
        cell = int(cell)
    return str(cell).lower() if isinstance(cell, bool) else str(cell).strip()


def objects(cells: Sequence[Any]) -> NDArray[Any]:
    """Return cells as an array of as many; numpy would unpack those that are sequences."""
    return np.fromiter(cells, object, len(cells))


def joined(tables: Sequence[Table], column: str) -> NDArray[Any]:
    """Return a column over several tables; tables without it have empty cells, and one of blanks is empty."""
    cells = [
        None if isinstance(cell, str) and not cell.strip() else cell
        for table in tables
        for cell in (table.columns[column] if column in table.columns else [None] * len(table))
    ]
    return objects(cells)


def read_bytes(path: Path) -> bytes:
    """Return what a source holds, read once: what is hashed is what is trained on.

    Raises:
        TrainingError: If it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise TrainingError(
            str(path), f"cannot be read: {error.strerror}", "mend data.source, or the file"
        ) from None


def digest(content: bytes) -> dict[str, Any]:
    """Return a file's SHA-256 and size."""
    return {"sha256": sha256(content).hexdigest(), "bytes": len(content)}
