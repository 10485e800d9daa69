"""Which runs are short is known before they begin, from runs of their size or larger, or it is not said."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from protos.tensor import Tensor
from tests import models
from workers.model.files.steady import is_steady
from workers.model.pace import SHORT_S, Pace, Size, measure, size_of
from workers.model.repository import find
from workers.model.session import load

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from workers.model.session import Session


def size(*lengths: int) -> Size:
    return size_of([{"x": Tensor.from_array(np.zeros(lengths, np.float32))}])


def opened(folder: Path, model: bytes) -> Session:
    return load(find(models.write_model(folder, "m", model), "m"), threads="1")


def test_a_size_is_its_lengths_and_those_of_texts() -> None:
    """Within a factor of two; joined rows count together, and so do the bytes of texts."""
    assert size(5, 3) == size(8, 4)
    assert size(4, 4) != size(5, 4)
    assert size(2, 8) != size(8, 2), "the same bytes, but perhaps another amount of work"
    one = {"x": Tensor.from_array(np.zeros((4, 4), np.float32))}
    assert size_of([one, one]) == size(8, 4)
    short, long = ({"x": Tensor.from_array(np.array([b"a" * n], object))} for n in (1, 100))
    assert size_of([short]) != size_of([long])
    assert size_of([{}]) == ()
    assert size_of([{"x": Tensor.from_array(np.array(1.0))}]) == (("x", ()),)


def test_only_what_ran_and_what_is_smaller_is_short() -> None:
    """A larger size has to run once in a thread."""
    pace = Pace(steady=True)
    assert not pace.is_short(size(1, 4))
    pace.observe(size(4, 4), SHORT_S / 2)
    assert pace.is_short(size(4, 4))
    assert pace.is_short(size(1, 4))
    assert not pace.is_short(size(5, 4))
    assert not pace.is_short(size(1, 64)), "less in one dimension, more in another"
    assert not pace.is_short(size_of([{"z": Tensor.from_array(np.zeros((1, 4), np.float32))}]))


def test_a_size_of_its_own_counts_more_than_larger_ones() -> None:
    """And of larger ones the quickest does, because every one of them is more work."""
    pace = Pace(steady=True)
    pace.observe(size(64, 4), 1.0)
    pace.observe(size(8, 4), 0.1)
    assert pace.expected_s(size(2, 4)) == 0.1
    pace.observe(size(2, 4), 0.2)
    assert pace.expected_s(size(2, 4)) == 0.2
    assert pace.expected_s(size(128, 4)) == math.inf


def test_a_model_that_became_slow_leaves_the_loop_and_comes_back() -> None:
    """One surprise of a few milliseconds is enough; chance is made up for by later runs."""
    pace = Pace(steady=True)
    pace.observe(size(1, 4), 20e-6)
    pace.observe(size(1, 4), 5e-3)
    assert not pace.is_short(size(1, 4))
    for _ in range(10):
        pace.observe(size(1, 4), 20e-6)
    assert pace.is_short(size(1, 4))


def test_many_sizes_do_not_add_up() -> None:
    """The oldest is forgotten."""
    pace = Pace(steady=True)
    for n in range(300):
        pace.observe((("x", (n,)), ("y", (-n,))), 1e-6)
    assert pace.expected_s((("x", (0,)), ("y", (0,)))) == math.inf
    assert pace.expected_s((("x", (299,)), ("y", (-299,)))) == 1e-6


def test_what_follows_from_values_is_never_short() -> None:
    """However quick its runs were."""
    pace = Pace(steady=False)
    pace.observe(size(4, 4), 1e-6)
    assert not pace.is_short(size(1, 4))


def graph(nodes: Sequence[Any], constants: dict[str, Any] | None = None) -> Any:
    made = [
        numpy_helper.from_array(np.array(value, np.int64), name) for name, value in (constants or {}).items()
    ]
    x = helper.make_tensor_value_info("x", TensorProto.INT64, ["n"])
    return helper.make_graph(
        nodes, "g", [x], [helper.make_tensor_value_info("y", TensorProto.INT64, None)], made
    )


node = helper.make_node
BRANCH = helper.make_graph(
    [node("Constant", [], ["z"], value_int=1)],
    "branch",
    [],
    [helper.make_tensor_value_info("z", TensorProto.INT64, [])],
)
UNSTEADY = {
    "a length that is an input": graph([node("ConstantOfShape", ["x"], ["y"])]),
    "one computed from an input": graph(
        [node("Abs", ["x"], ["a"]), node("Expand", ["one", "a"], ["y"])], {"one": [1]}
    ),
    "repetitions": graph([node("Tile", ["one", "x"], ["y"])], {"one": [1]}),
    "a branch": graph([node("If", ["x"], ["y"], then_branch=BRANCH, else_branch=BRANCH)]),
}
STEADY = {
    "a length in the file": graph([node("Expand", ["x", "s"], ["y"])], {"s": [4]}),
    "one made from a shape": graph(
        [node("Shape", ["x"], ["s"]), node("ConstantOfShape", ["s"], ["z"]), node("Add", ["x", "z"], ["y"])]
    ),
    "values that only select": graph([node("Gather", ["table", "x"], ["y"])], {"table": [1, 2, 3]}),
    "a fixed range": graph([node("Range", ["a", "b", "c"], ["y"])], {"a": 0, "b": 9, "c": 1}),
}


@pytest.mark.parametrize("name", UNSTEADY)
def test_work_that_a_value_decides_is_seen_in_the_graph(name: str) -> None:
    """A caller could ask for any amount of it."""
    assert not is_steady(UNSTEADY[name], ())


@pytest.mark.parametrize("name", STEADY)
def test_work_that_sizes_decide_is_steady(name: str) -> None:
    """Values may be looked at, as long as they say no length."""
    assert is_steady(STEADY[name], ())


def test_a_function_in_the_file_is_not_looked_into() -> None:
    """It may hold anything."""
    calls = graph([node("Mine", ["x"], ["y"], domain="own")])
    assert is_steady(calls, ())
    assert not is_steady(calls, {("own", "Mine")})


def test_a_model_on_disk_is_seen_through(tmp_path: Path) -> None:
    """Loops and lengths by value are found, plain arithmetic is steady."""
    steady = {
        name: opened(tmp_path / name, model).pace.steady
        for name, model in {
            "linear": models.linear(np.ones((2, 2))),
            "text": models.identity(["BYTES"]),
            "slow": models.slow(),
            "greedy": models.greedy(),
        }.items()
    }
    assert steady == {"linear": True, "text": True, "slow": False, "greedy": False}


def test_a_warm_model_knows_its_pace(tmp_path: Path) -> None:
    """For one row and for a few; the median of some runs, so that one that was disturbed does not count."""
    session = opened(tmp_path, models.linear(np.ones((4, 2))))
    times = iter([0, 9, 10, 12, 20, 22, 30, 32, 40, 42] * 2)
    assert measure(session, clock=lambda: next(times) * 1e-6) == pytest.approx(2e-6)
    assert session.pace.expected_s(size(1, 4)) == pytest.approx(2e-6)
    assert session.pace.expected_s(size(4, 4)) == pytest.approx(2e-6)
    assert session.pace.expected_s(size(8, 4)) == math.inf


def test_a_long_run_is_not_repeated(tmp_path: Path) -> None:
    """Its start would take five times as long, to learn nothing."""
    session = opened(tmp_path, models.linear(np.ones((4, 2)), rows=3))
    times = iter([0, 1])
    assert measure(session, clock=lambda: next(times)) == 1
    assert not session.pace.is_short(size(3, 4))
