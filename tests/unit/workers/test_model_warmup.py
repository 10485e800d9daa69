"""A model runs before it is ready, and one that cannot is not ready."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from protos.tensor import DTYPES
from tests import models
from workers.model.errors import ModelError
from workers.model.repository import find
from workers.model.samples import samples
from workers.model.session import load
from workers.model.warmup import warm_up

if TYPE_CHECKING:
    from pathlib import Path

    from workers.model.repository import ModelFiles
    from workers.model.samples import Sample


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


SAMPLE = 'model_warmup [ { name: "s" batch_size: %d count: %d inputs { key: "x_%s" value { %s } } } ]\n'


def written(folder: Path, datatype: str, config: str, raw: bytes = b"") -> ModelFiles:
    """Write an identity of two elements a row, its config, and a file of raw data in ``warmup``."""
    models.write_model(folder, "m", models.identity([datatype]), config=config)
    (folder / "m" / "warmup").mkdir()
    (folder / "m" / "warmup" / "row.bin").write_bytes(raw)
    return find(folder, "m")


def made(files: ModelFiles) -> list[Sample]:
    """Return the samples that the model would be warmed up on."""
    return list(samples(files, load(files, threads="1").spec))


def test_a_sample_repeats_its_row_and_runs_as_often_as_it_says(tmp_path: Path) -> None:
    """Several samples run in order, each ``count`` times, and then two of our own of the first one's row."""
    value = "data_type: TYPE_FP32 dims: [2] "
    config = SAMPLE % (3, 2, "FP32", value + 'input_data_file: "row.bin"')
    config += SAMPLE % (2, 0, "FP32", value + "zero_data: false")
    config += SAMPLE % (0, 5, "FP32", value + "zero_data: true")
    files = written(tmp_path, "FP32", config, np.array([1, 2], "<f4").tobytes())
    assert [(s.rows, s.count) for s in made(files)] == [(3, 2), (2, 1), (1, 1), (4, 1)]
    session = load(files, threads="1")
    run, seen = session.run, []

    def watched(inputs):  # type: ignore[no-untyped-def]
        seen.append(inputs["x_FP32"].tolist())
        return run(inputs)

    session.run = watched  # type: ignore[method-assign]
    warm_up(session)
    row = [1.0, 2.0]
    assert seen == [[row] * 3, [row] * 3, [[0.0, 0.0]] * 2, [row], [row] * 4]


def test_a_file_may_hold_any_datatype(tmp_path: Path) -> None:
    """Numbers lie in row-major order, strings behind their lengths, and the model can take it."""
    for datatype, dtype in DTYPES.items():
        numbers = np.array([1, 0]).astype(dtype)
        raw = b"\x02\0\0\0ab\0\0\0\0" if datatype == "BYTES" else numbers.tobytes()
        told = "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"
        value = f'data_type: {told} dims: [2] input_data_file: "row.bin"'
        files = written(tmp_path / datatype, datatype, SAMPLE % (1, 1, datatype, value), raw)
        first = made(files)[0].inputs[f"x_{datatype}"]
        assert first.tolist() == [[b"ab", b""] if datatype == "BYTES" else numbers.tolist()]
        warm_up(load(files, threads="1"))


def test_random_data_is_what_a_client_could_send(tmp_path: Path) -> None:
    """Finite floats of some spread, integers and truth values of 0 and 1, and empty strings."""
    for datatype, dtype in DTYPES.items():
        told = "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"
        value = f"data_type: {told} dims: [64] random_data: true"
        model, config = models.identity([datatype], ("n", 64)), SAMPLE % (1, 1, datatype, value)
        models.write_model(tmp_path, datatype.lower(), model, config=config)
        values = made(find(tmp_path, datatype.lower()))[0].inputs[f"x_{datatype}"]
        assert values.shape == (1, 64)
        assert values.dtype == dtype
        different = set(values.reshape(-1).tolist())
        if datatype == "BYTES":
            assert different == {b""}
        elif dtype.kind in "biu":
            assert different == {0, 1}
        else:
            assert len(different) > 8
            assert all(0 <= float(v) <= 1 for v in different)


