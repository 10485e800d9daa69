"""From files to a data set: parts without leaks, masks that survive, cards that tell."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.training.tables import dataset, reviews
from training.data import Arrays, Pairs, Part, Texts
from training.data.card import check
from training.data.mix import order
from training.errors import TrainingError

if TYPE_CHECKING:
    from pathlib import Path

    from training.data import Dataset

TASKS = "tasks: {label: {kind: classify}, stars: {kind: regress}}\n"
ONE = "data: {source: reviews.csv, split: {by: user, parts: [0.5, 0.25, 0.25]}}\n" + TASKS


def refused(folder: Path, text: str) -> str:
    with pytest.raises(TrainingError) as caught:
        dataset(folder, text)
    return str(caught.value)


def texts(data: Dataset) -> tuple[str, ...]:
    assert isinstance(data.inputs, Texts)
    return data.inputs.texts


def test_a_table_becomes_a_data_set(tmp_path: Path) -> None:
    """Rows keep their order; a user's rows stay together; arrays cannot be written to."""
    reviews(tmp_path)
    data = dataset(tmp_path, ONE)
    assert texts(data)[:2] == ("text 0", "text 1")
    assert [len(data.rows(part)) for part in Part] == [20, 10, 10]
    assert (data.parts[::2] == data.parts[1::2]).all()
    assert data.labels["label"].classes == ("bad", "good")
    assert data.labels["stars"].values[:3].tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="read-only"):
        data.labels["stars"].values[0] = 1


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["x", "X  ", "y", "z", "v", "w"]),
        st.sampled_from(["u1", "u2", "u3", "u4", ""]),
        st.sampled_from(["a", "b", ""]),
    ),
    max_size=30,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS, st.integers(0, 9))
def test_nothing_shared_is_in_two_parts_and_masks_survive(
    tmp_path: Path, rows: list[tuple[str, str, str]], seed: int
) -> None:
    """Whatever repeats: neither a user nor a text, in any case and spacing, is in two parts."""
    # so many that no group above is larger than a part
    sure = [(f"sure {i}", f"sure{i}", "ab"[i % 2]) for i in range(160)]
    table = [*rows, *sure]
    lines = [json.dumps({"text": t, "user": u, "label": c}) for t, u, c in table]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), "utf-8")
    data = dataset(
        tmp_path,
        f"data: {{source: rows.jsonl, split: {{by: user, parts: [0.6, 0.2, 0.2], seed: {seed}}}}}\n"
        "tasks: {label: {kind: classify}}\n",
    )
    assert len(data) == len(table)
    for at in (0, 1):
        for key in {" ".join(row[at].lower().split()) for row in table} - {""}:
            here = [i for i, row in enumerate(table) if " ".join(row[at].lower().split()) == key]
            assert len(set(data.parts[here])) == 1
            assert len(set(data.groups[here])) == 1
    read = data.labels["label"]
    assert [read.classes[v] if k else "" for v, k in zip(read.values, read.known, strict=True)] == [
        row[2] for row in table
    ]


