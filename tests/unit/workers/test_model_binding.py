"""Tensors bound to memory are the same as plain arrays, and the CPU runs the very code of the GPU."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest

from protos.errors import AccordError, Reason
from protos.tensor import DTYPES
from tests import models
from workers.model.repository import find
from workers.model.runtime import binding
from workers.model.runtime.instances import CPU, Placement
from workers.model.session import Abort, Aborted, Session, load

if TYPE_CHECKING:
    from pathlib import Path

NUMBERS = [name for name in DTYPES if name not in ("BYTES", "BF16")]


def session(folder: Path, model: bytes) -> Session:
    return load(find(models.write_model(folder, "m", model), "m"), threads="1")


def bind(model: Session) -> Session:
    """Make a session pass its tensors as one on a GPU does, but in the CPU's memory."""
    model._compute = binding.bound(model._runtime, CPU)
    return model


@pytest.mark.parametrize("dims", [("n", 2), (), (0, 3)], ids=str)
def test_bound_tensors_are_bit_equal_to_plain_ones(tmp_path: Path, dims: models.Dims) -> None:
    """Every datatype but strings, rows, scalars and nothing at all."""
    model = session(tmp_path, models.identity(NUMBERS, dims))
    shape = tuple(5 if d == "n" else d for d in dims)
    rng = np.random.default_rng(0)
    inputs = {f"x_{name}": (rng.random(shape) * 100).astype(DTYPES[name]) for name in NUMBERS}
    plain = model.run(inputs)
    assert model._compute.__qualname__.startswith("plain")
    bound = bind(model).run(inputs)
    assert list(bound) == list(plain)
    for name, array in plain.items():
        assert bound[name].dtype == array.dtype
        assert bound[name].shape == array.shape
        assert bound[name].tobytes() == array.tobytes()


def test_only_the_wanted_outputs_are_bound_in_their_order(tmp_path: Path) -> None:
    """A subset comes as named, and equals the plain answer to the last bit."""
    model = session(tmp_path, models.classifier())
    x = {"x": np.random.default_rng(1).random((7, 3)).astype(np.float32)}
    plain = model.run(x)
    bound = bind(model).run(x, ["label", "probabilities"])
    assert list(bound) == ["label", "probabilities"]
    assert all(bound[name].tobytes() == plain[name].tobytes() for name in bound)


def test_an_answer_outlives_the_next_run(tmp_path: Path) -> None:
    """An output's memory is its own, also when the next run has the same shape."""
    model = bind(session(tmp_path, models.linear(np.eye(2))))
    first = model.run({"x": np.full((3, 2), 1, np.float32)})["y"]
    second = model.run({"x": np.full((3, 2), 2, np.float32)})["y"]
    assert (first.tolist(), second.tolist()) == ([[1, 1]] * 3, [[2, 2]] * 3)


def test_shapes_that_depend_on_values_are_bound_too(tmp_path: Path) -> None:
    """An output whose length nobody knows before the run is allocated by the runtime."""
    model = bind(session(tmp_path, models.greedy()))
    for count in (3, 0, 5):
        assert model.run({"count": np.array([count])})["y"].shape == (count,)


def test_runs_from_several_threads_do_not_mix(tmp_path: Path) -> None:
    """Each run has its binding of its own."""
    model = bind(session(tmp_path, models.linear(np.eye(2))))
    wrong: list[int] = []

    def ask(number: int) -> None:
        for rows in range(1, 40):
            answer = model.run({"x": np.full((rows, 2), number, np.float32)})["y"]
            if answer.shape != (rows, 2) or not (answer == number).all():
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_bound_run_fails_and_ends_early_as_a_plain_one_does(tmp_path: Path) -> None:
    """Reasons and the abort switch do not depend on the way."""
    with pytest.raises(AccordError) as refused:
        bind(session(tmp_path / "a", models.picky())).run({"index": np.array([7])})
    assert refused.value.reason is Reason.INPUT_REJECTED
    with pytest.raises(AccordError) as exhausted:
        bind(session(tmp_path / "b", models.greedy())).run({"count": np.array([1 << 45])})
    assert exhausted.value.reason is Reason.DEVICE_OOM
    model = bind(session(tmp_path / "c", models.slow()))
    abort = Abort()
    timer = threading.Timer(0.05, abort.set)
    timer.start()
    with pytest.raises(Aborted):
        model.run({"steps": np.array([10**9])}, abort=abort)


def test_the_way_fits_the_model_and_the_device(tmp_path: Path) -> None:
    """Strings are never bound, BF16 always, everything else on a GPU."""
    runtime = session(tmp_path, models.picky())._runtime
    gpu = Placement("gpu", 0)
    ways = {
        (datatype, placement.device): binding.computing(runtime, {datatype}, placement).__qualname__
        for datatype in ("FP32", "BF16", "BYTES")
        for placement in (CPU, gpu)
    }
    assert {key: way.partition(".")[0] for key, way in ways.items()} == {
        ("FP32", "cpu"): "plain",
        ("FP32", "gpu"): "bound",
        ("BF16", "cpu"): "bound",
        ("BF16", "gpu"): "bound",
        ("BYTES", "cpu"): "plain",
        ("BYTES", "gpu"): "plain",
    }


def test_an_arena_at_its_limit_is_exhausted_memory(tmp_path: Path) -> None:
    """The runtime's words for an arena under a limit, as ``gpu_mem_limit`` sets one, are DEVICE_OOM."""
    info = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    limit = onnxruntime.OrtArenaCfg({"max_mem": 1 << 20, "arena_extend_strategy": 1})
    onnxruntime.create_and_register_allocator(info, limit)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.log_severity_level = 4
    model = session(tmp_path, models.greedy())
    limited = onnxruntime.InferenceSession(str(model.files.path), options, providers=["CPUExecutionProvider"])
    model._compute = binding.bound(limited, CPU)
    with pytest.raises(AccordError) as caught:
        model.run({"count": np.array([1 << 20])})
    assert caught.value.reason is Reason.DEVICE_OOM
    assert "Available memory of" in str(caught.value.__cause__)
    assert model.run({"count": np.array([2])})["y"].shape == (2,)
