"""An exported file answers as torch does; what does not is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.training.small import HEADS
from training.compress.invariance import invariance
from training.compress.running import answers, open_session
from training.compress.scores import feed_of
from training.data import Part
from training.errors import TrainingError
from training.export.interface import outputs, scores_of
from training.export.onnx import Answering, check_parity, to_onnx

if TYPE_CHECKING:
    from pathlib import Path

    from tests.training.small import Made


def test_a_file_answers_as_torch_does(made: Made) -> None:
    """In every number to 1e-5, alone and among others of other lengths, and the temperature is in it."""
    rows, model, file = made
    some = rows.rows(Part.VALIDATION)
    apart = check_parity(model, HEADS, file, lambda batch: model.collate(rows, batch), some)
    assert 0 < apart < 1e-5
    batch = model.collate(rows, some[:5])
    logits = model(batch)["mood"].detach().numpy() / 1.7
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    got = answers(open_session(file), {name: each.numpy() for name, each in batch.items()})
    np.testing.assert_allclose(got["mood.probabilities"], expected, rtol=0, atol=1e-5)
    assert got["mood.label"].tolist() == expected.argmax(1)[:, None].tolist()
    assert got["strength.score"].shape == (5, 1)


def test_a_perturbed_weight_fails_parity(made: Made) -> None:
    """Of the last layer or of the first, by a hundredth."""
    rows, model, file = made
    graph = onnx.load_from_string(file)
    weights = [each for each in graph.graph.initializer if len(each.dims) == 2 and min(each.dims) >= 3]
    for weight in (weights[0], weights[-1]):
        broken = onnx.load_from_string(file)
        (place,) = [each for each in broken.graph.initializer if each.name == weight.name]
        place.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.01), weight.name))
        with pytest.raises(TrainingError, match=r"differs from the trained model by .* more than 1e-05"):
            check_parity(
                model,
                HEADS,
                broken.SerializeToString(),
                lambda batch: model.collate(rows, batch),
                rows.rows(Part.VALIDATION),
            )


def test_another_temperature_fails_parity(made: Made) -> None:
    """So a file that was calibrated otherwise is another file."""
    rows, model, file = made
    heads = (replace(HEADS[0], temperature=1.0), HEADS[1])
    with pytest.raises(TrainingError, match=r"output 'mood\.probabilities'"):
        check_parity(model, heads, file, lambda batch: model.collate(rows, batch), rows.rows(Part.VALIDATION))


def test_rows_are_answered_alike_alone_and_among_others(made: Made) -> None:
    """Of an fp32 file, whatever the padding."""
    rows, model, file = made
    found = invariance(file, feed_of(model, rows), rows.rows(Part.VALIDATION))
    assert found.same
    assert found.labels == 0
    assert found.sizes == (2, 8, 32)


def test_one_task_alone_has_plain_names(made: Made, tmp_path: Path) -> None:
    """And the scores that metrics take give the same probabilities again."""
    rows, model, _ = made
    file = to_onnx(model, HEADS[:1], model.collate(rows, np.arange(3)))
    found = answers(open_session(file), feed_of(model, rows)(np.arange(7)))
    assert list(found) == [output.name for output in outputs(HEADS[:1])] == ["probabilities", "label"]
    scores = np.exp(scores_of(found, HEADS[:1])["mood"])
    np.testing.assert_allclose(scores / scores.sum(1, keepdims=True), found["probabilities"], atol=1e-6)


def test_what_cannot_be_traced_is_refused(made: Made) -> None:
    """With the cause, and what to do."""
    rows, model, _ = made

    class Branching(Answering):
        def forward(self, batch: Any) -> Any:  # type: ignore[override]
            if batch["input_ids"].sum().item() > 7:
                return model(batch)
            return {task: each * 2 for task, each in model(batch).items()}

    with pytest.raises(
        TrainingError, match=r"torch cannot turn the model into a graph .*plain tensor operations"
    ):
        to_onnx(Branching(model, HEADS, ()), HEADS, model.collate(rows, np.arange(3)))
