"""Whether a row's answer depends on its neighbours is found out on the model itself, and said."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from protos.errors import AccordError, Reason
from protos.model import independent_of
from tests import models
from workers.model import independence
from workers.model.errors import ModelError
from workers.model.independence import examine
from workers.model.repository import find
from workers.model.session import load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from workers.model.session import Session


def opened(folder: Path, model: bytes, config: str = "", files: dict[str, str] | None = None) -> Session:
    return load(find(models.write_model(folder, "m", model, config=config, files=files), "m"), threads="1")


def found(folder: Path, model: bytes, config: str = "", files: dict[str, str] | None = None) -> bool | None:
    session = opened(folder, model, config, files)
    examine(session)
    return session.spec.independent


def graph(
    nodes: Sequence[Any], constants: dict[str, np.ndarray] | None = None, *, dims: models.Dims = ("n", 16)
) -> bytes:
    """A model of ``x`` FP32 and ``y``, whatever that is."""
    made = helper.make_graph(
        nodes,
        "m",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", None])],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(made, opset_imports=opsets, ir_version=9).SerializeToString()


def layers(*, labels: bool = False) -> bytes:
    """Two layers; their ten outputs, or only which of them is the largest."""
    random = np.random.default_rng(7)
    node = helper.make_node
    nodes = [node("MatMul", ["x", "a"], ["h"]), node("Relu", ["h"], ["r"])]
    nodes += [node("MatMul", ["r", "b"], ["o"]), node("Softmax", ["o"], ["p"])]
    last = node("ArgMax", ["p"], ["i"], axis=-1), node("Cast", ["i"], ["y"], to=TensorProto.FLOAT)
    nodes += last if labels else [node("Identity", ["p"], ["y"])]
    shapes = {"a": (16, 32), "b": (32, 10)}
    return graph(nodes, {k: random.normal(size=v).astype(np.float32) for k, v in shapes.items()})


def quantised(folder: Path, model: bytes) -> bytes:
    """The same model as ``quantize_dynamic`` makes it: activations in 8 bits, scaled by the whole batch."""
    source, target = folder / "plain.onnx", folder / "int8.onnx"
    source.write_bytes(model)
    logging.disable(logging.WARNING)  # it recommends a preparation that changes nothing here
    try:
        quantize_dynamic(source, target, weight_type=QuantType.QInt8)
    finally:
        logging.disable(logging.NOTSET)
    return target.read_bytes()


def test_a_plain_model_is_independent_and_its_config_says_so(tmp_path: Path) -> None:
    """In the specification, and in what a server tells of it."""
    session = opened(tmp_path, layers())
    assert session.spec.independent is None
    assert independent_of(session.config) is None
    examine(session)
    assert session.spec.independent is True
    assert independent_of(session.config) is True


@pytest.mark.parametrize("labels", [False, True])
def test_dynamic_quantisation_is_found_out(tmp_path: Path, labels: bool) -> None:
    """By its numbers, and by its labels alone, of which few flip; without it the same model passes."""
    assert found(tmp_path / "plain", layers(labels=labels)) is True
    assert found(tmp_path / "int8", quantised(tmp_path, layers(labels=labels))) is False


@pytest.mark.parametrize("operator", ["mean", "softmax"])
@pytest.mark.parametrize("axis", [0, 1])
def test_what_looks_along_the_rows_is_found_out(tmp_path: Path, operator: str, axis: int) -> None:
    """Subtracting a mean, or attending: along the batch it depends on the others, along a row not."""
    node = helper.make_node
    mean = [
        node("ReduceMean", ["x", "axis"], ["m"], keepdims=1),
        node("Sub", ["x", "m"], ["y"]),
    ]
    attention = [node("Softmax", ["x"], ["y"], axis=axis)]
    axes = {"axis": np.array([axis], np.int64)} if operator == "mean" else {}
    assert found(tmp_path, graph(mean if axes else attention, axes)) is bool(axis)


def test_one_warning_names_output_and_difference(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And no warning is given of a model that passes."""
    caplog.set_level(logging.WARNING, "workers.model.independence")
    found(tmp_path / "plain", layers())
    assert not caplog.records
    found(tmp_path / "int8", quantised(tmp_path, layers()))
    (record,) = caplog.records
    assert (record.__dict__["output"], record.__dict__["model"]) == ("y", "m")
    assert 1e-5 < record.__dict__["difference"] < 1


def test_text_and_token_ids_are_rows_too(tmp_path: Path) -> None:
    """Made-up texts differ; a model that refuses larger ids is asked for small ones only."""
    assert found(tmp_path / "text", models.identity(["BYTES", "BOOL", "FP16", "INT64"])) is True
    assert found(tmp_path / "ids", models.picky()) is True


def test_open_dimensions_get_a_length_that_the_model_takes(tmp_path: Path) -> None:
    """Eight where that works, one where it does not."""
    node = helper.make_node
    free = graph([node("ReduceSum", ["x", "axis"], ["y"])], {"axis": np.array([1])}, dims=("n", "length"))
    tight = graph([node("MatMul", ["x", "w"], ["y"])], {"w": np.ones((1, 3), np.float32)}, dims=("n", "l"))
    assert found(tmp_path / "free", free) is True
    assert found(tmp_path / "tight", tight) is True


