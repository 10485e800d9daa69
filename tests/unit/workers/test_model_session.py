"""A model in memory: loading, running, failing, ending early."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest

from protos.errors import AccordError, Reason
from protos.tensor import DTYPES
from tests import models
from workers.model.errors import ModelError
from workers.model.repository import find
from workers.model.runtime import providers
from workers.model.runtime.instances import CPU, Placement
from workers.model.runtime.tuning import Tuning
from workers.model.session import Abort, Aborted, Session, load

if TYPE_CHECKING:
    from pathlib import Path


def session(folder: Path, model: bytes) -> Session:
    return load(find(models.write_model(folder, "m", model), "m"), threads="1")


def refusal(folder: Path, model: bytes) -> ModelError:
    with pytest.raises(ModelError) as caught:
        session(folder, model)
    return caught.value


@pytest.mark.parametrize("dims", [("n", 2), (), (0, 3)], ids=str)
def test_every_datatype_passes_unchanged(tmp_path: Path, dims: models.Dims) -> None:
    """What goes into an identity comes out, for rows, scalars and nothing at all."""
    shape = tuple(3 if d == "n" else d for d in dims)
    for folder, names in (("a", [n for n in DTYPES if n != "BF16"]), ("b", ["BF16", "FP32"])):
        model = session(tmp_path / folder, models.identity(names, dims))
        inputs = {f"x_{name}": sample(name, shape) for name in names}
        outputs = model.run(inputs)
        for name in names:
            answer, sent = outputs[f"y_{name}"], inputs[f"x_{name}"]
            assert answer.dtype == DTYPES[name]
            assert answer.shape == shape
            assert answer.tolist() == sent.tolist()


def sample(datatype: str, shape: tuple[int, ...]) -> np.ndarray:
    numbers = np.arange(np.prod(shape, dtype=int))
    if datatype == "BYTES":
        flat = np.empty(len(numbers), object)
        flat[:] = ["é\0☃".encode() * i for i in numbers]
        return flat.reshape(shape)
    return numbers.astype(DTYPES[datatype]).reshape(shape)


def test_only_the_wanted_outputs_come_in_their_order(tmp_path: Path) -> None:
    """A subset is computed and answered as named."""
    model = session(tmp_path, models.classifier())
    x = {"x": np.zeros((1, 3), np.float32)}
    assert list(model.run(x, ["label"])) == ["label"]
    assert list(model.run(x, ["label", "probabilities"])) == ["label", "probabilities"]
    assert list(model.run(x)) == ["probabilities", "label"]


@pytest.mark.parametrize("datatype", ["FP32", "BF16"])
def test_inputs_need_no_special_memory(tmp_path: Path, datatype: str) -> None:
    """Arrays that are read-only, strided or unaligned compute like any others."""
    model = session(tmp_path, models.identity([datatype]))
    plain = np.arange(8).astype(DTYPES[datatype]).reshape(4, 2)
    strided = np.repeat(plain, 2, axis=0)[::2]
    unaligned = np.frombuffer(memoryview(b"\0" + plain.tobytes())[1:], plain.dtype).reshape(4, 2)
    assert not strided.flags.contiguous
    assert not unaligned.flags.aligned
    assert not unaligned.flags.writeable
    for array in (plain, strided, unaligned):
        assert model.run({f"x_{datatype}": array})[f"y_{datatype}"].tolist() == plain.tolist()


def test_an_element_that_is_not_text_is_the_callers_fault(tmp_path: Path) -> None:
    """ONNX strings are Unicode; the message names tensor and element."""
    model = session(tmp_path, models.identity(["BYTES"]))
    with pytest.raises(AccordError, match="element 3 of input 'x_BYTES' is not UTF-8") as caught:
        model.run({"x_BYTES": np.array([[b"", b"a"], [b"b", b"\xff"]], object)})
    assert caught.value.reason is Reason.INPUT_REJECTED


def test_what_the_model_refuses_is_the_callers_fault(tmp_path: Path) -> None:
    """The runtime's INVALID_ARGUMENT is INPUT_REJECTED; its text stays on our side, as the cause."""
    with pytest.raises(AccordError) as caught:
        session(tmp_path, models.picky()).run({"index": np.array([7])})
    assert caught.value.reason is Reason.INPUT_REJECTED
    assert "out of data bounds" in str(caught.value.__cause__)
    assert "bounds" not in caught.value.message


def test_exhausted_memory_has_its_own_reason(tmp_path: Path) -> None:
    """An allocation that fails is DEVICE_OOM, and the session serves on."""
    model = session(tmp_path, models.greedy())
    with pytest.raises(AccordError) as caught:
        model.run({"count": np.array([1 << 45])})
    assert caught.value.reason is Reason.DEVICE_OOM
    assert model.run({"count": np.array([2])})["y"].shape == (2,)


def test_any_other_failure_is_internal(tmp_path: Path) -> None:
    """A fault inside a kernel is ours to explain in the log."""
    with pytest.raises(AccordError) as caught:
        session(tmp_path, models.greedy()).run({"count": np.array([-1])})
    assert caught.value.reason is Reason.INTERNAL
    assert caught.value.__cause__ is not None


