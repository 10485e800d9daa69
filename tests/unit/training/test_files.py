"""Tables from files: cells as they stand, and complaints that name the line."""

from __future__ import annotations

import csv
import io
import json
import os
import threading
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import polars
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.config import Source
from training.data.files import read_file
from training.errors import TrainingError

if TYPE_CHECKING:
    from pathlib import Path

    from training.data.table import Table

CELL = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)


def read(folder: Path, name: str, content: bytes | str, **more: Any) -> Table:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_file(Source(file=path, **more))


@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=8))
def test_csv_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    """Whatever stands in a cell, line ends too; a row's mark is the line that it begins in."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(["a", "b"])
    begins = []
    for row in rows:
        begins.append(len(io.StringIO(stream.getvalue(), newline=None).readlines()) + 1)
        writer.writerow(row)
    table = read(tmp_path_factory.mktemp("t"), "t.csv", stream.getvalue())
    assert [tuple(cell or "" for cell in row) for row in zip(*table.columns.values(), strict=True)] == rows
    assert table.marks.tolist() == begins


def test_an_empty_cell_is_none_in_every_format(tmp_path: Path) -> None:
    """And in JSONL a missing key is an empty cell."""
    frame = polars.DataFrame({"text": ["a", "b", "c"], "label": ["x", None, ""]})
    frame.write_parquet(tmp_path / "t.parquet")
    lines = '{"text": "a", "label": "x"}\n\n{"text": "b", "label": ""}\n{"text": "c"}\n'
    for table in (
        read(tmp_path, "t.csv", "\ufefftext,label\na,x\n\nb,\nc,\n"),
        read(tmp_path, "t.jsonl", lines),
        read_file(Source(file=tmp_path / "t.parquet")),
    ):
        assert table.columns["text"].tolist() == ["a", "b", "c"]
        assert table.columns["label"].tolist() == ["x", None, None]
    assert [read(tmp_path, "t.jsonl", lines).at(row) for row in range(3)] == [
        *("t.jsonl:1", "t.jsonl:3", "t.jsonl:4")
    ]
    assert read_file(Source(file=tmp_path / "t.parquet")).at(2) == "t.parquet, row 3"


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("t.csv", "", "t.csv: is empty; it needs a line with the columns' names, and rows"),
        ("t.csv", "a,b\n", "t.csv: has no rows; mend data.source, or the file"),
        ("t.csv", "a,a\n1,2\n", "t.csv:1: has the column 'a' twice; name each column, differently"),
        ("t.csv", "a,\n1,2\n", "t.csv:1: has a column without a name; name each column, differently"),
        (
            "t.csv",
            'a,b\n1,2\n"x\ny",3\n4\n',
            "t.csv:5: has 1 cells for 2 columns; mend the row: a comma in a cell needs quotes",
        ),
        (
            "t.csv",
            'a,b\n1,2\n"x,3\n',
            "t.csv:3: is no CSV: unexpected end of data; mend its quotes, or use JSONL for very long cells",
        ),
        ("t.csv", b"a,b\n1,\xff\n", "t.csv:2: is not UTF-8 text; convert the file to UTF-8"),
        ("t.jsonl", '{"a": 1}\n[1]\n', "t.jsonl:2: is no JSON object; one object a line"),
        ("t.jsonl", '{"a": 1}\n{"a": \n', "t.jsonl:2: is no JSON: Expecting value: line 1 column 7 (char 6)"),
        ("t.jsonl", '{"a": 1}\n{"a": 1, "a": 2}\n', "t.jsonl:2: is no JSON: it says 'a' twice; one object"),
        ("t.jsonl", '{"a": 1}\n{"a": ["\\ud83d"]}\n', "t.jsonl:2: holds half a character, which no file of"),
        ("t.jsonl", '{"\\ud83d": 1}\n', "t.jsonl:1: holds half a character, which no file of UTF-8 can hold"),
        (
            "t.csv",
            "a;b\n1;2\n",
            "t.csv:1: has the one column 'a;b'; put commas between cells, or write JSONL",
        ),
        ("t.csv", "a\tb\n1\t2\n", "t.csv:1: has the one column 'a\\tb'; put commas between cells"),
        ("t.parquet", b"PAR1", "t.parquet: is no Parquet file: "),
    ],
)
def test_a_damaged_file_is_refused_by_line(
    tmp_path: Path, name: str, content: bytes | str, problem: str
) -> None:
    """Never read as something that it does not say: a short row is no row of unlabelled cells."""
    with pytest.raises(TrainingError) as caught:
        read(tmp_path, name, content)
    assert str(caught.value).startswith(problem)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """With the path as it was looked for."""
    with pytest.raises(TrainingError, match=r"none\.csv: cannot be read: No such file"):
        read_file(Source(file=tmp_path / "none.csv"))


def test_a_file_is_found_by_its_own_name(tmp_path: Path) -> None:
    """Capitals, a link to a name without suffix, brackets that would be a pattern elsewhere."""
    polars.DataFrame({"text": ["a"]}).write_parquet(tmp_path / "0f3a")
    (tmp_path / "x[1].parquet").symlink_to("0f3a")
    (tmp_path / "A.CSV").write_text("text\nb\n", "utf-8")
    context = {"base": tmp_path}
    for name, text in (("x[1].parquet", "a"), ("A.CSV", "b")):
        table = read_file(Source.model_validate(name, context=context))
        assert (table.file, table.columns["text"].tolist()) == (name, [text])
    (tmp_path / "round.csv").symlink_to("round.csv")
    with pytest.raises(TrainingError, match=r"round\.csv: cannot be read: Too many levels"):
        read_file(Source.model_validate("round.csv", context=context))


def test_a_file_is_hashed_as_it_was_read(tmp_path: Path) -> None:
    """Once: what comes from a pipe cannot be read again, and a file may change in between."""
    os.mkfifo(tmp_path / "t.csv")
    content = b"text\na\n"
    writer = threading.Thread(target=(tmp_path / "t.csv").write_bytes, args=(content,))
    writer.start()
    table = read_file(Source(file=tmp_path / "t.csv"))
    writer.join()
    assert table.columns["text"].tolist() == ["a"]
    assert table.facts["sha256"] == sha256(content).hexdigest()


def test_a_parquet_file_with_any_damaged_byte_is_a_table_or_refused(tmp_path: Path) -> None:
    """Also where its reader panics, which is no exception that a program catches by habit."""
    buffer = io.BytesIO()
    polars.DataFrame({"text": [f"t {i}" for i in range(40)], "n": [[i] for i in range(40)]}).write_parquet(
        buffer
    )
    content = buffer.getvalue()
    refused = 0
    for place in range(len(content)):
        for value in (0, 255):
            damaged = content[:place] + bytes([value]) + content[place + 1 :]
            try:
                read(tmp_path, "t.parquet", damaged)
            except TrainingError as error:
                assert str(error).startswith("t.parquet: ")
                refused += 1
    assert refused > len(content)


def squad(*asked: dict[str, Any], context: str = "Ann met Bob. Bob left.") -> str:
    questions = [{"id": str(i), "question": "Who?", **about} for i, about in enumerate(asked)]
    paragraph = {"context": context, "qas": questions}
    return json.dumps({"version": "v2.0", "data": [{"title": "t", "paragraphs": [paragraph]}]})


def answer(text: str, begin: int) -> dict[str, Any]:
    return {"text": text, "answer_start": begin}


def test_files_of_squad_give_spans(tmp_path: Path) -> None:
    """Several answers, one twice, none because there is none (version 2), none because nobody said."""
    content = squad(
        {
            "answers": [
                answer("Bob", 13),
                answer("Bob", 8),
                answer("Bob", 8),
            ]
        },
        {"answers": [], "is_impossible": True},
        {},
    )
    table = read(tmp_path, "dev.json", content, format="squad")
    assert table.columns["answer"].tolist() == [((13, 16), (8, 11)), (), None]
    assert table.columns["document"].tolist() == ["t"] * 3
    assert table.at(1) == "dev.json, question 1"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            squad({"answers": [answer("Bob", 7)]}),
            "question 0: the answer 'Bob' does not stand at 7",
        ),
        (
            squad({}, {"answers": [{"text": "Bob", "answer_start": "8"}]}),
            "question 1: the answer 'Bob' does not stand at 8; mend answer_start",
        ),
        (squad({}, {"answers": [answer("", 8)]}), "question 1: the answer '' does not stand at 8"),
        (squad({}, {"question": "\ud83d"}), "question 1: holds half a character, which no file of UTF-8"),
        ("{}", "is no file of SQuAD (KeyError: 'data')"),
        ('{"data": [{"paragraphs": [{}]}]}', "is no file of SQuAD (KeyError: 'context')"),
        ("not JSON", "is no file of SQuAD (JSONDecodeError"),
        (squad(), "has no questions"),
    ],
)
def test_a_damaged_file_of_squad_is_refused(tmp_path: Path, content: str, problem: str) -> None:
    """An answer that does not stand where it says would train a reader of nonsense."""
    with pytest.raises(TrainingError) as caught:
        read(tmp_path, "dev.json", content, format="squad")
    assert problem in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["data", "paragraphs", "context", "qas", "id", "question", "answers", "text", "answer_start"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    st.sampled_from(["csv", "jsonl", "parquet", "squad"]),
    st.binary(max_size=60)
    | st.text('ab,"\n\r{}:1', max_size=40).map(str.encode)
    | JSON.map(lambda v: json.dumps(v).encode()),
)
def test_any_bytes_are_a_table_or_refused(
    tmp_path_factory: pytest.TempPathFactory, form: str, content: bytes
) -> None:
    """Nothing but our error, and no table without rows."""
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    try:
        table = read(folder, "t", content, format=form)
    except TrainingError as error:
        assert str(error).startswith("t")
    else:
        assert len(table)
        assert all(len(cells) == len(table) for cells in table.columns.values())
