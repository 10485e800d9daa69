"""What only a GPU can show: placement, bound tensors, limits and providers of the real device.

``make test-gpu`` runs these on a machine with an NVIDIA GPU and its driver. The same code with the CPU in
place of the GPU is tested in ``tests/unit/workers``.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest

from protos.errors import AccordError, Reason
from protos.tensor import DTYPES
from tests import models
from workers.model.errors import ModelError
from workers.model.repository import find
from workers.model.runtime.devices import available_gpus
from workers.model.runtime.instances import Placement
from workers.model.runtime.providers import PROVIDERS
from workers.model.session import Abort, Aborted, Session, load
from workers.model.warmup import warm_up

if TYPE_CHECKING:
    from pathlib import Path

BUILT = onnxruntime.get_available_providers()
pytestmark = pytest.mark.skipif(
    not available_gpus() or PROVIDERS["cuda"] not in BUILT,
    reason="needs a GPU and the ONNX runtime built for it; run make test-gpu there",
)

GPU = Placement("gpu", 0)
NUMBERS = [name for name in DTYPES if name not in ("BYTES", "BF16")]


def session(
    folder: Path,
    model: bytes,
    config: str = "",
    *,
    placement: Placement | None = GPU,
    **wishes: tuple[str, ...],
) -> Session:
    files = find(models.write_model(folder, "m", model, config=config), "m")
    return load(files, threads="1", placement=placement, **wishes)


def accelerator(name: str, **parameters: str) -> str:
    entries = "".join(f'parameters {{ key: "{k}" value: "{v}" }} ' for k, v in parameters.items())
    accelerators = f'gpu_execution_accelerator [ {{ name: "{name}" {entries}}} ]'
    return f"optimization {{ execution_accelerators {{ {accelerators} }} }}"


def limited(bytes_: int) -> str:
    return accelerator("cuda", gpu_mem_limit=str(bytes_))


def weights(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((256, 64))


@pytest.mark.parametrize("rows", [1, 7, 256])
def test_the_gpu_answers_what_the_cpu_answers(tmp_path: Path, rows: int) -> None:
    """In full precision a model's answers agree between the devices."""
    model = models.linear(weights(0))
    on_gpu = session(tmp_path / "gpu", model, accelerator("cuda", use_tf32="0"))
    on_cpu = session(tmp_path / "cpu", model, placement=Placement())
    x = {"x": np.random.default_rng(rows).standard_normal((rows, 256)).astype(np.float32)}
    np.testing.assert_allclose(on_gpu.run(x)["y"], on_cpu.run(x)["y"], rtol=1e-4, atol=1e-4)


def test_a_model_is_placed_on_the_first_gpu_by_itself(tmp_path: Path) -> None:
    """Without a word, CUDA comes first and the CPU helps out."""
    model = session(tmp_path, models.linear(weights(0)), placement=None)
    assert model.placement == GPU
    assert model.providers[0] == PROVIDERS["cuda"]
    warm_up(model)


@pytest.mark.parametrize("dims", [("n", 2), (), (0, 3)], ids=str)
def test_every_datatype_passes_the_device_unchanged(tmp_path: Path, dims: models.Dims) -> None:
    """Bound tensors come back bit by bit; BF16 too, and strings pass beside the device."""
    shape = tuple(5 if d == "n" else d for d in dims)
    for folder, names in (("a", NUMBERS), ("b", ["BF16", "FP32"])):
        model = session(tmp_path / folder, models.identity(names, dims))
        assert model._compute.__qualname__.startswith("bound")
        rng = np.random.default_rng(0)
        inputs = {f"x_{name}": (rng.random(shape) * 100).astype(DTYPES[name]) for name in names}
        outputs = model.run(inputs)
        for name in names:
            assert outputs[f"y_{name}"].shape == shape
            assert outputs[f"y_{name}"].tobytes() == inputs[f"x_{name}"].tobytes()
    text = session(tmp_path / "c", models.identity(["BYTES", "FP32"], dims))
    words = np.full(shape, "é☃".encode(), object)
    answer = text.run({"x_BYTES": words, "x_FP32": np.zeros(shape, np.float32)})
    assert answer["y_BYTES"].tolist() == words.tolist()


