"""Versions come and go without a request noticing; what is bad never takes the place of what is good."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from protos.errors import AccordError, Reason
from protos.oip import Entry, State
from protos.tensor import Tensor
from tests import models
from workers.batcher import Job
from workers.hosting import host
from workers.model.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from workers.lifecycle import Lifecycle
    from workers.model.repository import ModelFiles
    from workers.model.session import Session

X = np.ones((1, 2), np.float32)


def write(repository: Path, factor: float, version: int = 1, *, config: str = "") -> None:
    models.write_model(
        repository, "m", models.linear(np.eye(2, dtype=np.float32) * factor), version=version, config=config
    )


def spoil(repository: Path, version: int = 1) -> None:
    (repository / "m" / str(version) / "model.onnx").write_bytes(models.corrupt())


async def ask(model: Lifecycle, version: str = "") -> float:
    """Return the factor by which the version multiplies."""
    job = Job(inputs={"x": Tensor.from_array(X)}, rows=1, wanted=())
    ran = await model.get(version).batcher.run(job)
    return float(ran.outputs["y"].array()[0, 0])


def index(model: Lifecycle) -> dict[str, State]:
    return {entry.version: entry.state for entry in model.index()}


def refusal(model: Lifecycle, version: str = "") -> Reason:
    with pytest.raises(AccordError) as caught:
        model.get(version)
    return caught.value.reason


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, 1)
    return tmp_path


async def test_by_default_the_highest_version_is_served(folder: Path) -> None:
    """Triton's default policy; the ones below are not there, and one asked for by number is served alone."""
    write(folder, 2, version=2)
    model, pinned = host(folder, "m"), host(folder, "m", "1")
    await asyncio.gather(model.refresh(), pinned.refresh())
    assert (model.versions, pinned.versions) == (["2"], ["1"])
    assert (await ask(model), await ask(pinned)) == (2, 1)
    assert refusal(model, "1") is Reason.VERSION_NOT_FOUND


async def test_every_version_that_the_policy_allows_is_served_and_asked_by_its_number(folder: Path) -> None:
    """Without a number the highest answers, also where 10 sorts before 9 as text."""
    write(folder, 9, version=9, config="version_policy { all {} }")
    write(folder, 10, version=10, config="version_policy { all {} }")
    model = host(folder, "m")
    await model.refresh()
    assert model.versions == ["1", "9", "10"]
    assert [await ask(model, version) for version in ("1", "9", "10", "")] == [1, 9, 10, 10]


async def test_a_new_version_takes_over_and_the_old_one_drains(folder: Path) -> None:
    """Who asks for the old one by its number is told that it is gone; the index tells what became of it."""
    model = host(folder, "m")
    await model.refresh()
    write(folder, 2, version=2)
    await model.refresh()
    assert (await ask(model), model.versions) == (2, ["2"])
    assert refusal(model, "1") is Reason.VERSION_NOT_FOUND
    await model.close()
    assert index(model) == {"1": State.UNAVAILABLE, "2": State.UNAVAILABLE}


async def test_changed_files_are_loaded_again_and_unchanged_ones_are_not(folder: Path) -> None:
    """The same version number may be exported anew; a look that finds nothing new does nothing."""
    model = host(folder, "m")
    await model.refresh()
    first = model.get().session
    await model.refresh()
    assert model.get().session is first
    write(folder, 5)
    await model.refresh()
    assert await ask(model) == 5


@pytest.mark.parametrize("version", [1, 2])
async def test_a_bad_version_leaves_the_old_one_serving(folder: Path, version: int) -> None:
    """Whether it has a new number or replaces the one served; and it is tried once, not on each look."""
    model = host(folder, "m")
    await model.refresh()
    (folder / "m" / str(version)).mkdir(exist_ok=True)
    spoil(folder, version)
    with pytest.raises(ModelError):
        await model.refresh()
    assert (await ask(model), model.versions) == (1, ["1"])
    await model.refresh()
    write(folder, 7, version=version)
    await model.refresh()
    assert await ask(model) == 7


async def test_without_the_rule_a_bad_version_would_end_the_service(folder: Path) -> None:
    """Negative control: the first load has nothing older to serve on."""
    spoil(folder)
    model = host(folder, "m")
    with pytest.raises(ModelError):
        await model.refresh()
    assert refusal(model) is refusal(model, "1") is Reason.MODEL_NOT_READY
    (entry,) = model.index()
    assert entry == Entry("1", State.UNAVAILABLE, entry.reason)
    assert str(folder) not in entry.reason


async def test_a_bad_config_takes_nothing_away(folder: Path) -> None:
    """A config that cannot be read is an error to report, not a reason to stop."""
    model = host(folder, "m")
    await model.refresh()
    (folder / "m" / "config.pbtxt").write_text("max_batch_size: many")
    with pytest.raises(ModelError):
        await model.refresh()
    shutil.rmtree(folder / "m")
    with pytest.raises(ModelError):
        await model.refresh()
    assert await ask(model) == 1


