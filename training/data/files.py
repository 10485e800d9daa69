"""Tables from files: CSV and JSONL line by line, so that a complaint can name the line; Parquet by polars.

An empty cell is ``None``. A CSV file has a head line, commas and RFC 4180's quotes; its cells are text.
"""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from training.data.squad import read_squad
from training.data.table import Table, digest, objects, read_bytes
from training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from training.config import Source

__all__ = ["read_file"]


def read_file(source: Source) -> Table:
    """Read a file of any format that a source may have.

    Raises:
        TrainingError: If it cannot be read, or is damaged.
    """
    if source.file is None:
        raise ValueError("the source is no file")
    path, file = source.file, source.file.name
    content = read_bytes(path)
    facts = {**digest(content), "licence": source.licence}
    common: dict[str, Any] = {
        "name": source.domain or path.stem,
        "file": file,
        "part": source.part,
        "facts": facts,
    }
    if source.read_as == "squad":
        columns, ids = read_squad(file, content)
        return Table(
            **common,
            columns=columns,
            marks=ids,
            mark=", question ",
            inputs=("question", "context"),
            together=("document",),
        )
    if source.read_as == "parquet":
        columns = _parquet(file, content)
        rows = np.arange(1, len(next(iter(columns.values()), ())) + 1)
        table = Table(**common, columns=columns, marks=rows, mark=", row ")
    else:
        read = {"csv": _csv, "jsonl": _jsonl}[source.read_as]
        columns, lines = read(file, _text(file, content))
        table = Table(**common, columns=columns, marks=lines)
    if not len(table):
        raise TrainingError(file, "has no rows", "mend data.source, or the file")
    return table


def _text(file: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise TrainingError(f"{file}:{line}", "is not UTF-8 text", "convert the file to UTF-8") from None


def _csv(file: str, text: str) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    begin = 1
    try:
        for row in reader:
            if row:  # a blank line is none
                rows.append(row)
                lines.append(begin)
            if row and len(row) != len(rows[0]):
                _uneven(f"{file}:{begin}", len(row), rows[0])
            begin = reader.line_num + 1
    except csv.Error as error:
        raise TrainingError(
            f"{file}:{begin}", f"is no CSV: {error}", "mend its quotes, or use JSONL for very long cells"
        ) from None
    if not rows:
        raise TrainingError(file, "is empty", "it needs a line with the columns' names, and rows")
    head = rows[0]
    if len(head) == 1 and any(mark in head[0] for mark in ";\t"):
        problem = f"has the one column {head[0]!r}"
        raise TrainingError(f"{file}:{lines[0]}", problem, "put commas between cells, or write JSONL")
    for name in head:
        if not name or head.count(name) > 1:
            problem = f"has the column {name!r} twice" if name else "has a column without a name"
            raise TrainingError(f"{file}:{lines[0]}", problem, "name each column, differently")
    cells = zip(*rows[1:], strict=True) if len(rows) > 1 else ([] for _ in head)
    columns = {
        name: objects([cell or None for cell in column]) for name, column in zip(head, cells, strict=True)
    }
    return columns, np.array(lines[1:], np.int64)


def _uneven(place: str, found: int, head: Sequence[str]) -> NoReturn:
    raise TrainingError(
        place, f"has {found} cells for {len(head)} columns", "mend the row: a comma in a cell needs quotes"
    )


def _jsonl(file: str, text: str) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_once)
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            problem = "holds half a character, which no file of UTF-8 can hold"
            raise TrainingError(f"{file}:{number}", problem, "mend its \\ud... escapes") from None
        except (ValueError, RecursionError) as error:
            raise TrainingError(f"{file}:{number}", f"is no JSON: {error}", "one object a line") from None
        if not isinstance(row, dict):
            raise TrainingError(f"{file}:{number}", "is no JSON object", "one object a line")
        rows.append(row)
        lines.append(number)
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: objects([_filled(row.get(name)) for row in rows]) for name in names}
    return columns, np.array(lines, np.int64)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it says {next(name for name in names if names.count(name) > 1)!r} twice")
    return found


def _parquet(file: str, content: bytes) -> dict[str, NDArray[Any]]:
    import polars  # noqa: PLC0415 - 0.3 s, and few files are Parquet

    try:
        frame = polars.read_parquet(io.BytesIO(content))
        columns = {column.name: column.to_list() for column in frame.get_columns()}
    # it panics over some damages, which is no Exception
    except (OSError, polars.exceptions.PolarsError, polars.exceptions.PanicException) as error:
        first = str(error).partition("\n")[0]
        raise TrainingError(file, f"is no Parquet file: {first}", "mend data.source, or the file") from None
    return {name: objects([_filled(cell) for cell in cells]) for name, cells in columns.items()}


def _filled(cell: Any) -> Any:
    return None if cell == "" else cell
