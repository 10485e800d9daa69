"""Numbers are answered in words where the config says so."""

from __future__ import annotations

import doctest
from typing import TYPE_CHECKING

import numpy as np
import pytest

from protos.errors import AccordError, Reason
from tests import models, texts
from workers.model.errors import ModelError
from workers.model.interface import declared
from workers.model.ready import make_ready
from workers.model.repository import find
from workers.model.session import load
from workers.model.text import groups, strings

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from workers.model.session import Session

LABELLED = """
input [ { name: "x" data_type: TYPE_%s dims: [-1] } ]
output [ { name: "label" data_type: TYPE_STRING dims: [-1] label_filename: "labels.txt" } ]
"""
DECODED = """
max_batch_size: 16
input [ { name: "text" data_type: TYPE_STRING dims: [1] } ]
output [ { name: "ids" data_type: TYPE_STRING dims: [1] } ]
"""


def loaded(repository: Path, name: str = "m") -> Session:
    session = load(find(repository, name), threads="1")
    make_ready(session)
    return session


@pytest.mark.parametrize("module", [groups, strings])
def test_examples_are_true(module: ModuleType) -> None:
    """What the docstring shows is what the function returns."""
    found = doctest.testmod(module)
    assert found.attempted >= 1
    assert found.failed == 0


@pytest.mark.parametrize("datatype", ["INT64", "INT32", "UINT8"])
def test_indices_are_answered_as_labels(tmp_path: Path, datatype: str) -> None:
    """The spec says strings and which there are; what is declared is what is served."""
    files = {"labels.txt": "negative\nneutral\npositive\n"}
    models.write_model(tmp_path, "m", texts.picks(datatype), config=LABELLED % datatype, files=files)
    session = loaded(tmp_path)
    (output,) = session.spec.outputs
    assert (output.datatype, output.labels) == ("BYTES", ("negative", "neutral", "positive"))
    assert declared(session.files) is not None
    assert declared(session.files).outputs == session.spec.outputs  # type: ignore[union-attr]
    answer = session.run({"x": np.array([2, 0, 1, 1]).astype(datatype.lower())})["label"]
    assert answer.tolist() == [b"positive", b"negative", b"neutral", b"neutral"]
    assert session.run({"x": np.zeros(0, datatype.lower())})["label"].shape == (0,)


@pytest.mark.parametrize("index", [3, -1, 2**40])
def test_an_index_without_a_label_is_the_models_failure(tmp_path: Path, index: int) -> None:
    """INTERNAL; the numbers go to the log, and the caller is told nothing of them."""
    models.write_model(
        tmp_path, "m", texts.picks(), config=LABELLED % "INT64", files={"labels.txt": "a\nb\nc\n"}
    )
    session = loaded(tmp_path)
    with pytest.raises(AccordError) as caught:
        session.run({"x": np.array([0, index])})
    assert caught.value.reason is Reason.INTERNAL
    assert caught.value.message == "'m' failed while it computed"
    assert str(index) in str(caught.value.__cause__)


def test_token_ids_are_answered_as_texts(tmp_path: Path) -> None:
    """One for each row, without special tokens, whatever ran together."""
    texts.write_text_model(tmp_path, "m", texts.echoes(), config=DECODED, tokens=texts.tokenizer(longest=60))
    session = loaded(tmp_path)
    (output,) = session.spec.outputs
    assert (output.datatype, output.shape) == ("BYTES", (-1, 1))
    assert session.spec.independent is True
    sent = ["w1 w2", "", "The Film", " ".join(["w3"] * 40)]
    array = np.array([[text.encode()] for text in sent], object)
    answer = session.run({"text": array})["ids"]
    assert answer.tolist() == [[text.lower().encode()] for text in sent]
    assert session.run({"text": array[:0]})["ids"].shape == (0, 1)


def test_a_tokenizer_may_serve_the_outputs_alone(tmp_path: Path) -> None:
    """A model that takes token ids by its config, and answers texts."""
    config = 'input { name: "input_ids" } output { name: "ids" data_type: TYPE_STRING }'
    texts.write_text_model(tmp_path, "m", texts.echoes(), config=config)
    session = loaded(tmp_path)
    ids = np.array([[2, 4, 5, 3, 0], [2, 6, 3, 0, 0]])
    assert session.run({"input_ids": ids})["ids"].tolist() == [[b"w0 w1"], [b"w2"]]
    for wrong in (-100, len(texts.WORDS), 2**40):
        with pytest.raises(AccordError) as caught:
            session.run({"input_ids": np.array([[2, wrong]])})
        assert caught.value.reason is Reason.INTERNAL


WRONG = {
    "no strings anywhere": (
        texts.picks(),
        LABELLED.replace('label_filename: "labels.txt"', "") % "INT64",
        "output 'label' is TYPE_STRING here, but INT64 in model.onnx; give its strings by label_filename, or",
    ),
    "floats": (
        models.linear(np.ones((2, 2))),
        'output { name: "y" data_type: TYPE_STRING label_filename: "labels.txt" }',
        "output 'y' is BYTES here, but FP32 in model.onnx",
    ),
}


@pytest.mark.parametrize(("model", "config", "problem"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_said_in_words_is_refused_at_load(
    tmp_path: Path, model: bytes, config: str, problem: str
) -> None:
    """Naming the output and what to do."""
    models.write_model(tmp_path, "m", model, config=config, files={"labels.txt": "a\nb\n"})
    with pytest.raises(ModelError, match=r"config\.pbtxt: ") as caught:
        load(find(tmp_path, "m"), threads="1")
    assert problem in str(caught.value)


def test_one_number_for_each_row_is_no_text(tmp_path: Path) -> None:
    """Rows are not strung together."""
    config = LABELLED.replace('label_filename: "labels.txt"', "") % "INT64"
    texts.write_text_model(tmp_path, "m", texts.picks(), config=config)
    with pytest.raises(ModelError, match="has no dimension of token ids"):
        load(find(tmp_path, "m"), threads="1")
