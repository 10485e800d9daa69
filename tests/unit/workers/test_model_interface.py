"""A model's config and its ONNX file brought together, over real sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from protos.model import DEFAULT_MAX_ROWS
from protos.tensor import TensorSpec
from tests import models
from workers.model.errors import ModelError
from workers.model.interface import completed_config, declared, reshaped
from workers.model.repository import find
from workers.model.session import Session, load
from workers.model.warmup import warm_up

if TYPE_CHECKING:
    from pathlib import Path

LINEAR = models.linear(np.ones((2, 3)))
FIXED = models.linear(np.ones((2, 3)), rows=4)


def loaded(folder: Path, model: bytes, config: str = "", files: dict[str, str] | None = None) -> Session:
    models.write_model(folder, "m", model, config=config, files=files)
    session = load(find(folder, "m"), threads="1")
    warm_up(session)
    return session


def test_without_a_config_the_onnx_file_says_it_all(tmp_path: Path) -> None:
    """Dynamic first dimensions everywhere mean that the model batches, up to the default."""
    spec = loaded(tmp_path, models.classifier()).spec
    assert spec.max_rows == DEFAULT_MAX_ROWS
    assert spec.platform == "onnxruntime_onnx"
    assert spec.inputs == (TensorSpec("x", "FP32", (-1, 3)),)
    assert spec.outputs == (TensorSpec("probabilities", "FP32", (-1, 3)), TensorSpec("label", "INT64", (-1,)))


def test_a_fixed_first_dimension_means_no_batches(tmp_path: Path) -> None:
    """Such a model takes exactly the shape of its file."""
    spec = loaded(tmp_path, FIXED).spec
    assert not spec.batches
    assert spec.inputs[0].shape == (4, 2)


def test_the_config_decides_on_batches(tmp_path: Path) -> None:
    """``max_batch_size`` wins over the shapes, also when it is 0."""
    assert loaded(tmp_path / "a", LINEAR, "max_batch_size: 8").spec.max_rows == 8
    plain = loaded(tmp_path / "b", LINEAR, "max_batch_size: 0").spec
    assert plain.max_rows == 0
    assert plain.inputs[0].shape == (-1, 2)


def test_the_completed_config_leaves_out_the_row_dimension(tmp_path: Path) -> None:
    """Metadata includes the row dimension, the config's dims do not; what the file said is kept."""
    session = loaded(tmp_path, LINEAR, 'dynamic_batching { }\noutput [ { name: "y" } ]')
    config = session.config
    assert (config.name, config.platform, config.backend) == ("m", "onnxruntime_onnx", "onnxruntime")
    assert config.max_batch_size == DEFAULT_MAX_ROWS
    assert [(i.name, list(i.dims)) for i in config.input] == [("x", [2])]
    assert [(o.name, list(o.dims)) for o in config.output] == [("y", [3])]
    assert config.HasField("dynamic_batching")


def test_completing_a_completed_config_changes_nothing(tmp_path: Path) -> None:
    """Served again with its own completed config, a model has the same interface and config."""
    first = loaded(tmp_path / "a", models.classifier())
    second = loaded(tmp_path / "b", models.classifier(), str(first.config))
    assert second.spec == first.spec
    assert completed_config(second.files, second.spec) == first.config


def test_a_config_may_narrow_and_select(tmp_path: Path) -> None:
    """A dynamic dimension may be fixed, and outputs may be left out."""
    config = 'max_batch_size: 0 input [ { name: "x" dims: [5, 3] } ] output [ { name: "label" dims: [-1] } ]'
    spec = loaded(tmp_path, models.classifier(), config).spec
    assert spec.inputs[0].shape == (5, 3)
    assert [output.name for output in spec.outputs] == ["label"]


def test_labels_stand_on_the_output_they_belong_to(tmp_path: Path) -> None:
    """An output's label file becomes its labels, and no other's."""
    config = 'output [ { name: "probabilities" label_filename: "l.txt" }, { name: "label" } ]'
    spec = loaded(tmp_path, models.classifier(), config, {"l.txt": "a\nb\nc\n"}).spec
    assert [output.labels for output in spec.outputs] == [("a", "b", "c"), ()]


def test_a_reshaped_tensor_looks_as_the_config_says(tmp_path: Path) -> None:
    """``reshape`` gives the shape inside the model; callers see ``dims``."""
    config = """
    max_batch_size: 16
    input [ { name: "x" data_type: TYPE_FP32 dims: [3, 1] reshape { shape: [3] } } ]
    output [
      { name: "probabilities" data_type: TYPE_FP32 dims: [3] },
      { name: "label" data_type: TYPE_INT64 dims: [1] reshape { shape: [] } }
    ]"""
    session = loaded(tmp_path, models.classifier(), config)
    assert session.spec.inputs[0].shape == (-1, 3, 1)
    assert session.spec.outputs[1].shape == (-1, 1)
    answer = session.run({"x": np.array([[[1], [5], [0]], [[7], [5], [0]]], np.float32)})
    assert answer["label"].tolist() == [[1], [0]]


@pytest.mark.parametrize(
    ("actual", "pattern", "other", "result"),
    [
        ((3, 1), (-1, 1), (-1,), (3,)),
        ((2, 6), (-1, 6), (-1, 2, 3), (2, 2, 3)),
        ((2, 4, 5), (-1, -1, 5), (-1, 5, -1), (2, 5, 4)),
        ((), (), (1,), (1,)),
    ],
)
def test_reshaping_keeps_free_lengths_in_order(
    actual: tuple[int, ...], pattern: tuple[int, ...], other: tuple[int, ...], result: tuple[int, ...]
) -> None:
    """The n-th -1 of both patterns is the same length, and the way back is the inverse."""
    assert reshaped(actual, pattern, other) == result
    assert reshaped(result, other, pattern) == actual


