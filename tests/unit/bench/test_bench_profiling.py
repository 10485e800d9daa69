"""Profiles: whose time and whose copies they are."""

from __future__ import annotations

import doctest
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench import flame
from bench.cases import memory as memory_case
from bench.profiling import memory, time

LOOP = "_run_module_as_main (<frozen runpy>:198);BaseEventLoop._run_once (asyncio/base_events.py:1922)"
CALLED = f"{LOOP};Handle._run (asyncio/events.py:80)"
ROOT = Path("/r")
GRPC = "/r/.venv/lib/python3.11/site-packages/grpc"


@pytest.mark.parametrize("module", [memory, time, memory_case], ids=lambda module: module.__name__)
def test_examples_are_true(module: object) -> None:
    """What the docstrings show is what the functions return."""
    found = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)  # type: ignore[arg-type]
    assert found.attempted >= 1
    assert found.failed == 0


def test_c_code_that_the_loop_runs_is_told_from_our_own() -> None:
    """A sample with no frame above the event loop's is gRPC's C code; one in its selector is epoll."""
    stacks = time.read(
        f"{CALLED} 3\n{LOOP};EpollSelector.select (selectors.py:468) 2\n{CALLED};f (gateway/a.py:1) 1"
    )
    assert stacks == {("gRPC's Cython and C",): 3, ("epoll",): 2, ("f (gateway/a.py)",): 1}
    assert time.by_part(stacks) == {"gRPC's Cython and C": 3, "epoll": 2, "gateway/a": 1}


def test_the_loop_itself_is_a_part() -> None:
    """What the event loop spends between two callbacks is not lost."""
    assert time.by_part(time.read(f"{LOOP} 7\n")) == {"asyncio": 7}


def test_a_library_counts_for_the_part_that_called_it() -> None:
    """Numpy below a strategy is the strategy's time; by function it is numpy's own."""
    stacks = Counter(
        {("f (gateway/engine/a.py)", "g (gateway/strategies/b.py)", "_sum (numpy/_core/m.py)"): 4}
    )
    assert time.by_part(stacks) == {"gateway/strategies": 4}
    assert time.by_function(stacks) == {"_sum (numpy/_core/m.py)": 4}


def test_a_copy_in_a_serialiser_of_ours_is_ours() -> None:
    """GRPC runs it, but we gave it; what gRPC allocates by itself is not."""
    found = [
        [4, 9, [["_transform", f"{GRPC}/_common.py", 87], ["main", "/r/gateway/app.py", 1]]],
        [4, 9, [["_invoke", f"{GRPC}/aio/_call.py", 595], ["main", "/r/gateway/app.py", 1]]],
        [4, 9, []],
    ]
    assert [(copy.place, copy.ours) for copy in memory.copies(found, 4, ROOT)] == [
        ("_transform, grpc/_common.py:87", True),
        ("_invoke, grpc/aio/_call.py:595", False),
        ("gRPC's own threads", False),
    ]


def test_what_a_start_allocates_is_no_copy() -> None:
    """Imports, a model's trials, and what happens once for many requests, are left out."""
    frames = [["<module>", "/r/.venv/lib/python3.11/site-packages/x/y.py", 1]]
    once = [["load", "/r/gateway/app.py", 3]]
    trial = [["_like", "/r/workers/model/variety.py", 7], ["make_ready", "/r/workers/model/ready.py", 9]]
    assert memory.copies([[50, 9, frames], [48, 9, trial], [3, 9, once]], 8, ROOT) == []
    assert len(memory.copies([[4, 9, once]], 8, ROOT)) == 1


def test_a_leak_shows_and_a_warm_up_does_not() -> None:
    """Memory that rises at first and then stays has not grown; one that rises with every request has."""
    warm = [(0, 50), *((i, 100) for i in range(1, 11))]
    leak = [(i, 50 + 10 * i) for i in range(11)]
    assert memory_case.growth(warm) == pytest.approx(0.0, abs=1e-9)
    assert memory_case.growth(leak) == pytest.approx(80.0)
    assert memory_case.growth([(0, 50)]) == 0.0


def test_a_flame_graph_is_as_wide_as_its_samples() -> None:
    """Boxes of one level lie side by side, calls above their callers; what is too narrow is left out."""
    stacks = {("a <x> (gateway/a.py)", "b (numpy/b.py)"): 600, ("c (grpc/c.py)",): 399, ("d (d.py)",): 1}
    svg = ET.fromstring(flame.draw(stacks, "T & U", 0.5, "us"))
    space = "{http://www.w3.org/2000/svg}"
    boxes = {
        group.find(f"{space}title").text: group.find(f"{space}rect").attrib  # type: ignore[union-attr]
        for group in svg.iter(f"{space}g")
    }
    assert list(boxes) == [
        "a <x> (gateway/a.py): 300.0 us",
        "b (numpy/b.py): 300.0 us",
        "c (grpc/c.py): 199.5 us",
    ]
    caller, called, beside = boxes.values()
    assert float(caller["width"]) == float(called["width"]) == float(beside["x"]) == 720.0
    assert float(called["y"]) < float(caller["y"]) == float(beside["y"])


def test_nothing_sampled_is_an_empty_picture() -> None:
    """It is still a picture."""
    assert ET.fromstring(flame.draw({}, "nothing", 1.0, "us")).tag.endswith("svg")
