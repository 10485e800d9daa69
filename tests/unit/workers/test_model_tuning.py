"""How a config's optimization and parameters become the runtime's options."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest

from protos.oip import model_config
from tests import models
from workers.model.errors import ModelError
from workers.model.repository import find
from workers.model.runtime.instances import Placement
from workers.model.runtime.options import CUDA, PARAMETERS, REFUSED, TENSORRT
from workers.model.runtime.tuning import Tuning, read_tuning
from workers.model.session import Session, load

if TYPE_CHECKING:
    from pathlib import Path


def session(folder: Path, config: str, **wishes: Any) -> Session:
    return load(find(models.write_model(folder, "m", models.linear(np.eye(2)), config=config), "m"), **wishes)


def options(folder: Path, config: str, **wishes: Any) -> Any:
    """The options that the runtime's session really has."""
    return session(folder, config, **wishes)._runtime.get_session_options()


def parameter(key: str, value: str) -> str:
    return f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n'


def accelerator(name: str, **parameters: str) -> str:
    entries = "".join(f'parameters {{ key: "{k}" value: "{v}" }} ' for k, v in parameters.items())
    accelerators = f'gpu_execution_accelerator [ {{ name: "{name}" {entries}}} ]'
    return f"optimization {{ execution_accelerators {{ {accelerators} }} }}"


def tuning(folder: Path, config: str) -> Tuning:
    return find(models.write_model(folder, "m", models.picky(), config=config), "m").config.tuning


LEVELS = onnxruntime.GraphOptimizationLevel


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (-1, LEVELS.ORT_ENABLE_BASIC),
        (0, LEVELS.ORT_ENABLE_ALL),
        (1, LEVELS.ORT_ENABLE_EXTENDED),
        (2, LEVELS.ORT_DISABLE_ALL),
    ],
)
def test_graph_levels_are_those_of_tritons_backend(tmp_path: Path, level: int, expected: Any) -> None:
    """Each level reaches the session as Triton's onnxruntime backend maps it."""
    found = options(tmp_path, f"optimization {{ graph {{ level: {level} }} }}")
    assert found.graph_optimization_level == expected


def test_without_a_word_the_defaults_are_ours(tmp_path: Path) -> None:
    """No arena, no spinning, sequential, all optimizations."""
    found = options(tmp_path, "", threads="2")
    assert (found.enable_cpu_mem_arena, found.enable_mem_pattern) == (False, False)
    assert found.execution_mode == onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    assert (found.intra_op_num_threads, found.inter_op_num_threads) == (2, 1)
    assert found.graph_optimization_level == LEVELS.ORT_ENABLE_ALL
    assert found.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_parameters_reach_the_session(tmp_path: Path) -> None:
    """What Triton's backend reads from ``parameters`` is what the runtime's session has."""
    config = (
        parameter("intra_op_thread_count", "3")
        + parameter("inter_op_thread_count", "2")
        + parameter("execution_mode", "1")
        + parameter("enable_mem_arena", "true")
        + parameter("enable_mem_pattern", "1")
        + parameter("session.intra_op.allow_spinning", "1")
        + parameter("session.use_device_allocator_for_initializers", "1")
    )
    found = options(tmp_path, config)
    assert (found.enable_cpu_mem_arena, found.enable_mem_pattern) == (True, True)
    assert found.execution_mode == onnxruntime.ExecutionMode.ORT_PARALLEL
    assert (found.intra_op_num_threads, found.inter_op_num_threads) == (3, 2)
    assert found.get_session_config_entry("session.intra_op.allow_spinning") == "1"
    assert found.get_session_config_entry("session.use_device_allocator_for_initializers") == "1"


@pytest.mark.parametrize(("flag", "expected"), [("auto", 3), ("auto/8", 3), ("5", 5)])
def test_a_number_of_threads_wins_over_the_config(tmp_path: Path, flag: str, expected: int) -> None:
    """Whoever starts the worker has the last word; ``auto`` leaves it to the config."""
    config = parameter("intra_op_thread_count", "3")
    assert options(tmp_path, config, threads=flag).intra_op_num_threads == expected