def test_an_answer_outlives_the_next_run(tmp_path: Path) -> None:
    """What was copied from the device is the answer's own."""
    model = session(tmp_path, models.linear(np.eye(2)))
    first = model.run({"x": np.full((3, 2), 1, np.float32)})["y"]
    second = model.run({"x": np.full((3, 2), 2, np.float32)})["y"]
    assert (first.tolist(), second.tolist()) == ([[1, 1]] * 3, [[2, 2]] * 3)


def test_runs_from_several_threads_do_not_mix(tmp_path: Path) -> None:
    """Each run has a binding of its own on the device."""
    model = session(tmp_path, models.linear(np.eye(2)))
    wrong: list[int] = []

    def ask(number: int) -> None:
        for rows in range(1, 100):
            answer = model.run({"x": np.full((rows, 2), number, np.float32)})["y"]
            if answer.shape != (rows, 2) or not (answer == number).all():
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_request_beyond_the_memory_limit_is_device_oom(tmp_path: Path) -> None:
    """``gpu_mem_limit`` holds: one request fails with its reason, and the session serves on."""
    model = session(tmp_path, models.greedy(), limited(64 << 20))
    with pytest.raises(AccordError) as caught:
        model.run({"count": np.array([1 << 26])})
    assert caught.value.reason is Reason.DEVICE_OOM
    assert model.run({"count": np.array([1000])})["y"].shape == (1000,)


def test_a_model_beyond_the_memory_limit_is_not_loaded(tmp_path: Path) -> None:
    """64 MiB of weights do not fit into 1 MiB, and the CPU does not take them silently."""
    with pytest.raises(ModelError, match="gpu:0"):
        session(tmp_path, models.linear(np.ones((4096, 4096))), limited(1 << 20))


def test_a_gpu_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """A placement beyond the last device, and a group that lists one, say so."""
    absent = available_gpus()
    with pytest.raises(ModelError, match=f"gpu:{absent}"):
        session(tmp_path / "a", models.picky(), placement=Placement("gpu", absent))
    config = f"instance_group [ {{ kind: KIND_GPU gpus: [{absent}] }} ]"
    with pytest.raises(ModelError, match=f"lists GPU {absent}, but {absent} GPUs"):
        session(tmp_path / "b", models.picky(), config, placement=None)


def test_a_run_ends_when_it_is_told_to(tmp_path: Path) -> None:
    """Work on the device ends within one operator of the switch."""
    model = session(tmp_path, models.slow())
    abort = Abort()
    timer = threading.Timer(0.2, abort.set)
    timer.start()
    with pytest.raises(Aborted):
        model.run({"steps": np.array([10**9])}, abort=abort)
    assert model.run({"steps": np.array([3])})["y"].tolist() == [3]


ON_THE_CPU = """
import sys
from pathlib import Path
from workers.model.runtime.instances import Placement
from workers.model.repository import find
from workers.model.session import load
load(find(Path(sys.argv[1]), "m"), threads="1", placement=Placement())
maps = Path("/proc/self/maps").read_text()
print([name for name in ("libcuda.", "libcudart", "providers_cuda") if name in maps])
"""


def test_a_process_on_the_cpu_never_touches_the_gpu(tmp_path: Path) -> None:
    """Not even CUDA's libraries are loaded."""
    models.write_model(tmp_path, "m", models.linear(np.eye(2)))
    command = [sys.executable, "-c", ON_THE_CPU, str(tmp_path)]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize(("precision", "tolerance"), [("FP32", 1e-2), ("FP16", 5e-2)])
def test_tensorrt_answers_what_the_cpu_answers(tmp_path: Path, precision: str, tolerance: float) -> None:
    """The accelerator that the config names computes, in the precision that it allows."""
    model = models.linear(weights(0) / 16)
    config = accelerator("tensorrt", precision_mode=precision)
    on_gpu = session(tmp_path / "gpu", model, config)
    if PROVIDERS["tensorrt"] not in on_gpu.providers:
        pytest.skip("needs a GPU with TensorRT's libraries")
    on_cpu = session(tmp_path / "cpu", model, placement=Placement())
    x = {"x": np.random.default_rng(1).standard_normal((8, 256)).astype(np.float32)}
    np.testing.assert_allclose(on_gpu.run(x)["y"], on_cpu.run(x)["y"], rtol=tolerance, atol=tolerance)
