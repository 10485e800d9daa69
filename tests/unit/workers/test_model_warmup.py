"""A model runs before it is ready, and one that cannot is not ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests import models
from workers.model.errors import ModelError
from workers.model.repository import find
from workers.model.session import load
from workers.model.warmup import warm_up

if TYPE_CHECKING:
    from pathlib import Path


def warmed(folder: Path, model: bytes, config: str = "") -> list[dict[str, np.ndarray]]:
    """Warm a model up and return the inputs of its runs."""
    session = load(find(models.write_model(folder, "m", model, config=config), "m"), threads="1")
    run, seen = session.run, []

    def watched(inputs):  # type: ignore[no-untyped-def]
        seen.append(inputs)
        return run(inputs)

    session.run = watched  # type: ignore[method-assign]
    warm_up(session)
    return seen


def test_a_batching_model_is_run_with_one_row_and_with_a_few(tmp_path: Path) -> None:
    """Zeros in both sizes, never more rows than the model takes."""
    seen = warmed(tmp_path / "a", models.identity(["BYTES", "FP32"]))
    assert [call["x_FP32"].shape for call in seen] == [(1, 2), (4, 2)]
    assert seen[0]["x_BYTES"].tolist() == [[b"", b""]]
    small = warmed(tmp_path / "b", models.linear(np.ones((2, 3))), "max_batch_size: 2")
    assert [call["x"].shape for call in small] == [(1, 2), (2, 2)]


def test_a_model_that_does_not_batch_is_run_once(tmp_path: Path) -> None:
    """Its shape leaves no choice."""
    assert [c["x"].shape for c in warmed(tmp_path, models.linear(np.ones((2, 3)), rows=4))] == [(4, 2)]


WARMUP = """
max_batch_size: 0
model_warmup [ { name: "w" inputs { key: "%s" value { data_type: TYPE_FP32 dims: [%s] %s: true } } } ]
"""


def conv() -> bytes:
    """A model of dynamic height and width that cannot take an image of 1x1: a 3x3 kernel without padding."""
    graph = helper.make_graph(
        [helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3])],
        "pool",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, None, None])],
    )
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()


def test_the_config_may_say_what_lengths_a_model_can_take(tmp_path: Path) -> None:
    """Without its word the length is 1 and this model fails; with it, it is ready."""
    with pytest.raises(
        ModelError, match=r"failed its warm-up on zeros of shape x \[1, 1, 1, 1\].*model_warmup"
    ):
        warmed(tmp_path / "a", conv())
    seen = warmed(tmp_path / "b", conv(), WARMUP % ("x", "1, 1, 8, 8", "zero_data"))
    assert {call["x"].shape for call in seen} == {(1, 1, 8, 8)}


def test_random_warm_up_data_is_not_zero(tmp_path: Path) -> None:
    """``random_data`` is honoured, from a fixed seed."""
    text = WARMUP % ("x", "1, 1, 3, 3", "random_data")
    seen = [warmed(tmp_path / name, conv(), text) for name in "ab"]
    assert np.array_equal(seen[0][0]["x"], seen[1][0]["x"])
    assert np.ptp(seen[0][0]["x"]) > 0


def test_a_warm_up_of_an_unknown_input_is_refused(tmp_path: Path) -> None:
    """A name that the model has not is a mistake in the config."""
    with pytest.raises(ModelError, match=r"config\.pbtxt: model_warmup 'w' names input 'z'"):
        warmed(tmp_path, conv(), WARMUP % ("z", "1, 1, 8, 8", "zero_data"))


def test_an_output_of_another_shape_than_promised_is_not_served(tmp_path: Path) -> None:
    """The config may narrow an output, but the model must keep to it."""
    config = 'max_batch_size: 0 output [ { name: "y" dims: [%d] } ]'
    with pytest.raises(ModelError, match=r"promises output 'y' as FP32 \[7\], but answered FP32 \[0\]"):
        warmed(tmp_path / "a", models.greedy(), config % 7)
    assert warmed(tmp_path / "b", models.greedy(), config % -1)


def test_an_output_whose_first_dimension_is_not_the_row_is_not_served(tmp_path: Path) -> None:
    """A model whose first dimension is not the row is refused, and served once the config says so."""
    graph = helper.make_graph(
        [helper.make_node("NonZero", ["x"], ["t"]), helper.make_node("Transpose", ["t"], ["y"])],
        "nonzero",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, ["found", 1])],
    )
    opsets = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    with pytest.raises(ModelError, match=r"answered 0 rows of 'y' to 1; .* max_batch_size: 0"):
        warmed(tmp_path / "a", model)
    assert warmed(tmp_path / "b", model, "max_batch_size: 0")