async def test_an_unloaded_model_is_known_and_not_ready_until_it_is_loaded_again(folder: Path) -> None:
    """Its statistics are those of all its life."""
    model = host(folder, "m")
    await model.refresh()
    assert await ask(model) == 1
    await model.unload()
    assert (model.ready, refusal(model)) == (False, Reason.MODEL_NOT_READY)
    await model.refresh(force=True)
    assert await ask(model) == 1
    assert model.statistics["1"].message("m", "1").execution_count == 2


async def test_what_is_being_computed_when_its_version_goes_is_finished(folder: Path) -> None:
    """A request holds on to the version that it came to."""
    models.write_model(folder, "slow", models.slow())
    model = host(folder, "slow")
    await model.refresh()
    job = Job(inputs={"steps": Tensor.from_array(np.array([10_000]))}, rows=1, wanted=())
    running = asyncio.create_task(model.get().batcher.run(job))
    await asyncio.sleep(0)
    await model.unload()
    assert model.index()[0].state is State.UNLOADING
    assert (await running).outputs["y"].array().tolist() == [10_000]
    await model.close()
    assert model.index()[0].state is State.UNAVAILABLE


async def test_loading_again_and_again_under_load_fails_no_request(folder: Path) -> None:
    """Twenty swaps while four callers ask without a pause."""
    model = host(folder, "m", threads="1")
    await model.refresh()
    answers: list[float] = []
    done = asyncio.Event()

    async def keep_asking() -> None:
        while not done.is_set():
            answers.append(await ask(model))

    callers = [asyncio.create_task(keep_asking()) for _ in range(4)]
    for _ in range(20):
        await model.refresh(force=True)
    done.set()
    await asyncio.gather(*callers)
    assert len(answers) > 20
    assert set(answers) == {1.0}


async def test_changes_are_told_to_whoever_watches(folder: Path) -> None:
    """At once, when a version becomes visible, and when one is taken out."""
    model = host(folder, "m")
    seen: list[bool] = []
    model.watch(lambda: seen.append(model.ready))
    await model.refresh()
    await model.unload()
    assert seen == [False, True, False]


async def test_what_changes_while_a_version_is_looked_at_is_seen_at_the_next_look(folder: Path) -> None:
    """A config that is written after it was read, and before the model is loaded, is not taken for old."""
    model = host(folder, "m")
    find = model._find

    def find_and_change() -> Mapping[str, ModelFiles | ModelError]:
        found = find()
        (folder / "m" / "config.pbtxt").write_text("max_batch_size: 3")
        return found

    model._find = find_and_change
    await model.refresh()
    assert model.get().session.spec.max_rows == 256
    model._find = find
    await model.refresh()
    assert model.get().session.spec.max_rows == 3


async def test_a_load_is_finished_though_whoever_asked_for_it_goes_away(folder: Path) -> None:
    """The index does not say LOADING for ever, and the next load waits for this one."""
    model = host(folder, "m")
    began, loop, load = asyncio.Event(), asyncio.get_running_loop(), model._load

    def tell_and_load(files: ModelFiles) -> Session:
        loop.call_soon_threadsafe(began.set)
        return load(files)

    model._load = tell_and_load
    asking = asyncio.create_task(model.refresh())
    await began.wait()
    assert index(model) == {"1": State.LOADING}
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await model.refresh()
    assert (index(model), await ask(model)) == ({"1": State.READY}, 1)


async def test_a_surprise_while_loading_is_no_load_without_end(folder: Path) -> None:
    """Whatever is raised, the version is told to be unavailable, and a later load may succeed."""
    model = host(folder, "m")
    load = model._load

    def fail(_files: ModelFiles) -> Session:
        raise MemoryError

    model._load = fail
    with pytest.raises(MemoryError):
        await model.refresh()
    assert index(model) == {"1": State.UNAVAILABLE}
    model._load = load
    await model.refresh(force=True)
    assert await ask(model) == 1


async def test_a_version_that_drains_is_unloading_until_it_has(folder: Path) -> None:
    """Also where its directory is looked for, and missed, again meanwhile."""
    models.write_model(folder, "slow", models.slow())
    model = host(folder, "slow")
    await model.refresh()
    endless = Job(inputs={"steps": Tensor.from_array(np.array([10**12]))}, rows=1, wanted=())
    running = asyncio.create_task(model.get().batcher.run(endless))
    await asyncio.sleep(0)
    shutil.move(folder / "slow" / "1", folder / "slow" / "2")
    await model.refresh()
    await model.refresh()
    assert index(model) == {"1": State.UNLOADING, "2": State.READY}
    running.cancel()
    await model.close()
    assert index(model)["1"] is State.UNAVAILABLE