def test_given_parts_are_kept(tmp_path: Path) -> None:
    """By a column, or file by file, where what has no part is dealt out."""
    for name in ("one", "two", "three"):
        lines = [f"{name} {i},{'ab'[i % 2]},{('train', 'validation', 'test')[i % 3]}" for i in range(12)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label,fold", *lines]), "utf-8")
    by_column = dataset(
        tmp_path, "data: {source: one.csv, split: {column: fold}}\ntasks: {label: {kind: classify}}\n"
    )
    assert by_column.parts.tolist() == [0, 1, 2] * 4
    by_file = dataset(
        tmp_path,
        "data: {source: [{file: one.csv, part: train}, {file: two.csv, part: test}, three.csv],\n"
        "       split: {parts: [0, 1, 0]}}\ntasks: {label: {kind: classify}}\n",
    )
    assert by_file.parts.tolist() == [0] * 12 + [2] * 12 + [1] * 12
    assert by_file.domain_names == ("one", "three", "two")
    assert by_file.domains.tolist() == [0] * 12 + [2] * 12 + [1] * 12


def test_groups_in_two_given_parts_are_refused_by_name(tmp_path: Path) -> None:
    """The negative control of the split: what a split by rows would do, with the rows that show it."""
    lines = [f"text {i},{'ab'[i % 2]},u{i // 4},{('train', 'test')[i % 2]}" for i in range(20)]
    (tmp_path / "r.csv").write_text("\n".join(["text,label,user,fold", *lines]), "utf-8")
    told = refused(
        tmp_path, "data: {source: r.csv, split: {by: user, column: fold}}\ntasks: {label: {kind: classify}}\n"
    )
    assert told.startswith(
        "data.split: 5 groups of rows are in more than one part: "
        "r.csv:2 (train) and r.csv:3 (test) share the user 'u0'; r.csv:6 (train)"
    )
    assert told.endswith("and 2 more; put each group into one part, or let the split deal them")


def test_a_repeated_text_in_two_given_parts_is_refused(tmp_path: Path) -> None:
    """Written otherwise it is the same text."""
    reviews(tmp_path, name="train.csv")
    (tmp_path / "test.csv").write_text("text,label\nText  7,good\nother,bad\n", "utf-8")
    told = refused(
        tmp_path,
        "data: {source: [{file: train.csv, part: train}, {file: test.csv, part: test}]}\n"
        "tasks: {label: {kind: classify}}\n",
    )
    assert "train.csv:9 (train) and test.csv:2 (test) share the text 'text 7'" in told


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (
            "{source: reviews.csv, text: txt}",
            "reviews.csv: has no column 'txt', which the encoder needs; it has text, ",
        ),
        (
            "{source: reviews.csv, split: {by: author}}",
            "reviews.csv: no source has the column 'author' to split by",
        ),
        (
            "{source: reviews.csv, split: {column: stars}}",
            "reviews.csv:2: 'stars' is '0', no part; write one of train, ",
        ),
        (
            "{source: reviews.csv, features: [stars, label]}",
            "reviews.csv:2: 'label' is 'bad', no number; write a finite",
        ),
        (
            "{source: big.csv, features: [text]}",
            "big.csv:2: 'text' is '1e300', no number; write",
        ),
        ("{source: reviews.csv, text: user}", "reviews.csv: the part"),
        (
            "{source: half.jsonl}",
            "half.jsonl:2: holds half a character, which no file of UTF-8 can hold; mend",
        ),
        ("{source: empty.csv}", "empty.csv:3: 'text' is empty; write a text, or take the row out"),
        ("{source: [reviews.csv, squad.json]}", "one has text to read, the other question and context"),
        (
            "{source: {file: reviews.csv, part: train}}",
            "reviews.csv: the part validation has no rows; give it rows",
        ),
    ],
)
def test_data_that_cannot_be_trained_on_are_refused(tmp_path: Path, data: str, problem: str) -> None:
    """Each with the file, the row where there is one, and the remedy."""
    reviews(tmp_path, rows=4 if "user}" in data else 40)
    (tmp_path / "half.jsonl").write_text('{"text": "a"}\n{"text": "\\ud83d"}\n', "utf-8")
    (tmp_path / "number.jsonl").write_text('{"text": 3}\n', "utf-8")
    (tmp_path / "big.csv").write_text("text,label\n1e300,x\n", "utf-8")
    (tmp_path / "empty.csv").write_text("text,label\na,x\n ,y\n", "utf-8")
    paragraph = {
        "context": "c",
        "qas": [{"id": "1", "question": "q", "answers": [{"text": "c", "answer_start": 0}]}],
    }
    (tmp_path / "squad.json").write_text(
        json.dumps({"data": [{"title": "t", "paragraphs": [paragraph]}]}), "utf-8"
    )
    encoder = "encoder: {name: tabular}\n" if "features" in data else ""
    text = f"data: {data.replace('squad.json', '{file: squad.json, format: squad}')}\n" + encoder + TASKS
    assert problem in refused(tmp_path, text)


def test_one_name_is_one_name_in_any_format(tmp_path: Path) -> None:
    """A number beside an empty cell, as pandas writes it, and blanks around it: one group, one class."""
    lines = [f"text {i},{i % 4},{i % 2}" for i in range(80)]
    (tmp_path / "a.csv").write_text("\n".join(["text,user,label", *lines]), "utf-8")
    frame = {
        "text": [f"other {i}" for i in range(80)],
        "user": [None, *(float(i % 4) for i in range(1, 80))],
        "label": [None, *(float(i % 2) for i in range(1, 80))],
    }
    polars.DataFrame(frame).write_parquet(tmp_path / "b.parquet")
    rest = [json.dumps({"text": f"rest {i}", "user": f" {i % 4} ", "label": f" {i % 2}"}) for i in range(8)]
    (tmp_path / "c.jsonl").write_text(
        "\n".join([*rest, '{"text": "blank", "user": " ", "label": " "}']), "utf-8"
    )
    data = dataset(
        tmp_path,
        "data: {source: [a.csv, b.parquet, c.jsonl], split: {by: user, parts: [0.5, 0.25, 0.25]}}\n"
        "tasks: {label: {kind: classify}}\n",
    )
    assert data.labels["label"].classes == ("0", "1")
    assert len(np.unique(data.groups)) == 6
    assert data.labels["label"].known.sum() == len(data) - 2


