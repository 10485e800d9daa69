"""How a model is to run, as its ``config.pbtxt`` says: ``optimization`` and ``parameters`` as one value.

Source: Triton's onnxruntime backend (``README.md``, ``src/onnxruntime.cc``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workers.model.runtime.options import CUDA, PARAMETERS, REFUSED, TENSORRT, Option, OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SHRINKAGE", "Tuning", "read_tuning", "unknown_parameters"]

#: The run option that gives an arena's unused memory back.
SHRINKAGE = "memory.enable_memory_arena_shrinkage"

#: Triton's ``optimization.graph.level`` -> the runtime's; 2 is below -1, as in Triton's backend.
_GRAPH_LEVELS = {
    -1: "ORT_ENABLE_BASIC",
    0: "ORT_ENABLE_ALL",
    1: "ORT_ENABLE_EXTENDED",
    2: "ORT_DISABLE_ALL",
}
_PRECISIONS = {"FP16": "trt_fp16_enable", "BF16": "trt_bf16_enable", "INT8": "trt_int8_enable"}
_CUDA_PARAMETERS = (
    "cudnn_conv_algo_search",
    "gpu_mem_limit",
    "arena_extend_strategy",
    "do_copy_in_default_stream",
)

#: Ours where the config says nothing. Spinning takes the CPU from the neighbours.
_SESSION = {"session.intra_op.allow_spinning": "0", "session.inter_op.allow_spinning": "0"}
#: A CUDA arena that doubles at each step takes memory from the other workers of the device.
_CUDA = {"arena_extend_strategy": "kSameAsRequested"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """How a model is to run.

    Args:
        graph_level: The runtime's name of the graph optimizations.
        intra_op_threads: Threads for one operator; 0 if the config does not say.
        inter_op_threads: Operators at a time; 0 if the config does not say.
        parallel: Whether independent operators run side by side.
        arena: Whether freed CPU memory is kept.
        pattern: Whether memory is allocated by the pattern of the first run.
        shrink: Devices, as ``cpu:0``, whose arenas give unused memory back after each run.
        session: The runtime's session configuration.
        cuda: Options of the CUDA provider.
        tensorrt: Options of the TensorRT provider; None if the config does not name it.
        max_tokens: The most tokens of a text; 0 if the config does not say.
        refuses_long: Whether longer texts are refused; they are cut otherwise.
    """

    graph_level: str = "ORT_ENABLE_ALL"
    intra_op_threads: int = 0
    inter_op_threads: int = 0
    parallel: bool = False
    arena: bool = False
    pattern: bool = False
    shrink: tuple[str, ...] = ()
    session: Mapping[str, str] = field(default_factory=_SESSION.copy)
    cuda: Mapping[str, str] = field(default_factory=_CUDA.copy)
    tensorrt: Mapping[str, str] | None = None
    max_tokens: int = 0
    refuses_long: bool = False


def read_tuning(message: Any) -> Tuning:
    """Read the tuning of a ``ModelConfig`` message.

    Raises:
        OptionError: If a value is wrong, or an accelerator or one of its parameters is not offered.

    Example:
        >>> from protos.oip import model_config
        >>> message = model_config.ModelConfig(optimization={"graph": {"level": 1}})
        >>> read_tuning(message).graph_level
        'ORT_ENABLE_EXTENDED'
    """
    says = {
        key: PARAMETERS[key].read(f"parameters.{key}", parameter.string_value)
        for key, parameter in message.parameters.items()
        if key in PARAMETERS
    }
    accelerators = _accelerators(message.optimization.execution_accelerators.gpu_execution_accelerator)
    arena = says.get("enable_mem_arena") == "1"
    shrink = tuple(says[SHRINKAGE].split(";")) if SHRINKAGE in says else ()
    if "cpu:0" in shrink and not arena:
        raise OptionError(f"parameters.{SHRINKAGE} names cpu:0, which has no arena; set enable_mem_arena")
    return Tuning(
        graph_level=_graph_level(message.optimization.graph.level),
        intra_op_threads=int(says.get("intra_op_thread_count", 0)),
        inter_op_threads=int(says.get("inter_op_thread_count", 0)),
        parallel=says.get("execution_mode") == "parallel",
        arena=arena,
        pattern=says.get("enable_mem_pattern") == "1",
        shrink=shrink,
        session={**_SESSION, **{key: value for key, value in says.items() if key.startswith("session.")}},
        cuda={
            **_CUDA,
            **{key: says[key] for key in _CUDA_PARAMETERS if key in says},
            **accelerators.get("cuda", {}),
        },
        tensorrt=accelerators.get("tensorrt"),
        max_tokens=int(says.get("max_tokens", 0)),
        refuses_long=says.get("long_text") == "refuse",
    )


def unknown_parameters(message: Any) -> tuple[str, ...]:
    """Return the paths of the config's ``parameters`` that nothing here knows, sorted."""
    return tuple(f"parameters.{key}" for key in sorted(message.parameters) if key not in PARAMETERS)


def _graph_level(level: int) -> str:
    if level not in _GRAPH_LEVELS:
        raise OptionError(f"optimization.graph.level is {level}; use one of -1, 0, 1 and 2")
    return _GRAPH_LEVELS[level]


def _accelerators(entries: Any) -> dict[str, dict[str, str]]:
    """Read ``gpu_execution_accelerator``: the runtime's options by the accelerator's name."""
    found: dict[str, dict[str, str]] = {}
    for i, entry in enumerate(entries):
        where = f"optimization.execution_accelerators.gpu_execution_accelerator[{i}]"
        table = {"tensorrt": TENSORRT, "cuda": CUDA}.get(entry.name)
        if table is None:
            raise OptionError(f"{where}.name is {entry.name[:64]!r}; use 'tensorrt' or 'cuda'")
        if entry.name in found:
            raise OptionError(f"{where} is a second {entry.name!r}; list it once")
        found[entry.name] = dict(
            _provider_option(f"{where}.parameters.{key}", key, text, table)
            for key, text in sorted(entry.parameters.items())
            if (key, text) != ("precision_mode", "FP32")
        )
    return found


def _provider_option(where: str, key: str, text: str, table: Mapping[str, Option]) -> tuple[str, str]:
    if key in REFUSED:
        raise OptionError(f"{where} is not offered: {REFUSED[key]}")
    if key not in table:
        raise OptionError(f"{where} is unknown; use some of {', '.join(table)}")
    value = table[key].read(where, text)
    return (_PRECISIONS[value], "1") if key == "precision_mode" else (table[key].target or key, value)