FP32_2 = "data_type: TYPE_FP32 dims: [2] "
MISTAKES = {
    "no data": (1, FP32_2, r"config\.pbtxt: model_warmup 's' does not say what input 'x_FP32' gets"),
    "no dims": (1, "data_type: TYPE_FP32 zero_data: true", r"gives input 'x_FP32' dims \[\]; .* fit \[2\]"),
    "free dims": (1, "data_type: TYPE_FP32 dims: [-1] zero_data: true", r"dims \[-1\]; use lengths"),
    "other dims": (1, "data_type: TYPE_FP32 dims: [3] zero_data: true", r"dims \[3\]; use lengths"),
    "no data_type": (1, "dims: [2] zero_data: true", "another data_type than the model's; use TYPE_FP32"),
    "odd data_type": (1, "data_type: 99 dims: [2] zero_data: true", "another data_type than the model's"),
    "too many rows": (257, FP32_2 + "zero_data: true", "has batch_size 257, but the model takes at most 256"),
    "no file": (1, FP32_2 + 'input_data_file: "none"', r"warmup/none: cannot be read \(No such file"),
    "a directory": (1, FP32_2 + 'input_data_file: "."', "'.', which is not a path inside warmup"),
    "traversal": (1, FP32_2 + 'input_data_file: "../config.pbtxt"', "which is not a path inside warmup"),
    "absolute": (1, FP32_2 + 'input_data_file: "/etc/hostname"', "which is not a path inside warmup"),
    "NUL": (1, FP32_2 + r'input_data_file: "\000"', "which is not a path inside warmup"),
    "a link": (1, FP32_2 + 'input_data_file: "link"', r"warmup/link: leads out of .*/m; put a copy"),
    "a short file": (
        1,
        FP32_2 + 'input_data_file: "row.bin"',
        r"warmup/row\.bin: has 7 bytes, but FP32 of shape \[2\] needs 8; write one row of 'x_FP32'",
    ),
}


@pytest.mark.parametrize(("rows", "value", "cause"), MISTAKES.values(), ids=MISTAKES)
def test_each_mistake_in_a_sample_has_its_message(tmp_path: Path, rows: int, value: str, cause: str) -> None:
    """It names the config's entry or the file, and what to write instead."""
    (tmp_path / "secret").write_bytes(bytes(8))
    files = written(tmp_path / "r", "FP32", SAMPLE % (rows, 1, "FP32", value), bytes(7))
    (tmp_path / "r" / "m" / "warmup" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelError, match=cause) as caught:
        made(files)
    assert "\n" not in str(caught.value)


def test_strings_in_a_file_are_walked(tmp_path: Path) -> None:
    """A length that points past the end, and bytes after the last element, are found."""
    value = 'data_type: TYPE_STRING dims: [2] input_data_file: "row.bin"'
    for name, raw, cause in (
        ("a", b"\x01\0\0\0a\x05\0\0\0a", "ends inside BYTES element 1"),
        ("b", b"\x01\0\0\0a\0\0\0\0!", "has 1 bytes after its 2 BYTES elements"),
    ):
        with pytest.raises(ModelError, match=f"warmup/row.bin: {cause}"):
            made(written(tmp_path / name, "BYTES", SAMPLE % (1, 1, "BYTES", value), raw))


def test_a_sample_gives_every_input(tmp_path: Path) -> None:
    """One that the model needs may not be left out, one with a default may."""
    config = """max_batch_size: 0
        input [ { name: "x" dims: [2] }, { name: "bias" dims: [1] optional: true } ]
        model_warmup [ { name: "s" batch_size: 1
            inputs { key: "%s" value { data_type: TYPE_FP32 dims: [%d] random_data: true } } } ]"""
    models.write_model(tmp_path, "bias", models.with_default(), config=config % ("bias", 1))
    models.write_model(tmp_path, "x", models.with_default(), config=config % ("x", 2))
    with pytest.raises(ModelError, match="model_warmup 's' lacks input 'x'"):
        made(find(tmp_path, "bias"))
    assert list(made(find(tmp_path, "x"))[0].inputs) == ["x"]


