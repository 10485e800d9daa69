"""Starting the ONNX runtime on a model file: its options, its providers, its device.

Rules:

- The runtime is imported when the first model is loaded, so that a gateway without local models needs none.
- A model placed on a GPU runs there or not at all: the runtime's own fallback to the CPU would be silent, and
  far slower. TensorRT that fails to start gives way to CUDA, with a warning.
- A model placed on the CPU is opened without the GPU's providers, so that CUDA never starts.

Measured on CPU: without the runtime's arena a run takes the same time, and its memory goes back to the
system; with varying row counts the arena never gives it back (microsoft/onnxruntime#11627). So it is off
unless the config asks for it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
from typing import TYPE_CHECKING, Any

from workers.model.errors import ModelError
from workers.model.runtime import providers
from workers.model.runtime.devices import available_gpus
from workers.model.runtime.instances import CPU, PlacementError, placements
from workers.model.runtime.threads import available_cpus, intra_op_threads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workers.model.repository import ModelFiles
    from workers.model.runtime.instances import Placement
    from workers.model.runtime.tuning import Tuning

__all__ = ["onnxruntime", "open_session", "place"]

_log = logging.getLogger(__name__)

#: "[ONNXRuntimeError] : 10 : INVALID_GRAPH : Load model from x failed:", which says nothing to an operator.
_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : (?:\w+ : )?(?:Load model from .*? failed:)?")


def onnxruntime() -> Any:
    """Import the runtime.

    Raises:
        ImportError: If it is not installed.
    """
    import onnxruntime as module  # noqa: PLC0415 - heavy, and optional

    return module


def place(files: ModelFiles, chosen: Sequence[str]) -> Placement:
    """Return the device of a model's first instance, for a process that nobody placed.

    Args:
        files: The model on disk.
        chosen: The providers that may be used, in order; where the CPU is the first, there is no GPU.

    Raises:
        ModelError: If the config wants a GPU that is not there.
    """
    gpus = 0 if chosen[0] == "cpu" else available_gpus()
    try:
        return placements(files.config.message, gpus)[0]
    except PlacementError as error:
        raise ModelError(files.config_path, str(error)) from None


def open_session(
    files: ModelFiles, *, wanted: Sequence[str], threads: str, placement: Placement | None
) -> tuple[Any, Placement]:
    """Open a model file on a device.

    Args:
        files: The model on disk.
        wanted: Execution providers by short name; see :func:`workers.model.runtime.providers.order`.
        threads: See :func:`workers.model.runtime.threads.intra_op_threads`.
        placement: The device; None for the first one that the config asks for.

    Returns:
        The runtime's session, and its device.

    Raises:
        ModelError: Naming the file at fault and the cause.
        ThreadsError: If ``threads`` cannot be read.
    """
    tuning = files.config.tuning
    count = intra_op_threads(threads, available_cpus(), configured=tuning.intra_op_threads)
    try:
        runtime = onnxruntime()
    except ImportError:
        raise ModelError(
            files.path,
            "needs the ONNX runtime, which is not installed; "
            "run pip install 'accord-gateway[cpu]' or pip install 'accord-gateway[gpu]'",
        ) from None
    tried = providers.order(wanted, tensorrt=tuning.tensorrt is not None)
    built = providers.choose(tried, runtime.get_available_providers())
    if not built:
        raise ModelError(files.path, f"{_none_usable(tried)}; this ONNX runtime was built without them")
    device = placement or place(files, built)
    usable = _usable(files, tried, built, device)
    if device != CPU:
        _preload(runtime)
    session = _start(runtime, files, usable, _session_options(runtime, tuning, count), device)
    facts = {"model": files.name, "version": files.version, "providers": session.get_providers()}
    _log.info("model loaded", extra={**facts, "wanted": list(tried), "device": device.text, "threads": count})
    return session, device


def _usable(
    files: ModelFiles, tried: Sequence[str], built: Sequence[str], device: Placement
) -> tuple[str, ...]:
    """Return the providers to start with on a device; on a GPU the CPU's only helps out."""
    if device == CPU:
        if "cpu" not in built:
            raise ModelError(files.path, f"{_none_usable(built)}, because there is no GPU for it; add 'cpu'")
        return ("cpu",)
    usable = tuple(name for name in built if name != "cpu")
    if not usable:
        cure = (
            "this ONNX runtime was built without GPUs; run pip install 'accord-gateway[gpu]'"
            if set(tried) - {"cpu"}
            else "only 'cpu' is wanted; add 'cuda'"
        )
        raise ModelError(files.path, f"cannot run on {device.text}: {cure}")
    return usable


def _none_usable(wanted: Sequence[str]) -> str:
    return f"cannot run on any of the execution providers {', '.join(map(repr, wanted))}"


def _preload(runtime: Any) -> None:
    """Let the runtime load CUDA's libraries from Python packages; it prints what it misses, so catch that."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        runtime.preload_dlls()
    if printed.getvalue():
        _log.info("CUDA libraries not preloaded", extra={"cause": printed.getvalue()[:2000]})


def _session_options(runtime: Any, tuning: Tuning, threads: int) -> Any:
    options = runtime.SessionOptions()
    options.graph_optimization_level = getattr(runtime.GraphOptimizationLevel, tuning.graph_level)
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = (tuning.inter_op_threads or threads) if tuning.parallel else 1
    if tuning.parallel:
        options.execution_mode = runtime.ExecutionMode.ORT_PARALLEL
    options.enable_cpu_mem_arena = tuning.arena
    options.enable_mem_pattern = tuning.pattern
    options.log_severity_level = 4
    for key, value in tuning.session.items():
        options.add_session_config_entry(key, value)
    return options


def _start(runtime: Any, files: ModelFiles, usable: Sequence[str], options: Any, device: Placement) -> Any:
    """Open the session on the first provider that starts."""
    named = providers.options(usable, files.config.tuning, device)
    try:
        session = runtime.InferenceSession(str(files.path), options, providers=named, enable_fallback=0)
    except (RuntimeError, ValueError) as error:
        if len(usable) == 1:
            raise _unloadable(files, error, device) from error
        _log.warning("execution provider failed to start", exc_info=error, extra={"provider": usable[0]})
        return _start(runtime, files, usable[1:], options, device)
    except Exception as error:
        raise _unloadable(files, error, device) from error
    used = session.get_providers()
    if not any(providers.PROVIDERS[name] in used for name in usable):
        raise ModelError(
            files.path,
            f"cannot run on {device.text}: {_none_usable(usable)}; the ONNX runtime's log says why. "
            "Is there such a device, with the CUDA and cuDNN libraries? For the CPU, want 'cpu' only",
        )
    return session


def _unloadable(files: ModelFiles, error: Exception, device: Placement) -> ModelError:
    if type(error).__name__ == "InvalidProtobuf":
        return ModelError(files.path, "is damaged, or not an ONNX file; export or copy it again")
    lines = _PREFIX.sub("", str(error)).splitlines() or [type(error).__name__]
    where = "" if device == CPU else f" on {device.text}"
    return ModelError(files.path, f"cannot be loaded by the ONNX runtime{where} ({lines[0][:500]})")
