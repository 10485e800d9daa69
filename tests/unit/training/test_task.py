"""From cells to labels: unlabelled stays a mask, and what is no label is refused by row."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.config import Task
from training.data import Kind, Labels
from training.data.table import Table, objects
from training.data.task import read_task
from training.errors import TrainingError

ADD = "change split.seed, add rows of it, or take the class out of labels and the rows"


def table(**columns: list[Any]) -> Table:
    cells = {name: objects(column) for name, column in columns.items()}
    return Table(
        name="t", file="t.csv", columns=cells, marks=np.arange(2, 2 + len(next(iter(cells.values()))))
    )


def labels(
    *tables: Table, train: int | None = None, contexts: tuple[str, ...] = (), task: str = "t", **about: Any
) -> Labels:
    rows = sum(map(len, tables))
    return read_task(
        task, Task(**about), tables, contexts, np.arange(rows) < (rows if train is None else train)
    )


@given(st.lists(st.sampled_from(["a", "b", None]), max_size=20))
def test_an_empty_cell_is_a_mask_whatever_the_classes(cells: list[str | None]) -> None:
    """Known exactly where something stands; and there, the class that stands there."""
    read = labels(table(t=["a", "b", *cells]), kind="classify")
    assert read.classes == ("a", "b")
    assert read.known[2:].tolist() == [cell is not None for cell in cells]
    assert [read.classes[v] for v, known in zip(read.values, read.known, strict=True) if known][2:] == [
        cell for cell in cells if cell
    ]


def test_a_source_without_the_column_is_unlabelled() -> None:
    """Sources may serve different tasks."""
    read = labels(table(t=["a", "b"]), table(other=["x", "y", "z"]), kind="classify")
    assert read.known.tolist() == [True, True, False, False, False]


def test_classes_keep_the_order_of_labels() -> None:
    """Or are sorted; numbers and truth values are names too."""
    assert labels(table(t=["b", "a", "a"]), kind="classify", labels=("b", "a")).values.tolist() == [0, 1, 1]
    assert labels(table(t=[10, 2, True]), kind="classify").classes == ("10", "2", "true")


def test_multilabel_reads_one_column_or_several() -> None:
    """The separator alone is a row that has none of the classes; an empty cell is not known."""
    one = labels(table(t=["a|b", "b", "|", None]), kind="multilabel")
    assert one.values.tolist() == [[1, 1], [0, 1], [0, 0], [0, 0]]
    assert one.known.tolist() == [True, True, True, False]
    several = labels(table(a=["1", "0", None], b=[1, True, None]), kind="multilabel", columns=("a", "b"))
    assert several.values.tolist() == [[1, 1], [0, 1], [0, 0]]
    assert several.known.tolist() == [True, True, False]
    assert labels(table(t=[["a"], ["b", "a"], []]), kind="multilabel").values.tolist() == [
        [1, 0],
        [1, 1],
        [0, 0],
    ]


def test_rank_numbers_lists_over_all_sources() -> None:
    """Rows of one query belong together wherever they stand."""
    read = labels(table(t=["1", "0"], query=["q", "r"]), table(t=[2.5, None], query=["r", None]), kind="rank")
    assert read.kind is Kind.RANK
    assert read.values.tolist() == [1, 0, 2.5, 0]
    assert read.queries is not None
    assert read.queries.tolist() == [0, 1, 1, -1]


def test_a_span_is_found_where_it_stands() -> None:
    """By its text if that is once there, by its begin otherwise; spans of a corpus as they are."""
    contexts = ("Ann met Bob.", "Bob met Bob.", "Ann met Bob.", "nobody")
    cells = ["Bob", "Bob", ((0, 3), (8, 11)), ()]
    read = labels(table(t=cells, t_start=[None, "8", None, None]), contexts=contexts, kind="span")
    assert read.values.tolist() == [[8, 11], [8, 11], [0, 3], [-1, -1]]
    assert read.accepted[2] == ((0, 3), (8, 11))
    assert read.known.all()


@pytest.mark.parametrize(
    ("columns", "about", "problem"),
    [
        (
            {"lable": ["a", "b"]},
            {"kind": "classify", "column": "label"},
            (
                "t.csv: no source has the column 'label' of task 't'; did you mean 'lable'?; "
                "mend the task's column; there are lable"
            ),
        ),
        (
            {"t": ["good", "bad", "god"]},
            {"kind": "classify", "labels": ("good", "bad")},
            (
                "t.csv:4: unknown label 'god'; did you mean 'good'? (task 't'); "
                "mend the row, or add it to labels: good, bad"
            ),
        ),
        (
            {"t": ["a", "a", "b"]},
            {"kind": "classify", "labels": ("a", "b", "c")},
            f"t.csv: no training row of task 't' has the class 'c'; {ADD}",
        ),
        (
            {"t": ["a", "a"]},
            {"kind": "classify"},
            "t.csv: task 't' has only the class 'a'; label rows of another class too",
        ),
        (
            {"t": [None, None]},
            {"kind": "classify"},
            "t.csv: no training row has a label for task 't'; label some, or leave the task out",
        ),
        (
            {"t": [None, None]},
            {"kind": "regress"},
            "t.csv: no training row has a label for task 't'; label some, or leave the task out",
        ),
        (
            {"t": ["1", "1,5"]},
            {"kind": "regress"},
            "t.csv:3: '1,5' is no number (task 't'); write a finite number, or leave it empty",
        ),
        (
            {"t": [1.0, float("nan")]},
            {"kind": "regress"},
            "t.csv:3: nan is no number (task 't'); write a finite number, or leave it empty",
        ),
        (
            {"t": ["1e300"]},
            {"kind": "regress"},
            "t.csv:2: '1e300' is no number (task 't'); write a finite number, or leave it empty",
        ),
        (
            {"t": [{"a": 1}, "b"]},
            {"kind": "classify"},
            "t.csv:2: {'a': 1} names no class (task 't'); write a name, or leave it empty",
        ),
        (
            {"a": ["1", "1"], "b": ["1", None]},
            {"kind": "multilabel", "columns": ("a", "b")},
            "t.csv:3: lacks 'b', unlike 'a' (task 't'); fill all columns of the task, or none",
        ),
        (
            {"a": ["1", "2"]},
            {"kind": "multilabel", "columns": ("a",)},
            "t.csv:3: 'a' is '2' (task 't'); write 0 or 1, or leave it empty",
        ),
        (
            {"a": ["1", "0"], "b": ["0", "0"]},
            {"kind": "multilabel", "columns": ("a", "b")},
            f"t.csv: no training row of task 't' has the class 'b'; {ADD}",
        ),
        (
            {"t": ["-1"], "query": ["q"]},
            {"kind": "rank"},
            "t.csv:2: the relevance -1 is negative (task 't'); shift them to 0 and more",
        ),
        (
            {"t": ["1", "1"], "query": ["q", None]},
            {"kind": "rank"},
            "t.csv:3: has a relevance, and no 'query' (task 't'); name its query, or empty both",
        ),
        (
            {"t": ["1", "1", "2"], "query": ["q", "q", "r"]},
            {"kind": "rank"},
            (
                "t.csv: no training list of task 't' has rows of different relevance; "
                "rate rows of one query differently, or name another column in the task's query"
            ),
        ),
        (
            {"t": ["|", "|"]},
            {"kind": "multilabel"},
            "t.csv: no training row of task 't' has any class; label some, or leave the task out",
        ),
        (
            {"t": ["a", "b\nc"]},
            {"kind": "classify"},
            "t.csv:3: the label 'b\\nc' is not one line (task 't'); write a name without line ends",
        ),
        (
            {"t": ["Eve"]},
            {"kind": "span"},
            "t.csv:2: the answer 'Eve' is not in the context (task 't'); copy it as it stands there",
        ),
        (
            {"t": ["Bob"]},
            {"kind": "span"},
            (
                "t.csv:2: the answer 'Bob' stands more than once in the context (task 't'); "
                "say where it begins in a column t_start"
            ),
        ),
        (
            {"t": ["Bob"], "t_start": ["3"]},
            {"kind": "span"},
            "t.csv:2: the answer 'Bob' does not stand at 3 (task 't'); mend one of the two",
        ),
    ],
)
def test_what_is_no_label_is_refused_by_row(
    columns: dict[str, list[Any]], about: dict[str, Any], problem: str
) -> None:
    """File, line, what is wrong and what to do."""
    with pytest.raises(TrainingError) as caught:
        labels(table(**columns), contexts=("Bob met Bob.",) * 3, **about)
    assert str(caught.value) == problem


def test_a_span_needs_a_context() -> None:
    """Rows of one text have none; it is the configuration that must say more."""
    with pytest.raises(TrainingError, match=r"the rows are no pairs; name data\.question and data\.context"):
        labels(table(t=["Bob"]), kind="span")


def test_blanks_alone_are_an_empty_cell() -> None:
    """Not a class without a name, not a row that has none of the classes, not an answer."""
    assert labels(table(t=["a", " ", "b"]), kind="classify").classes == ("a", "b")
    assert labels(table(t=["a", "\t", "|"]), kind="multilabel").known.tolist() == [True, False, True]
    assert labels(table(t=["1", " "]), kind="regress").known.tolist() == [True, False]
    assert labels(table(t=["Bob", "  "]), contexts=("Bob.",) * 2, kind="span").known.tolist() == [True, False]


def test_a_number_is_a_number_in_any_type() -> None:
    """As databases write them into Parquet, too."""
    assert labels(table(t=[Decimal("1.50"), "2", 3]), kind="regress").values.tolist() == [1.5, 2, 3]
    assert labels(table(t=[1, 1.0, "1", 0.0]), kind="classify").classes == ("0", "1")


def test_a_class_that_only_others_have_is_no_class() -> None:
    """Classes come from training rows; one that only a test row has cannot have been learnt."""
    with pytest.raises(TrainingError, match=r"t\.csv:4: unknown label 'c'.*no training row has it"):
        labels(table(t=["a", "b", "c"]), train=2, kind="classify")
