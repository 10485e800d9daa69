"""The options of the ONNX runtime that a ``config.pbtxt`` may set, by Triton's names, with their syntax.

Three tables: :data:`PARAMETERS` (the config's ``parameters``), and :data:`CUDA` and :data:`TENSORRT` (the
parameters of ``gpu_execution_accelerator``). Triton passes unknown parameters of a model on, so those are
no mistake; an unknown parameter of an accelerator is one, as it is there.

Sources: Triton's onnxruntime backend (``README.md``, ``src/onnxruntime.cc``); ONNX Runtime "CUDA Execution
Provider" and "TensorRT Execution Provider"; ``onnxruntime_session_options_config_keys.h``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from protos.model import INDEPENDENT

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CUDA", "PARAMETERS", "REFUSED", "TENSORRT", "Option", "OptionError"]


class OptionError(ValueError):
    """An option that cannot be taken. The message is for the operator, and names the field."""


@dataclass(frozen=True, slots=True)
class _Syntax:
    """What an option's text may be.

    Args:
        expects: The same in words.
        pattern: What the text must match.
        becomes: Spellings that the runtime does not know, and its own.
    """

    expects: str
    pattern: re.Pattern[str]
    becomes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    Args:
        syntax: What its text may be.
        text: What it does.
        target: The runtime's name of it, where that differs from Triton's.
    """

    syntax: _Syntax
    text: str
    target: str = ""

    @property
    def expects(self) -> str:
        """What the option's text may be, in words."""
        return self.syntax.expects

    def read(self, where: str, text: str) -> str:
        """Return the option's value as the runtime spells it.

        Args:
            where: The field, for the message.
            text: What the config says.

        Raises:
            OptionError: If the text is not what the option expects.

        Example:
            >>> PARAMETERS["arena_extend_strategy"].read("parameters.arena_extend_strategy", "1")
            'kSameAsRequested'
        """
        if not self.syntax.pattern.fullmatch(text):
            raise OptionError(f"{where} is {text[:64]!r}; use {self.syntax.expects}")
        return self.syntax.becomes.get(text, text)


def _choice(values: Mapping[str, str]) -> _Syntax:
    words = [f"{text} ({value})" if text != value else text for text, value in values.items()]
    pattern = "|".join(map(re.escape, values))
    return _Syntax(f"{', '.join(words[:-1])} or {words[-1]}", re.compile(pattern), values)


_SWITCH = _Syntax("0, 1, false or true", re.compile("0|1|false|true"), {"false": "0", "true": "1"})
_COUNT = _Syntax("a number from 0 to 9999", re.compile("[0-9]{1,4}"))
_TOKENS = _Syntax("a number from 1 to 99999", re.compile("[1-9][0-9]{0,4}"))
_BYTES = _Syntax("a number of bytes above 0", re.compile("[1-9][0-9]{0,18}"))
_INTEGER = _Syntax("a number", re.compile("-?[0-9]{1,9}"))
_TEXT = _Syntax("text", re.compile(r"[^\0\r\n]{1,4096}"))
_SHAPES = _Syntax(
    "shapes as input:2x3,other:4x5", re.compile(r"[^,:\s]+:\d+(?:x\d+)*(?:,[^,:\s]+:\d+(?:x\d+)*)*")
)
_ARENAS = _Syntax(
    "devices as cpu:0;gpu:0", re.compile(r"(?:cpu:0|gpu:[0-9]{1,3})(?:;(?:cpu:0|gpu:[0-9]{1,3}))*")
)

_ALGO_SEARCH = ("EXHAUSTIVE", "HEURISTIC", "DEFAULT")
_EXTEND = ("kNextPowerOfTwo", "kSameAsRequested")


def _numbered(values: tuple[str, ...]) -> _Syntax:
    return _choice({str(number): value for number, value in enumerate(values)})


def _named(values: tuple[str, ...]) -> _Syntax:
    return _choice({value: value for value in values})


#: The config's ``parameters``.
PARAMETERS: Mapping[str, Option] = {
    "intra_op_thread_count": Option(_COUNT, "Threads for one operator; 0 leaves it to `--threads`."),
    "inter_op_thread_count": Option(_COUNT, "Operators at a time in parallel mode; 0: as many as threads."),
    "execution_mode": Option(
        _numbered(("sequential", "parallel")), "Whether independent operators run side by side."
    ),
    "enable_mem_arena": Option(_SWITCH, "Keep freed CPU memory for the next run; off if absent."),
    "enable_mem_pattern": Option(_SWITCH, "Allocate by the pattern of the first run; off if absent."),
    "memory.enable_memory_arena_shrinkage": Option(
        _ARENAS,
        "Arenas that give unused memory back after each run; other workers' devices are passed over.",
    ),
    "session.use_device_allocator_for_initializers": Option(_SWITCH, "Keep weights outside the arena."),
    "session.intra_op.allow_spinning": Option(_SWITCH, "Threads burn CPU while they wait; off if absent."),
    "session.inter_op.allow_spinning": Option(_SWITCH, "The same for parallel mode; off if absent."),
    "session.set_denormal_as_zero": Option(_SWITCH, "Treat denormal numbers as zero."),
    "session.disable_prepacking": Option(_SWITCH, "Do not store weights in a second layout."),
    "cudnn_conv_algo_search": Option(_numbered(_ALGO_SEARCH), "How cuDNN finds a convolution's algorithm."),
    "gpu_mem_limit": Option(_BYTES, "Most bytes of device memory in the CUDA provider's arena."),
    "arena_extend_strategy": Option(_numbered(_EXTEND), "How that arena grows; 1 if absent."),
    "do_copy_in_default_stream": Option(_SWITCH, "Copy in the stream that computes."),
    INDEPENDENT: Option(
        _named(("true", "false")),
        "Ours: whether a row's answer is the same whatever rows ride with it; what "
        "[warm-up](workers.md#independent-rows) finds out counts more.",
    ),
    "max_tokens": Option(
        _TOKENS, "Ours, for [text models](text.md): the most tokens of a text, special ones included."
    ),
    "long_text": Option(
        _named(("truncate", "refuse")), "Ours: what becomes of longer ones; they are cut if absent."
    ),
}

