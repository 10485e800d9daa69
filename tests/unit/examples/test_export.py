"""Exports answer as what they were made from, or are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline

from examples import ExampleError
from examples.models.export import check_parity, session, to_onnx
from protos.tensor import TensorSpec

TEXT = TensorSpec("text", "BYTES", (-1, 1))
NUMBERS = TensorSpec("x", "FP32", (-1, 3))
PROBABILITIES = TensorSpec("probabilities", "FP32", (-1, 2))
WORDS = ("good", "bad", "plot", "Film", "über", "music", "film", "it's", "not", "!!", "very")


def texts(n: int = 120) -> tuple[list[str], list[str]]:
    """Sentences with repeated words, capitals, accents, and the empty one; and a class for each."""
    rng = np.random.default_rng(0)
    rows = [" ".join(rng.choice(WORDS, rng.integers(0, 9)).tolist()) for _ in range(n)]
    return rows, ["praise" if row.count("good") >= row.count("bad") else "blame" for row in rows]


def fitted(vectorizer: Any) -> Pipeline:
    rows, classes = texts()
    return make_pipeline(vectorizer, LogisticRegression(C=10)).fit(rows, classes)


@pytest.mark.parametrize(
    "vectorizer",
    [
        TfidfVectorizer(binary=True, ngram_range=(1, 2), token_pattern=r"[a-zA-Z]+(?:'[a-zA-Z]+)?|[!?]+"),
        TfidfVectorizer(analyzer="char", ngram_range=(2, 4), binary=True),
    ],
    ids=["words", "letters"],
)
def test_a_text_pipeline_answers_the_same_in_onnx(vectorizer: Any) -> None:
    """Labels are equal and probabilities close in every row; there are empty and accented ones."""
    rows, _ = texts()
    assert "" in rows
    pipeline = fitted(vectorizer)
    label = TensorSpec("label", "BYTES", (-1,))
    parity = check_parity("m", to_onnx(pipeline, TEXT, (label, PROBABILITIES)), pipeline, TEXT, rows)
    assert (parity.rows, parity.labels_differ) == (len(rows), 0)
    assert parity.max_difference < 1e-6


def test_a_conversion_that_changes_the_features_is_refused() -> None:
    """skl2onnx turns ``sublinear_tf`` into another formula; the check finds it on real rows."""
    rows, _ = texts()
    pipeline = fitted(TfidfVectorizer(sublinear_tf=True))
    with pytest.raises(ExampleError, match="m: the exported model's probabilities differ"):
        check_parity("m", to_onnx(pipeline, TEXT, (PROBABILITIES,)), pipeline, TEXT, rows)


def test_capitals_beyond_ascii_are_where_onnx_and_python_part() -> None:
    """The C locale leaves them as they are, so that letters learnt in lower case are not found in them."""
    pipeline = fitted(TfidfVectorizer(analyzer="char", ngram_range=(2, 4), binary=True))
    model = to_onnx(pipeline, TEXT, (PROBABILITIES,))
    check_parity("m", model, pipeline, TEXT, ["Good FILM", "über"])
    with pytest.raises(ExampleError, match="in 1 of 2 rows"):
        check_parity("m", model, pipeline, TEXT, ["Good FILM", "ÜBER"])


def test_a_model_of_another_fit_is_refused() -> None:
    """A regression's scores are held against those of the pipeline at hand."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(70, 3)).astype(np.float32)
    one, other = (make_pipeline(Ridge()).fit(rows, rng.normal(size=70)) for _ in range(2))
    model = to_onnx(one, NUMBERS, (TensorSpec("score", "FP32", (-1, 1)),))
    check_parity("m", model, one, NUMBERS, rows)
    with pytest.raises(ExampleError, match="the exported model's score differ"):
        check_parity("m", model, other, NUMBERS, rows)


def test_a_model_whose_rows_depend_on_each_other_is_refused() -> None:
    """What is centred over a batch cannot be mixed across requests, though all rows together are right."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["score"]),
        ],
        "centred",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 1])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["rows", 1])],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    rows = np.random.default_rng(0).normal(size=(64, 1)).astype(np.float32)
    pipeline = make_pipeline(LinearRegression()).fit(rows, rows - rows.mean())
    source = TensorSpec("x", "FP32", (-1, 1))
    with pytest.raises(ExampleError, match="in batches of 2 rows the score differ from those of rows alone"):
        check_parity("m", model.SerializeToString(), pipeline, source, rows)


def test_only_the_outputs_wanted_are_exported_with_their_full_shapes() -> None:
    """The graph says [rows, 2]; converters alone leave the shape open, which reads like a scalar."""
    model = to_onnx(fitted(TfidfVectorizer(binary=True)), TEXT, (PROBABILITIES,))
    run = session(model)
    assert [(o.name, o.shape) for o in run.get_outputs()] == [("probabilities", ["rows", 2])]
    assert [(i.name, i.shape) for i in run.get_inputs()] == [("text", ["rows", 1])]
    assert {opset.domain for opset in onnx.load_from_string(model).opset_import} <= {
        "",
        "ai.onnx.ml",
        "com.microsoft",
    }