def test_numbers_become_arrays_and_pairs_stay_pairs(tmp_path: Path) -> None:
    """The shape of the input says which encoder fits."""
    reviews(tmp_path)
    numbers = dataset(
        tmp_path,
        "data: {source: reviews.csv, features: [stars, number]}\nencoder: {name: tabular}\n"
        "tasks: {label: {kind: classify}}\n",
    )
    assert isinstance(numbers.inputs, Arrays)
    assert numbers.inputs.values.shape == (40, 2)
    pairs = dataset(tmp_path, "data: {source: reviews.csv, question: text, context: user}\n" + TASKS)
    assert isinstance(pairs.inputs, Pairs)
    assert (pairs.parts[::2] == pairs.parts[1::2]).all()


def test_fewer_rows_are_whole_groups_and_leave_the_other_parts(tmp_path: Path) -> None:
    """A share of the training rows is part of a larger share; a trial run takes less of everything."""
    reviews(tmp_path, rows=200)
    whole, half, tenth = (
        dataset(tmp_path, ONE.replace("data: {", f"data: {{train_share: {share}, "))
        for share in (1.0, 0.5, 0.1)
    )
    assert [len(data.rows(0)) for data in (whole, half, tenth)] == [100, 50, 10]
    assert [len(data.rows(2)) for data in (whole, half, tenth)] == [50, 50, 50]
    trained = [{texts(data)[row] for row in data.rows(0)} for data in (whole, half, tenth)]
    assert trained[0] > trained[1] > trained[2]
    trial = dataset(tmp_path, ONE.replace("data: {", "data: {max_rows: 20, "))
    assert 20 <= len(trial) <= 24


def test_weights_even_out_domains(tmp_path: Path) -> None:
    """A hundredth of the rows has a tenth of the say, and the mean weight over training rows is 1."""
    reviews(tmp_path, name="many.csv", rows=400)
    lines = "\n".join(f"few {i},{'good' if i % 2 else 'bad'}" for i in range(4))
    (tmp_path / "few.csv").write_text(f"text,label\n{lines}\n", "utf-8")
    (tmp_path / "rest.csv").write_text("text,label\nrest 1,good\nrest 2,bad\n", "utf-8")
    data = dataset(
        tmp_path,
        "data: {source: [{file: many.csv, part: train}, {file: few.csv, part: train},\n"
        "                {file: rest.csv, part: validation}]}\n"
        "tasks: {label: {kind: classify, sample_weight: inverse_sqrt_size}, stars: {kind: regress}}\n",
    )
    weights = data.labels["label"].weights
    assert weights[:400].sum() / weights[400:404].sum() == pytest.approx(10)
    assert weights[data.rows(0)].mean() == pytest.approx(1)
    assert (data.labels["stars"].weights == 1).all()


def test_weights_even_out_tasks(tmp_path: Path) -> None:
    """Each task in a table of its own: the small one is heard too, and the mean over both is 1."""
    reviews(tmp_path, name="many.csv", rows=400)
    lines = "\n".join(f"few {i},{'ab'[i % 2]}" for i in range(4))
    (tmp_path / "few.csv").write_text(f"text,kind\n{lines}\n", "utf-8")
    (tmp_path / "rest.csv").write_text("text,label,kind\nrest 1,good,a\n", "utf-8")
    weighed = "{kind: classify, sample_weight: inverse_sqrt_size}"
    data = dataset(
        tmp_path,
        "data: {source: [{file: many.csv, part: train}, {file: few.csv, part: train},\n"
        "                {file: rest.csv, part: validation}]}\n"
        f"tasks: {{label: {weighed}, kind: {weighed}}}\n",
    )
    many, few = (data.labels[task].weights[data.labels[task].known][:-1] for task in ("label", "kind"))
    assert many.sum() / few.sum() == pytest.approx(10)
    assert np.concatenate([many, few]).mean() == pytest.approx(1)