def test_a_model_that_does_not_batch_takes_one_row(tmp_path: Path) -> None:
    """``batch_size: 1`` is the only one, and the row has no dimension of its own."""
    text = 'max_batch_size: 0 model_warmup [ { name: "s" batch_size: %d inputs { key: "x" value { data_type: '
    text += "TYPE_FP32 dims: [4, 2] zero_data: true } } } ]"
    for rows in (1, 2):
        models.write_model(tmp_path, f"m{rows}", models.linear(np.ones((2, 3)), rows=4), config=text % rows)
    assert [s.inputs["x"].shape for s in made(find(tmp_path, "m1"))] == [(4, 2), (4, 2)]
    with pytest.raises(ModelError, match="has batch_size 2, but the model takes at most 1"):
        made(find(tmp_path, "m2"))


def test_a_sample_that_fails_is_named(tmp_path: Path) -> None:
    """The message says on which data, with the runtime's own words."""
    config = 'model_warmup [ { name: "far" batch_size: 1 inputs { key: "index" value { data_type: TYPE_INT64 '
    config += 'input_data_file: "row.bin" } } } ]'
    models.write_model(tmp_path, "m", models.picky(), config=config)
    (tmp_path / "m" / "warmup").mkdir()
    (tmp_path / "m" / "warmup" / "row.bin").write_bytes(np.array([7], "<i8").tobytes())
    with pytest.raises(
        ModelError, match=r"failed its warm-up on model_warmup 'far' of shape index \[1\] \(.*bounds"
    ):
        warm_up(load(find(tmp_path, "m"), threads="1"))


@pytest.mark.parametrize("dims", [(1 << 20, 1 << 20), (1 << 40, 1 << 40)])
def test_an_input_too_large_to_warm_up_is_refused_before_it_is_made(
    tmp_path: Path, dims: models.Dims
) -> None:
    """A shape of terabytes costs nothing."""
    files = find(models.write_model(tmp_path, "m", models.identity(["FP32"], dims)), "m")
    with pytest.raises(ModelError, match="cannot be warmed up: input 'x_FP32'"):
        made(files)


RESIDENT = """
import sys
from pathlib import Path
import onnx, onnxruntime
from workers.model import warmup
from workers.model.repository import find
from workers.model.session import load

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

before = resident()
if sys.argv[2] == "keep":
    warmup._give_back = lambda: None
session = load(find(Path(sys.argv[1]), "m"), threads="1")
warmup.warm_up(session)
print(resident() - before)
"""


#: glibc gives nothing back by itself: else it does by chance, when nothing happens to lie at the heap's end.
KEEPING = {"MALLOC_TRIM_THRESHOLD_": "1000000000", "MALLOC_MMAP_THRESHOLD_": "33554432"}


def test_a_warm_model_keeps_no_memory_that_loading_took_in_passing(tmp_path: Path) -> None:
    """Its process holds hardly more than its weights; negative control: without giving back, much more."""
    noise = np.random.default_rng(0)
    matrices = [numpy_helper.from_array(noise.random((1024, 1024), np.float32), f"w{i}") for i in range(16)]
    nodes = [helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"x{i + 1}"]) for i in range(16)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1024]) for name in ("x0", "x16")]
    graph = helper.make_graph(nodes, "deep", ends[:1], ends[1:], matrices)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    models.write_model(tmp_path, "m", model.SerializeToString())

    def resident(way: str) -> int:
        command = [sys.executable, "-c", RESIDENT, tmp_path, way]
        env = {**os.environ, **KEEPING}
        return int(subprocess.run(command, check=True, capture_output=True, env=env).stdout)

    # what the runtime finds free while it loads varies, so the control has three tries
    given, kept = resident("give"), max(resident("keep") for _ in range(3))
    assert given < 1.3 * 16 * (4 << 20) < kept