def test_a_model_that_does_not_batch_has_nothing_to_prove(tmp_path: Path) -> None:
    """Nor has one that takes one row at a time."""
    assert found(tmp_path / "a", models.linear(np.ones((2, 2)), rows=4)) is None
    assert found(tmp_path / "b", layers(), "max_batch_size: 1") is None


def sizes_of(session: Session) -> list[int]:
    """The rows of each call from now on."""
    run, seen = session.run, []

    def watched(inputs: Any) -> Any:
        seen.append(len(next(iter(inputs.values()))))
        return run(inputs)

    session.run = watched  # type: ignore[assignment, method-assign]
    return seen


@pytest.mark.parametrize(("most", "batches"), [(2, {1, 2}), (5, {1, 2, 5}), (32, {1, 2, 8, 32})])
def test_no_batch_is_larger_than_the_model_takes(tmp_path: Path, most: int, batches: set[int]) -> None:
    """The largest that it takes is tried."""
    session = opened(tmp_path, layers(), f"max_batch_size: {most}")
    seen = sizes_of(session)
    examine(session)
    assert set(seen) == batches
    assert session.spec.independent is True


@pytest.mark.parametrize(("row_s", "largest"), [(0.01, 32), (0.1, 8), (5.0, 2)])
def test_a_slow_model_is_looked_at_less(tmp_path: Path, row_s: float, largest: int) -> None:
    """One pair always; larger batches only while the two seconds last."""
    session = opened(tmp_path, layers())
    seen = sizes_of(session)
    examine(session, clock=lambda: sum(seen) * row_s)
    assert max(seen) == largest
    assert sum(seen) * row_s <= max(2.0, 4 * row_s)
    assert session.spec.independent is True


def refusing(_inputs: Any) -> Any:
    raise AccordError(Reason.INPUT_REJECTED, "no")


def shrinking(_inputs: Any) -> Any:
    return {"y": np.zeros((7, 10), np.float32)}


@pytest.mark.parametrize("answer", [refusing, shrinking])
def test_a_model_that_cannot_take_made_up_rows_is_not_judged(
    tmp_path: Path, answer: Callable[[Any], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """It serves, nobody has looked, and the log says why."""
    session = opened(tmp_path, layers())
    session.run = answer  # type: ignore[method-assign]
    examine(session)
    assert session.spec.independent is None
    assert independent_of(session.config) is None
    assert "could not be found out" in caplog.text


def test_answers_that_are_never_numbers_prove_nothing(tmp_path: Path) -> None:
    """NaN equals NaN, but no row was seen."""
    assert found(tmp_path, models.nan()) is None


def test_a_tie_that_rounding_decides_is_no_dependence() -> None:
    """Its label may flip, and proves nothing either way; numbers that differ still count."""
    alone, among = np.array([[0.5, 0.5]], np.float32), np.array([[0.5, 0.50000006]], np.float32)
    tied, clear = independence._tied(alone), independence._tied(np.array([[0.4, 0.6]], np.float32))
    assert (tied.tolist(), clear.tolist()) == ([True], [False])
    assert independence._difference(alone, among, ~tied) is None
    assert independence._difference(alone, among, tied) is not None, "without the rule it would differ"
    assert independence._difference(np.array([0]), np.array([1]), ~tied) is None
    assert independence._difference(np.array([0]), np.array([1]), ~clear) == 1


GIVEN = """
max_batch_size: 8
model_warmup [ { name: "w" batch_size: 1 inputs { key: "x" value { data_type: TYPE_FP32 dims: [16] %s } } } ]
"""


def test_the_models_own_rows_are_used_and_varied(tmp_path: Path) -> None:
    """The first row is as the file has it, the others are not; a file of zeros says only the shape."""
    folder = tmp_path / "m" / "warmup"
    folder.mkdir(parents=True)
    row = np.linspace(1, 2, 16, dtype=np.float32)
    (folder / "row.bin").write_bytes(row.tobytes())
    session = opened(tmp_path, layers(), GIVEN % 'input_data_file: "row.bin"')
    run, seen = session.run, []

    def watched(inputs: Any) -> Any:
        seen.append(inputs["x"])
        return run(inputs)

    session.run = watched  # type: ignore[assignment, method-assign]
    examine(session)
    assert np.array_equal(seen[0], row[np.newaxis])
    assert np.allclose(seen[1] / seen[1][0, 0], row), "another scale of the same row"
    assert not np.allclose(seen[1], row)
    assert found(tmp_path, layers(), GIVEN % "zero_data: true") is True
    assert found(tmp_path, quantised(tmp_path, layers()), GIVEN % "zero_data: true") is False


CLAIM = 'parameters { key: "accord_independent" value { string_value: "%s" } }'


def test_what_is_found_counts_more_than_what_the_config_says(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong claim is corrected, and told; where nobody could look, the owner's word stands."""
    assert found(tmp_path / "a", layers(), CLAIM % "false") is True
    assert found(tmp_path / "b", quantised(tmp_path, layers()), CLAIM % "true") is False
    assert caplog.records[-1].__dict__["contradicts"].endswith("config.pbtxt")
    assert found(tmp_path / "c", models.nan(), CLAIM % "true") is True
    with pytest.raises(ModelError, match=r"accord_independent is 'yes'; use true or false"):
        found(tmp_path / "d", layers(), CLAIM % "yes")
