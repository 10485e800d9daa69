"""Nothing wrong is timed: what counts as the right answer."""

from __future__ import annotations

import numpy as np
import pytest

from bench import BenchFailed, models
from bench.answers import Question, compare
from protos import oip

RIGHT = {"y": np.array([[0.25, 0.75]], np.float32)}


def test_the_last_bit_may_differ() -> None:
    """An answer with the same numbers within rounding is right."""
    compare({"y": np.nextafter(RIGHT["y"], np.float32(1))}, RIGHT)


def test_other_numbers_are_refused() -> None:
    """An answer that is off by more than rounding is refused, and it is told by how much."""
    with pytest.raises(BenchFailed, match=r"y differs by 0\.001"):
        compare({"y": RIGHT["y"] + np.float32([[0.001, -0.001]])}, RIGHT)


def test_a_mean_of_fewer_members_is_refused() -> None:
    """The tiny models differ so much that the mean of two is not taken for the mean of three."""
    names = ("tiny-0", "tiny-1", "tiny-2")
    outputs = [models.run(models.tiny(i, 4096), models.rows(1, 4096, seed=1)) for i in range(len(names))]
    three, two = np.mean(outputs, axis=0), np.mean(outputs[:2], axis=0)
    with pytest.raises(BenchFailed, match="differs"):
        compare({"y": two}, {"y": three})


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        ({}, "lacks the output 'y'"),
        ({"y": RIGHT["y"][0]}, r"of shape \(2,\) instead of \(1, 2\)"),
        ({"y": np.array([[0.25, np.nan]], np.float32)}, "differs"),
    ],
)
def test_what_is_no_answer_is_refused(found: dict[str, np.ndarray], problem: str) -> None:
    """A missing output, another shape and not-a-number are told as what they are."""
    with pytest.raises(BenchFailed, match=problem):
        compare(found, RIGHT)


def test_texts_are_compared_as_they_are() -> None:
    """Strings have no rounding."""
    want = {"label": np.array([b"seven"], dtype=object)}
    compare({"label": np.array([b"seven"], dtype=object)}, want)
    with pytest.raises(BenchFailed, match="one"):
        compare({"label": np.array([b"one"], dtype=object)}, want)


def test_a_question_is_asked_under_the_name_that_is_wanted() -> None:
    """One question goes to an ensemble and, under its own name, to a member."""
    question = Question("mean", [{"x": np.zeros((1, 2), np.float32)}] * 2, [RIGHT] * 2)
    for name, requests in (("mean", question.requests()), ("member", question.requests("member"))):
        assert [oip.messages.ModelInferRequest.FromString(r).model_name for r in requests] == [name] * 2


@pytest.mark.parametrize("column", [0, 1, 500, 1023])
def test_a_tiny_model_reads_all_of_its_tensor(column: int) -> None:
    """Whatever element changes, the answer does: no server can get away with looking at a part."""
    row = models.rows(1, 1024, seed=3)
    other = {"x": row["x"].copy()}
    other["x"][0, column] += 1.0
    model = models.tiny(0, 1024)
    assert not np.array_equal(models.run(model, row), models.run(model, other))