def test_an_arena_shrinks_after_each_run_where_it_is_asked_to(tmp_path: Path) -> None:
    """The wish reaches the run, without the devices of other workers, which the runtime would refuse."""
    config = parameter("enable_mem_arena", "1") + parameter(
        "memory.enable_memory_arena_shrinkage", "gpu:1;cpu:0"
    )
    model = session(tmp_path, config)
    assert model._shrink == "cpu:0"
    for _ in range(2):
        assert model.run({"x": np.ones((1, 2), np.float32)})["y"].tolist() == [[1, 1]]
    model._shrink = "gpu:1"
    with pytest.raises(Exception, match="refused the values") as caught:
        model.run({"x": np.ones((1, 2), np.float32)})
    assert "shrink list" in str(caught.value.__cause__)


def test_accelerators_become_provider_options(tmp_path: Path) -> None:
    """Triton's parameter names are turned into the runtime's."""
    config = accelerator(
        "tensorrt",
        precision_mode="FP16",
        max_workspace_size_bytes="1073741824",
        trt_engine_cache_enable="true",
        trt_profile_min_shapes="x:1x2",
    )
    assert tuning(tmp_path / "a", config).tensorrt == {
        "trt_fp16_enable": "1",
        "trt_max_workspace_size": "1073741824",
        "trt_engine_cache_enable": "1",
        "trt_profile_min_shapes": "x:1x2",
    }
    assert tuning(tmp_path / "b", accelerator("tensorrt", precision_mode="FP32")).tensorrt == {}
    assert tuning(tmp_path / "c", "").tensorrt is None


def test_cuda_options_come_from_both_places(tmp_path: Path) -> None:
    """Triton's older ``parameters`` count; those of the accelerator ``cuda`` win over them."""
    config = (
        parameter("cudnn_conv_algo_search", "1")
        + parameter("gpu_mem_limit", "1000")
        + accelerator("cuda", gpu_mem_limit="2000", cudnn_conv_use_max_workspace="0")
    )
    assert tuning(tmp_path / "a", config).cuda == {
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "HEURISTIC",
        "gpu_mem_limit": "2000",
        "cudnn_conv_use_max_workspace": "0",
    }
    assert tuning(tmp_path / "b", "").cuda == {"arena_extend_strategy": "kSameAsRequested"}


MISTAKES = {
    "level": ("optimization { graph { level: 3 } }", r"optimization\.graph\.level is 3; use one of -1"),
    "threads": (parameter("intra_op_thread_count", "-1"), "'-1'; use a number from 0 to 9999"),
    "threads word": (
        parameter("inter_op_thread_count", "many"),
        "parameters.inter_op_thread_count is 'many'",
    ),
    "mode": (parameter("execution_mode", "2"), r"use 0 \(sequential\) or 1 \(parallel\)"),
    "switch": (parameter("enable_mem_arena", "yes"), "use 0, 1, false or true"),
    "arena": (parameter("memory.enable_memory_arena_shrinkage", "1"), "use devices as cpu:0;gpu:0"),
    "arena ends": (parameter("memory.enable_memory_arena_shrinkage", "gpu:0;"), "use devices as"),
    "no arena": (parameter("memory.enable_memory_arena_shrinkage", "cpu:0"), "set enable_mem_arena"),
    "limit": (parameter("gpu_mem_limit", "2GB"), "'2GB'; use a number of bytes above 0"),
    "search": (parameter("cudnn_conv_algo_search", "HEURISTIC"), r"use 0 \(EXHAUSTIVE\)"),
    "accelerator": (
        accelerator("auto_mixed_precision"),
        "is 'auto_mixed_precision'; use 'tensorrt' or 'cuda'",
    ),
    "accelerator twice": (
        accelerator("cuda").replace("[ {", '[ { name: "cuda" }, {'),
        r"gpu_execution_accelerator\[1\] is a second 'cuda'",
    ),
    "precision": (accelerator("tensorrt", precision_mode="FP8"), "use FP32, FP16, BF16 or INT8"),
    "unknown option": (accelerator("tensorrt", max_cached_engines="1"), "max_cached_engines is unknown"),
    "other device": (accelerator("cuda", device_id="1"), "device_id is not offered: instance_group decides"),
    "CUDA graph": (accelerator("cuda", enable_cuda_graph="1"), "enable_cuda_graph is not offered"),
    "plugins": (accelerator("tensorrt", trt_extra_plugin_lib_paths="/x.so"), "libraries are not loaded"),
    "shapes": (accelerator("tensorrt", trt_profile_min_shapes="1x2"), "use shapes as input:2x3"),
}