def test_an_input_with_a_default_may_be_optional(tmp_path: Path) -> None:
    """Only a config makes such an input visible; left out, the file's default counts."""
    hidden = loaded(tmp_path / "a", models.with_default())
    assert [i.name for i in hidden.spec.inputs] == ["x"]
    config = 'input [ { name: "x" }, { name: "bias" optional: true } ]'
    shown = loaded(tmp_path / "b", models.with_default(), config)
    assert [(i.name, i.optional) for i in shown.spec.inputs] == [("x", False), ("bias", True)]
    x = np.zeros(2, np.float32)
    assert shown.run({"x": x})["y"].tolist() == [1, 1]
    assert shown.run({"x": x, "bias": np.array([5], np.float32)})["y"].tolist() == [5, 5]


def _io(inputs: str = "", outputs: str = "", more: str = "") -> str:
    written = [f"{more}"]
    written += [f"input [ {{ {inputs} }} ]"] if inputs else []
    written += [f"output [ {{ {outputs} }} ]"] if outputs else []
    return "\n".join(written)


CONTRADICTIONS = {
    "unknown input": (LINEAR, _io('name: "z"'), r"input 'z' is not in model\.onnx; it has 'x'"),
    "unknown output": (LINEAR, _io(outputs='name: "z"'), r"output 'z' is not in model\.onnx; it has 'y'"),
    "other datatype": (LINEAR, _io('name: "x" data_type: TYPE_FP64'), "input 'x' is FP64 here, but FP32"),
    "other length": (LINEAR, _io('name: "x" dims: [-1, 4]'), r"'x' has shape \[-1, 4\] here, but \[-1, 2\]"),
    "wider": (FIXED, _io('name: "x" dims: [-1, 2]'), r"'x' has shape \[-1, 2\] here, but \[4, 2\]"),
    "other rank": (LINEAR, _io(outputs='name: "y" dims: [3]'), r"'y' has shape \[3\] here, but \[-1, 3\]"),
    "rows of a fixed model": (FIXED, "max_batch_size: 4", "fixes the first dimension of input 'x' to 4"),
    "no default": (LINEAR, _io('name: "x" optional: true'), "input 'x' is optional here, but has no default"),
    "zero length": (LINEAR, _io('name: "x" dims: [-1, 0]'), "each must be positive or -1"),
    "unequal reshape": (
        LINEAR,
        _io('name: "x" dims: [4] reshape { shape: [3] }', more="max_batch_size: 4"),
        r"cannot be reshaped from \[4\] to \[3\]",
    ),
    "too few labels": (LINEAR, _io(outputs='name: "y" label_filename: "l.txt"'), "has 2 labels, .* is 3"),
    "forgotten input": (
        models.identity(["FP32", "INT64"]),
        _io('name: "x_FP32"'),
        r"input 'x_INT64' of model\.onnx is not listed",
    ),
}


@pytest.mark.parametrize(("model", "config", "cause"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_contradiction_names_the_tensor(tmp_path: Path, model: bytes, config: str, cause: str) -> None:
    """Where the config and the ONNX file differ, the config is at fault and the tensor is named."""
    models.write_model(tmp_path, "m", model, config=config, files={"l.txt": "a\nb\n"})
    with pytest.raises(ModelError, match=cause) as caught:
        load(find(tmp_path, "m"), threads="1")
    assert caught.value.path == tmp_path / "m" / "config.pbtxt"


COMPLETE = """
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [3] } ]
output [
  { name: "probabilities" data_type: TYPE_FP32 dims: [3] label_filename: "l.txt" },
  { name: "label" data_type: TYPE_INT64 dims: [1] reshape { shape: [] } }
]
"""


def test_a_complete_config_declares_what_the_session_then_has(tmp_path: Path) -> None:
    """The interface known before loading equals the one after it."""
    session = loaded(tmp_path, models.classifier(), COMPLETE, {"l.txt": "a\nb\nc\n"})
    assert declared(session.files) == session.spec


def test_full_shapes_declare_batches(tmp_path: Path) -> None:
    """Where the config gives whole shapes and no ``max_batch_size``, they say whether the model batches."""
    shapes = 'input [ { name: "x" data_type: TYPE_FP32 dims: [%s, 2] } ]'
    shapes += 'output [ { name: "y" data_type: TYPE_FP32 dims: [%s, 3] } ]'
    models.write_model(tmp_path, "m", LINEAR, config=shapes % (-1, -1))
    models.write_model(tmp_path, "n", FIXED, config=shapes % (4, 4))
    for name, rows in (("m", DEFAULT_MAX_ROWS), ("n", 0)):
        files = find(tmp_path, name)
        spec = declared(files)
        assert spec is not None
        assert spec.max_rows == rows
        assert spec == load(files, threads="1").spec


@pytest.mark.parametrize(
    "left_out", ["data_type: TYPE_INT64", "dims: [1] reshape { shape: [] }", 'input [ { name: "x" data_type']
)
def test_an_incomplete_config_declares_nothing(tmp_path: Path, left_out: str) -> None:
    """Where anything is left to the ONNX file, there is no answer without it."""
    config = COMPLETE.replace(left_out, "")
    if left_out.startswith("input"):
        config = "\n".join(line for line in COMPLETE.splitlines() if not line.startswith("input"))
    models.write_model(tmp_path, "m", models.classifier(), config=config, files={"l.txt": "a\nb\nc\n"})
    assert declared(find(tmp_path, "m")) is None
