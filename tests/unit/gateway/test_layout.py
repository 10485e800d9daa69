"""How many worker processes there are, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from gateway.config import load
from gateway.layout import layout
from gateway.runtime import instances
from gateway.supervise import _threads, find_layout, worker_arguments
from tests import models

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config.schema import Config

GROUPS = {
    "two": "instance_group [ {count: 2, kind: KIND_CPU} ]",
    "split": "instance_group [ {count: 1, gpus: [0, 1]} ]",
    "far": "instance_group [ {kind: KIND_GPU, gpus: [7]} ]",
    "plain": "",
}


def config(folder: Path, instances_of: str = "", server: str = "{}", worker: str = "") -> Config:
    for name, text in GROUPS.items():
        models.write_model(folder / "models", name, models.linear(np.eye(2)), config=text)
    lines = [
        f"  {name}: {{worker: {{repository: models{', instances: 3' * (name == instances_of)}{worker}}}}}"
        for name in GROUPS
    ]
    path = folder / "accord.yaml"
    path.write_text("\n".join([f"server: {server}", "models:", *lines]))
    return load(path)[0]


def test_a_models_own_config_says_how_many_processes_and_where(tmp_path: Path) -> None:
    """With two GPUs each group has its own; what cannot be placed gets one process, which says why."""
    assert layout(config(tmp_path), gpus=2) == {
        "two": ["cpu", "cpu"],
        "split": ["gpu:0", "gpu:1"],
        "far": [""],
        "plain": ["gpu:0", "gpu:1"],
    }


def test_a_number_in_the_gateways_config_wins_and_goes_round_the_devices(tmp_path: Path) -> None:
    """Three processes on two GPUs share the first."""
    assert layout(config(tmp_path, "split"), gpus=2)["split"] == ["gpu:0", "gpu:1", "gpu:0"]


def test_the_parent_learns_the_layout_without_reading_a_model_config(tmp_path: Path) -> None:
    """The process that it asks gives the same answer, and without groups nobody is asked."""
    loaded = config(tmp_path)
    found = find_layout(loaded, tmp_path / "accord.yaml")
    assert (
        found
        == layout(loaded, gpus=0)
        == {"two": ["cpu"] * 2, "split": ["cpu"], "far": [""], "plain": ["cpu"]}
    )
    assert [i.name for i in instances(found, tmp_path)] == ["two/0", "two/1", "split/0", "far/0", "plain/0"]


def test_where_no_group_has_a_say_each_model_gets_one_process(tmp_path: Path) -> None:
    """The plain case costs no extra process at the start."""
    models.write_model(tmp_path / "models", "plain", models.linear(np.eye(2)))
    path = tmp_path / "accord.yaml"
    path.write_text("models: {plain: {worker: {repository: models}}}")
    # the path given does not exist, so a process that asked would fail
    assert find_layout(load(path)[0], tmp_path / "none.yaml") == {"plain": [""]}


@pytest.mark.parametrize(
    ("server", "worker", "control"),
    [
        ("{}", "", []),
        ("{admin: 'unix:a.sock'}", "", ["--control", "explicit"]),
        ("{admin: 'unix:a.sock'}", ", poll_s: 2", ["--control", "poll", "--poll-s", "2.0"]),
        ("{}", ", require_digests: true", ["--require-digests"]),
    ],
)
def test_a_worker_is_told_how_it_may_be_controlled(
    tmp_path: Path, server: str, worker: str, control: list[str]
) -> None:
    """Polling where it is asked for, else by calls where there is an admin address, else not at all."""
    loaded = config(tmp_path, server=server, worker=worker)
    (instance, *_) = instances({"two": ["cpu"]}, tmp_path)
    arguments = worker_arguments(loaded, instance, 4, "json")
    drain = arguments.index("--drain-s")
    assert arguments[drain + 2 :] == control
    assert arguments[arguments.index("--device") + 1] == "cpu"
    assert arguments[arguments.index("--threads") + 1] == "auto/4"


def test_the_threads_of_every_worker_process_are_known(tmp_path: Path) -> None:
    """As the configuration says, one entry for each process; what it does not say stays open."""
    shape = {"two": ["cpu", "cpu"], "plain": [""]}
    assert _threads(config(tmp_path), shape) == [None, None, None]
    assert _threads(config(tmp_path, worker=", threads: 3"), shape) == [3, 3, 3]