@pytest.mark.parametrize(("config", "cause"), MISTAKES.values(), ids=MISTAKES)
def test_each_mistake_has_its_message(tmp_path: Path, config: str, cause: str) -> None:
    """A wrong value is an error of the file that names the field, the problem and the fix."""
    with pytest.raises(ModelError, match=cause) as caught:
        tuning(tmp_path, config)
    assert str(caught.value).startswith(f"{tmp_path}/m/config.pbtxt: ")


def test_parameters_of_others_are_named_not_refused(tmp_path: Path) -> None:
    """Triton passes any parameter on, so one that nobody here knows is a warning."""
    config = parameter("owner", "me") + parameter("session.load_model_format", "ORT")
    found = find(models.write_model(tmp_path, "m", models.picky(), config=config), "m").config
    assert found.ignored == ("parameters.owner", "parameters.session.load_model_format")
    assert found.tuning == Tuning()


def test_no_option_is_offered_and_refused() -> None:
    """Each known option of an accelerator has one answer."""
    assert not REFUSED.keys() & (CUDA.keys() | TENSORRT.keys() | PARAMETERS.keys())


def test_a_gpu_that_the_runtime_was_not_built_for_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever places a worker on a GPU never gets the CPU instead."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ModelError, match=r"cannot run on gpu:1: this ONNX runtime was built without GPUs"):
        session(tmp_path / "a", "", placement=Placement("gpu", 1))
    with pytest.raises(ModelError, match="only 'cpu' is wanted; add 'cuda'"):
        session(tmp_path / "b", "", placement=Placement("gpu", 1), wanted=("cpu",))
    with pytest.raises(ModelError, match=r"config\.pbtxt: instance_group\[0\] is KIND_GPU, but no GPUs"):
        session(tmp_path / "c", "instance_group [ { kind: KIND_GPU } ]")


def test_a_worker_on_the_cpu_is_opened_without_the_gpus_providers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the runtime offers for GPUs is not even asked, and CUDA is not loaded."""
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: pytest.fail("CUDA was loaded"))
    assert session(tmp_path / "a", "", placement=Placement()).providers == ("CPUExecutionProvider",)
    with pytest.raises(ModelError, match="there is no GPU for it; add 'cpu'"):
        session(tmp_path / "b", "", placement=Placement(), wanted=("cuda",))


def test_a_gpu_that_does_not_start_is_an_error_and_not_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The runtime opens a session on the CPU when CUDA fails to start; that is not taken for a GPU.

    What the runtime prints of missing libraries stays off standard output, which holds the address alone.
    """
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: sys.stdout.write("Failed to load libcublas\n"))
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    start = onnxruntime.InferenceSession

    def without_cuda(path: str, given: Any, *, providers: list[Any], **rest: Any) -> Any:
        assert providers == [
            ("CUDAExecutionProvider", {"arena_extend_strategy": "kSameAsRequested", "device_id": "0"})
        ]
        return start(path, given, providers=["CPUExecutionProvider"], **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", without_cuda)
    with pytest.raises(ModelError, match=r"cannot run on gpu:0: .*'cuda'.*the ONNX runtime's log says why"):
        session(tmp_path, "", placement=Placement("gpu", 0))
    assert capsys.readouterr().out == ""


def test_an_empty_message_is_the_default() -> None:
    """A model without a config runs as one whose config says nothing."""
    assert read_tuning(model_config.ModelConfig()) == Tuning()
