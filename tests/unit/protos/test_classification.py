"""Outputs told as classes: format, order, shapes and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from protos import oip
from protos.errors import AccordError, Code, Reason
from protos.oip import messages
from protos.oip.classification import wanted_classifications
from protos.oip.tensors import MAX_WALK
from protos.tensor import Tensor

NAN, INF = float("nan"), float("inf")


def told(values: Any, count: int, *, labels: tuple[str, ...] = (), batches: bool = False) -> Any:
    tensor = Tensor.from_array(np.asarray(values))
    return oip.classify(tensor, count, name="y", labels=labels, batches=batches)


def texts(*args: Any, **options: Any) -> Any:
    return told(*args, **options).array().tolist()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0.25, 0.75], np.float32), [b"0.750000:1", b"0.250000:0"]),
        (np.array([1e-9, 2.0]), [b"2.000000:1", b"0.000000:0"]),
        (np.array([INF, -INF, 1e20]), [b"inf:0", b"100000000000000000000.000000:2", b"-inf:1"]),
        (np.array([-128, 127], np.int8), [b"127:1", b"-128:0"]),
        (np.array([0, 2**64 - 1], np.uint64), [b"18446744073709551615:1", b"0:0"]),
        (np.array([-(2**63), 2**63 - 1]), [b"9223372036854775807:1", b"-9223372036854775808:0"]),
    ],
)
def test_values_are_written_as_tritons_clients_know_them(values: Any, expected: list[bytes]) -> None:
    """Integers in decimal, floats with six digits, highest first, at the limits of the datatype too."""
    assert texts(values, 9) == expected


def test_equal_values_go_by_index_and_nan_comes_last() -> None:
    """What Triton leaves to chance is the same on every call here."""
    values = np.array([NAN, 1.0, -INF, 1.0, NAN, -0.0, 0.0])
    assert [text.split(b":")[1] for text in texts(values, 7)] == [b"1", b"3", b"5", b"6", b"2", b"0", b"4"]


def test_a_class_without_a_label_is_written_without() -> None:
    """Labels may be fewer than classes, empty, or hold a colon or any letter."""
    assert texts([4, 3, 2, 1], 4, labels=("a:b", "", "ü")) == [b"4:0:a:b", b"3:1", "2:2:ü".encode(), b"1:3"]


@pytest.mark.parametrize(
    ("shape", "batches", "expected"),
    [
        ((2, 3), True, (2, 2)),
        ((2, 1), True, (2, 1)),
        ((2,), True, (2, 1)),
        ((2, 2, 3), True, (2, 2)),
        ((0, 3), True, (0, 2)),
        ((2, 0), True, (2, 0)),
        ((2, 3), False, (2,)),
        ((1,), False, (1,)),
        ((), False, (1,)),
    ],
)
def test_the_shape_is_rows_by_classes(
    shape: tuple[int, ...], batches: bool, expected: tuple[int, ...]
) -> None:
    """One list per row where the model batches, else one list; other dimensions are flattened."""
    answer = told(np.zeros(shape, np.float32), 2, batches=batches)
    assert (answer.datatype, answer.shape) == ("BYTES", expected)


def test_the_index_counts_flattened_elements_of_a_row() -> None:
    """A class of a matrix is found again by its position in the row's bytes."""
    values = np.array([[[1, 2], [3, 0]], [[9, 2], [3, 0]]])
    assert texts(values, 1, batches=True) == [[b"3:2"], [b"9:0"]]


@pytest.mark.parametrize("datatype", ["BOOL", "FP16", "BF16", "BYTES"])
def test_other_datatypes_have_no_classes(datatype: str) -> None:
    """What Triton refuses is refused, as the caller's mistake."""
    with pytest.raises(AccordError) as caught:
        oip.classify(Tensor(datatype, (0,), b""), 1, name="y", labels=(), batches=False)
    assert (caught.value.reason, caught.value.field) == (Reason.PARAMETER_INVALID, "outputs")
    assert datatype in caught.value.message


def test_an_answer_of_too_many_texts_is_refused() -> None:
    """Texts are written one by one, so their number is bounded like that of any walked element."""
    rows = np.zeros((2, MAX_WALK), np.int8)
    assert told(rows, MAX_WALK // 2, batches=True).shape == (2, MAX_WALK // 2)
    with pytest.raises(AccordError) as caught:
        told(rows, MAX_WALK // 2 + 1, batches=True)
    assert caught.value.reason is Reason.PARAMETER_INVALID


def test_very_many_values_are_not_put_in_order() -> None:
    """However few of them are wanted: everyone else waits while it is done."""
    values = np.zeros((2, 2**19), np.float32)
    assert told(values, 1, batches=True).shape == (2, 1)
    with pytest.raises(AccordError) as caught:
        told(np.zeros((2, 2**19 + 1), np.float32), 1, batches=True)
    assert caught.value.reason is Reason.PARAMETER_INVALID


def wanted(**value: Any) -> Any:
    request = messages.ModelInferRequest()
    request.outputs.add(name="plain")
    request.outputs.add(name="y").parameters["classification"].CopyFrom(messages.InferParameter(**value))
    return request.outputs


def test_the_number_of_classes_is_read_by_output() -> None:
    """Outputs wanted as tensors do not appear, however large the number is."""
    assert wanted_classifications(wanted(int64_param=3)) == {"y": 3}
    assert wanted_classifications(wanted(int64_param=2**63 - 1)) == {"y": 2**63 - 1}
    assert texts([1, 2], 2**63 - 1) == [b"2:1", b"1:0"]


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"int64_param": 0},
        {"int64_param": -1},
        {"uint64_param": 3},
        {"bool_param": True},
        {"string_param": "3"},
        {"double_param": 3.0},
    ],
)
def test_any_other_number_of_classes_is_refused_with_its_place(value: dict[str, Any]) -> None:
    """Only a positive int64 is a number of classes."""
    with pytest.raises(AccordError) as caught:
        wanted_classifications(wanted(**value))
    assert caught.value.reason.code is Code.INVALID_ARGUMENT
    assert caught.value.field == "outputs[1].parameters['classification']"
