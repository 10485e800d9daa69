"""What a model reads of each row: a text, a question and a context, or numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from training.data.dataset import Arrays, Pairs, Texts
from training.data.table import number
from training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from training.config import Data
    from training.data.dataset import Inputs
    from training.data.table import Table

__all__ = ["read_inputs"]

#: The column of images.
PIXELS = ("pixels",)


def read_inputs(tables: Sequence[Table], data: Data) -> Inputs:
    """Return the inputs of all rows.

    Raises:
        TrainingError: If sources differ in kind, or a cell is not what is read.
    """
    if data.features:
        return Arrays(np.concatenate([_numbers(table, data.features) for table in tables]))
    wanted = [_columns(table, data) for table in tables]
    for table, columns in zip(tables, wanted, strict=True):
        if len(columns) != len(wanted[0]) or (columns == PIXELS) != (wanted[0] == PIXELS):
            raise TrainingError(
                f"{tables[0].file} and {table.file}",
                f"one has {' and '.join(wanted[0])} to read, the other {' and '.join(columns)}",
                "train on sources of one kind, or name the columns in data",
            )
    if wanted[0] == PIXELS:
        return Arrays(np.concatenate([table.cells(*PIXELS, "the encoder") for table in tables]))
    texts = [
        tuple(text for table, names in zip(tables, wanted, strict=True) for text in _texts(table, names[i]))
        for i in range(len(wanted[0]))
    ]
    return Pairs(*texts) if len(texts) == 2 else Texts(*texts)


def _columns(table: Table, data: Data) -> tuple[str, ...]:
    if data.question is not None and data.context is not None:
        return data.question, data.context
    return (data.text,) if data.text is not None else table.inputs


def _texts(table: Table, column: str) -> list[str]:
    cells = table.cells(column, "the encoder")
    for row, cell in enumerate(cells):
        problem = _problem(cell)
        if problem:
            raise TrainingError(table.at(row), f"{column!r} {problem}", "write a text, or take the row out")
    return list(cells)


def _problem(cell: Any) -> str:
    """Return what keeps a cell from being a text, or nothing."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return "is empty"
    return "" if isinstance(cell, str) else f"is {cell!r:.60}, no text"


def _numbers(table: Table, columns: Sequence[str]) -> NDArray[np.float32]:
    values = np.empty((len(table), len(columns)), np.float32)
    for k, column in enumerate(columns):
        for row, cell in enumerate(table.cells(column, "data.features")):
            read = number(cell)
            if read is None:
                problem = f"{column!r} is {cell!r:.60}, no number"
                raise TrainingError(table.at(row), problem, "write a finite number, or take the row out")
            values[row, k] = read
    return values