def test_a_run_ends_when_it_is_told_to(tmp_path: Path) -> None:
    """Minutes of work end within one operator of the switch; without it they would go on."""
    model = session(tmp_path, models.slow())
    forever = {"steps": np.array([10**9])}
    abort = Abort()
    timer = threading.Timer(0.05, abort.set)
    timer.start()
    start = time.monotonic()
    with pytest.raises(Aborted):
        model.run(forever, abort=abort)
    assert time.monotonic() - start < 5
    with pytest.raises(Aborted):
        model.run(forever, abort=abort)
    assert model.run({"steps": np.array([3])}, abort=Abort())["y"].tolist() == [3]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    """Half a file is no model, and the message says so in the operator's words."""
    error = refusal(tmp_path, models.corrupt())
    assert (
        str(error) == f"{tmp_path}/m/1/model.onnx: is damaged, or not an ONNX file; export or copy it again"
    )


def test_an_unknown_operator_is_named(tmp_path: Path) -> None:
    """The message names the operator without the runtime's error numbers."""
    error = refusal(tmp_path, models.unsupported_operator())
    assert "No Op registered for Frobnicate" in error.cause
    assert "ONNXRuntimeError" not in error.cause


def test_strings_and_bf16_do_not_mix(tmp_path: Path) -> None:
    """What the runtime's interface cannot pass is refused at load, not at the first request."""
    assert "BF16 and string" in refusal(tmp_path, models.identity(["BF16", "BYTES"])).cause


@pytest.mark.parametrize("way", ["../secret.bin", "absolute", "link.bin"])
def test_weights_cannot_be_read_from_outside(tmp_path: Path, way: str) -> None:
    """A model file that points out of its version's directory is refused; inside, it loads."""
    secret = tmp_path / "m" / "secret.bin"
    location = str(secret) if way == "absolute" else way
    models.write_model(tmp_path, "m", models.external_data(location))
    models.write_model(tmp_path, "n", models.external_data("own.bin"))
    secret.write_bytes(np.ones(2, np.float32).tobytes())
    (tmp_path / "m" / "1" / "link.bin").symlink_to(secret)
    (tmp_path / "n" / "1" / "own.bin").write_bytes(np.ones(2, np.float32).tobytes())
    with pytest.raises(ModelError, match=r"in external data at|leads out of"):
        load(find(tmp_path, "m"), threads="1")
    assert load(find(tmp_path, "n"), threads="1").run({"x": np.zeros((1, 2), np.float32)})["y"].sum() == 2


def test_without_the_runtime_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both extras are named, because only the operator knows which device there is."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    cause = refusal(tmp_path, models.picky()).cause
    assert "accord-gateway[cpu]" in cause
    assert "accord-gateway[gpu]" in cause


def test_missing_providers_are_passed_over(tmp_path: Path) -> None:
    """A preference for accelerators still runs on a host without one, and says what it runs on."""
    files = find(models.write_model(tmp_path, "m", models.picky()), "m")
    assert load(files, wanted=("tensorrt", "cuda", "cpu"), threads="1").providers == ("CPUExecutionProvider",)


def test_providers_keep_the_wanted_order() -> None:
    """Only what the runtime has is chosen, in the caller's order."""
    every = list(providers.PROVIDERS.values())
    assert providers.choose(("cpu", "cuda"), every) == ("cpu", "cuda")
    assert providers.choose(providers.PREFERRED, every[1:]) == ("cuda", "cpu")
    named = providers.options(("cuda", "cpu"), Tuning(), CPU)
    assert [name for name, _ in named] == every[1:]


def test_tensorrt_is_tried_where_the_config_or_the_caller_names_it() -> None:
    """A list of the caller's wins over the config; without one, TensorRT needs a word of the config."""
    assert providers.order(providers.AUTO, tensorrt=False) == ("cuda", "cpu")
    assert providers.order(providers.AUTO, tensorrt=True) == ("tensorrt", "cuda", "cpu")
    assert providers.order(("cuda",), tensorrt=True) == ("cuda",)


def test_every_provider_of_the_gpu_gets_the_device() -> None:
    """The placement's index is what CUDA and TensorRT run on, beside what the config says."""
    tuning = Tuning(cuda={"use_tf32": "0"}, tensorrt={"trt_fp16_enable": "1"})
    named = dict(providers.options(providers.PREFERRED, tuning, Placement("gpu", 3)))
    assert named == {
        "TensorrtExecutionProvider": {"trt_fp16_enable": "1", "device_id": "3"},
        "CUDAExecutionProvider": {"use_tf32": "0", "device_id": "3"},
        "CPUExecutionProvider": {},
    }


def test_no_usable_provider_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wants an accelerator and nothing else is told that there is none."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    files = find(models.write_model(tmp_path, "m", models.picky()), "m")
    with pytest.raises(ModelError, match="built without them"):
        load(files, wanted=("cuda",), threads="1")