def test_the_card_counts_and_hashes(tmp_path: Path) -> None:
    """By part, task and class; it is fit for JSON."""
    path = reviews(tmp_path, "unlabelled,,,u99,")
    data = dataset(tmp_path, ONE.replace("reviews.csv", "{file: reviews.csv, licence: ours}"))
    card = json.loads(json.dumps(data.card))
    (source,) = card["sources"]
    assert source["bytes"] == path.stat().st_size
    assert len(source["sha256"]) == 64
    assert source["licence"] == "ours"
    assert sum(card["rows"].values()) == 41
    assert sum(card["tasks"]["label"]["labelled"].values()) == 40
    assert sum(n for of_class in card["tasks"]["label"]["classes"].values() for n in of_class.values()) == 40
    assert card["split"]["by"] == ["shares 0.5, 0.25, 0.25", "group user", "repeated inputs"]
    check(card, data)


@pytest.mark.parametrize(
    ("was", "becomes", "what"),
    [
        ("text 5,good", "text 5,bad", "task label"),
        ("text 5,", "text five,", "inputs"),
        ("good,3,u4", "good,,u4", "task stars"),
    ],
)
def test_changed_data_fail_the_card(tmp_path: Path, was: str, becomes: str, what: str) -> None:
    """The negative control: one label swapped, one text mended, one label taken away."""
    path = reviews(tmp_path)
    before = dataset(tmp_path, ONE)
    path.write_text(
        path.read_text("utf-8").replace("text 9,good,4", "text 9,good,3").replace(was, becomes), "utf-8"
    )
    path.write_text(path.read_text("utf-8").replace("text 9,good,3", "text 9,good,4"), "utf-8")
    after = dataset(tmp_path, ONE)
    with pytest.raises(TrainingError, match=rf"not those of the run: .*{what}.* changed"):
        check(before.card, after)
    check(before.card, before)


@pytest.mark.parametrize(("column", "what"), [("query", "lists of gain"), ("market", "domains")])
def test_other_lists_and_domains_fail_the_card(tmp_path: Path, column: str, what: str) -> None:
    """Inputs, labels and parts are as they were, and each list and domain has as many rows as before."""
    names = ["text", "gain", "query", "market", "part"]
    rows = [
        [f"text {i}", i % 3, f"q{i // 4}", f"m{i % 2}", "train" if i < 16 else "validation"]
        for i in range(24)
    ]
    text = "data: {source: r.csv, domain: market, split: {column: part}}\ntasks: {gain: {kind: rank}}\n"

    def written() -> Dataset:
        lines = [",".join(map(str, row)) for row in [names, *rows]]
        (tmp_path / "r.csv").write_text("\n".join(lines), "utf-8")
        return dataset(tmp_path, text)

    card = written().card
    place = names.index(column)
    rows[3][place], rows[4][place] = rows[4][place], rows[3][place]
    with pytest.raises(TrainingError, match=f"not those of the run: {what} changed"):
        check(card, written())


def test_another_seed_fails_the_card(tmp_path: Path) -> None:
    """A row that was trained on must not become a test row half-way."""
    reviews(tmp_path)
    with pytest.raises(TrainingError, match="not those of the run: split changed"):
        check(dataset(tmp_path, ONE).card, dataset(tmp_path, ONE.replace("user,", "user, seed: 1,")))


def test_an_epoch_goes_once_over_the_rows_that_have_a_label(tmp_path: Path) -> None:
    """Of any task; the card counts the same rows."""
    reviews(tmp_path, *(f"more {i},,1,m{i}," for i in range(10)))
    data = dataset(tmp_path, ONE)
    assert sum(data.card["rows"].values()) == 50
    assert sum(data.card["tasks"]["label"]["labelled"].values()) == 40
    assert order(data, batch=8).per_epoch == -(-data.card["rows"]["train"] // 8)
    alone = replace(data, labels={"label": data.labels["label"]})
    assert order(alone, batch=8).per_epoch == -(-data.card["tasks"]["label"]["labelled"]["train"] // 8)


def test_lists_are_drawn_whole_and_unlabelled_rows_not_at_all(tmp_path: Path) -> None:
    """A row without any label teaches nothing; a list that is torn cannot be ranked."""
    lines = [f"text {i},{i % 3},q{i // 4}" for i in range(80)] + [f"more {i},," for i in range(20)]
    (tmp_path / "r.csv").write_text("\n".join(["text,gain,query", *lines]), "utf-8")
    data = dataset(tmp_path, "data: {source: r.csv}\ntasks: {gain: {kind: rank}}\n")
    queries = data.labels["gain"].queries
    assert queries is not None
    for step in order(data, batch=8).steps(2):
        assert len(step) in (4, 8)
        assert all((queries[step] == query).sum() == 4 for query in np.unique(queries[step]))