#: Parameters of the accelerator ``cuda``.
CUDA: Mapping[str, Option] = {
    "gpu_mem_limit": PARAMETERS["gpu_mem_limit"],
    "arena_extend_strategy": Option(_named(_EXTEND), "How the arena grows; kSameAsRequested if absent."),
    "cudnn_conv_algo_search": Option(_named(_ALGO_SEARCH), PARAMETERS["cudnn_conv_algo_search"].text),
    "do_copy_in_default_stream": PARAMETERS["do_copy_in_default_stream"],
    "cudnn_conv_use_max_workspace": Option(_SWITCH, "Let cuDNN use as much memory as it likes."),
    "cudnn_conv1d_pad_to_nc1d": Option(_SWITCH, "Pad one-dimensional convolutions in the other way."),
    "use_ep_level_unified_stream": Option(_SWITCH, "One stream for all threads."),
    "use_tf32": Option(_SWITCH, "Multiply FP32 in TF32 on Ampere and later; 0 for full precision."),
    "prefer_nhwc": Option(_SWITCH, "Prefer channels last."),
    "fuse_conv_bias": Option(_SWITCH, "Fuse a convolution with its bias."),
    "enable_skip_layer_norm_strict_mode": Option(_SWITCH, "More precise, slower layer norm."),
}

#: Parameters of the accelerator ``tensorrt``.
TENSORRT: Mapping[str, Option] = {
    "precision_mode": Option(_named(("FP32", "FP16", "BF16", "INT8")), "Precision that engines may use."),
    "max_workspace_size_bytes": Option(_BYTES, "Memory of a run's workspace.", "trt_max_workspace_size"),
    "int8_calibration_table_name": Option(_TEXT, "Calibration of INT8.", "trt_int8_calibration_table_name"),
    "int8_use_native_calibration_table": Option(
        _SWITCH, "That table is TensorRT's own.", "trt_int8_use_native_calibration_table"
    ),
    "trt_max_partition_iterations": Option(_INTEGER, "Tries to split the graph."),
    "trt_min_subgraph_size": Option(_INTEGER, "Fewest operators that are worth an engine."),
    "trt_engine_cache_enable": Option(_SWITCH, "Keep built engines; building takes minutes."),
    "trt_engine_cache_path": Option(_TEXT, "The engines' directory, writable by nobody untrusted."),
    "trt_engine_cache_prefix": Option(_TEXT, "Begin of the engines' file names."),
    "trt_timing_cache_enable": Option(_SWITCH, "Keep timings of kernels."),
    "trt_timing_cache_path": Option(_TEXT, "The timings' directory."),
    "trt_force_timing_cache": Option(_SWITCH, "Use timings of another device of the same kind."),
    "trt_force_sequential_engine_build": Option(_SWITCH, "Build one engine at a time."),
    "trt_context_memory_sharing_enable": Option(_SWITCH, "Engines share their memory."),
    "trt_layer_norm_fp32_fallback": Option(_SWITCH, "Layer norm stays in FP32."),
    "trt_build_heuristics_enable": Option(_SWITCH, "Build faster, by heuristics."),
    "trt_builder_optimization_level": Option(_INTEGER, "How long the builder searches, 0 to 5."),
    "trt_auxiliary_streams": Option(_INTEGER, "Streams beside the main one; -1: heuristics."),
    "trt_sparsity_enable": Option(_SWITCH, "Use sparse tactics."),
    "trt_tactic_sources": Option(_TEXT, "Libraries to take tactics from, such as -CUDNN,+CUBLAS."),
    "trt_detailed_build_log": Option(_SWITCH, "Log the build in detail."),
    "trt_dla_enable": Option(_SWITCH, "Use a DLA core."),
    "trt_dla_core": Option(_COUNT, "Which DLA core."),
    "trt_profile_min_shapes": Option(_SHAPES, "Least shapes of the inputs."),
    "trt_profile_max_shapes": Option(_SHAPES, "Largest shapes of the inputs."),
    "trt_profile_opt_shapes": Option(_SHAPES, "Shapes that engines are built for."),
}

_GRAPH = "a CUDA graph needs every tensor at a fixed device address; remove it"
_CONTEXT = "a worker writes no models; remove it"

#: Parameters of an accelerator that are known, and why they are not offered.
REFUSED: Mapping[str, str] = {
    "device_id": "instance_group decides the device; remove it",
    "user_compute_stream": "a worker has no stream of its own; remove it",
    "enable_cuda_graph": _GRAPH,
    "trt_cuda_graph_enable": _GRAPH,
    "trt_extra_plugin_lib_paths": "plugin libraries are not loaded; export with standard operators",
    "trt_dump_subgraphs": _CONTEXT,
    "trt_dump_ep_context_model": _CONTEXT,
    "trt_ep_context_file_path": _CONTEXT,
    "trt_ep_context_embed_mode": _CONTEXT,
}
