"""Which instances there are to be, on which devices, and how many GPUs there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from google.protobuf import text_format

from protos.oip import model_config
from tests.models import picky, write_model
from workers.model.errors import ModelError
from workers.model.repository import find
from workers.model.runtime.devices import available_gpus
from workers.model.runtime.instances import Placement, PlacementError, placements

if TYPE_CHECKING:
    from pathlib import Path


def placed(text: str, gpus: int) -> list[str]:
    message = text_format.Parse(text, model_config.ModelConfig())
    return [placement.text for placement in placements(message, gpus)]


@pytest.mark.parametrize(
    ("text", "gpus", "expected"),
    [
        ("", 0, ["cpu"]),
        ("", 2, ["gpu:0", "gpu:1"]),
        ("instance_group [ { count: 2 } ]", 0, ["cpu", "cpu"]),
        ("instance_group [ { count: 2 } ]", 2, ["gpu:0", "gpu:0", "gpu:1", "gpu:1"]),
        ("instance_group [ { kind: KIND_CPU count: 2 } ]", 2, ["cpu", "cpu"]),
        ("instance_group [ { kind: KIND_MODEL } ]", 2, ["cpu"]),
        ("instance_group [ { kind: KIND_GPU } ]", 2, ["gpu:0", "gpu:1"]),
        ("instance_group [ { kind: KIND_GPU gpus: [1] count: 2 } ]", 2, ["gpu:1", "gpu:1"]),
        ("instance_group [ { gpus: [0, 1] } ]", 1, ["cpu"]),
        ("instance_group [ { gpus: [0, 1] } ]", 2, ["gpu:0", "gpu:1"]),
        (
            "instance_group [ { kind: KIND_GPU gpus: [0] count: 2 }, { kind: KIND_CPU } ]",
            1,
            ["gpu:0", "gpu:0", "cpu"],
        ),
    ],
)
def test_instances_follow_tritons_rules(text: str, gpus: int, expected: list[str]) -> None:
    """Kind, count and listed GPUs place each instance; without a group there is one for each GPU."""
    assert placed(text, gpus) == expected


@pytest.mark.parametrize(
    ("group", "gpus", "message"),
    [
        ("kind: KIND_GPU", 0, r"instance_group\[0\] is KIND_GPU, but no GPUs are available"),
        ("name: 'big' kind: KIND_GPU gpus: [0, 3]", 2, r"'big' lists GPU 3, but 2 GPUs"),
        ("kind: KIND_CPU gpus: [0]", 1, "KIND_CPU but lists GPUs"),
        ("kind: KIND_MODEL gpus: [0]", 1, "KIND_MODEL but lists GPUs"),
        ("gpus: [-1]", 1, "lists GPU -1"),
        ("count: -1", 0, "count -1"),
        ("count: 2000000000", 0, "use a number from 1 to 256"),
        ("count: 200", 2, "asks for 400 instances"),
    ],
)
def test_what_cannot_be_placed_is_named(group: str, gpus: int, message: str) -> None:
    """A group that contradicts itself or the host is an error that says where."""
    with pytest.raises(PlacementError, match=message):
        placed(f"instance_group [ {{ {group} }} ]", gpus)


def test_a_contradiction_is_found_before_anything_is_loaded(tmp_path: Path) -> None:
    """What no host can place is the config's mistake."""
    config = "instance_group [ { kind: KIND_CPU gpus: [0] } ]"
    with pytest.raises(ModelError, match=r"config\.pbtxt: instance_group\[0\] is KIND_CPU"):
        find(write_model(tmp_path, "m", picky(), config=config), "m")


@pytest.mark.parametrize("text", ["cpu", "gpu:0", "gpu:12"])
def test_a_placement_reads_what_it_writes(text: str) -> None:
    """The text of a placement is that of a flag."""
    assert Placement.parse(text).text == text


@pytest.mark.parametrize("text", ["", "gpu", "gpu:", "gpu:-1", "gpu:1234", "cpu:0", "gpu:1 ", "GPU:0"])
def test_what_is_no_device_is_refused(text: str) -> None:
    """Only ``cpu`` and ``gpu:N`` are devices."""
    with pytest.raises(PlacementError, match="use 'cpu' or 'gpu:N'"):
        Placement.parse(text)


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, 2),
        ("", 0),
        ("-1", 0),
        ("0", 1),
        ("1,0", 2),
        ("0,2,1", 1),
        ("1,1", 0),
        ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", 1),
        ("NoDevFiles", 0),
    ],
)
def test_gpus_are_counted_as_cuda_would(tmp_path: Path, visible: str | None, expected: int) -> None:
    """One node is one GPU, and CUDA_VISIBLE_DEVICES narrows that until its first mistake."""
    (tmp_path / "dev").mkdir()
    for node in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia-modeset", "null"):
        (tmp_path / "dev" / node).touch()
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert available_gpus(tmp_path, environ) == expected


def test_a_host_without_nodes_has_no_gpus(tmp_path: Path) -> None:
    """Neither an empty /dev nor a missing one, whatever the environment promises."""
    assert available_gpus(tmp_path, {"CUDA_VISIBLE_DEVICES": "0"}) == 0
    (tmp_path / "dev").mkdir()
    assert available_gpus(tmp_path, {"CUDA_VISIBLE_DEVICES": "0"}) == 0
