"""Every field of ``config.pbtxt``: offered, refused with a reason, or without effect with a reason.

Rules:

- An entry of :data:`FIELDS` speaks for a field and for all fields below it that have no entry of their own.
- What would change the meaning of an answer, or asks for what is not there, is refused; what only tunes
  Triton has no effect and is named in the log.
- A field without any entry counts as one without effect: what nobody thought of is named too.

Sources: Triton ``model_config.proto``; Triton "Model Configuration".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["FIELDS", "Effect", "Field", "entry_of", "said", "without_effect"]


class Effect(Enum):
    """What a worker makes of a field."""

    OFFERED = "offered"
    REFUSED = "refused"
    NONE = "no effect"


@dataclass(frozen=True, slots=True)
class Field:
    """One entry: the effect, and what the field does, or why not and what to do instead."""

    effect: Effect
    text: str


_TENSORRT_PLANS = "Triton itself heeds it for TensorRT plans only."
_SHAPE_TENSOR = "a worker passes tensors as they come; serve the model with Triton"

_OFFERED = {
    "name": "Must equal the directory's name.",
    "platform": "Must be `onnxruntime_onnx`, or absent.",
    "backend": "Must be `onnxruntime`, or absent.",
    "version_policy": "Which versions are served, side by side; the highest answers where none is named.",
    "max_batch_size": (
        "Above 0: the model batches, and `dims` leave out the row dimension. 0: it does not. Absent: it "
        "batches, up to 256 rows, if the first dimension of every input and output is dynamic."
    ),
    "input": (
        "All inputs must be listed, or none; `data_type` and `dims` may be left out. Of a "
        "[text model](text.md): its input of texts, by any name, for those of tokens."
    ),
    "input.dims": "May fix a dynamic dimension.",
    "input.optional": "May be left out of a request; needs a default in the ONNX file.",
    "input.reshape": "Clients see `dims`, the model sees `reshape.shape`.",
    "output": (
        "Outputs that are not listed are not served; `data_type` and `dims` may be left out. Integers may be "
        "`TYPE_STRING`: [labels or texts](text.md#strings-out)."
    ),
    "output.dims": "May fix a dynamic dimension.",
    "output.reshape": "Clients see `dims`, the model sees `reshape.shape`.",
    "output.label_filename": "Class names along the output's last dimension; of a `TYPE_STRING`, by number.",
    "optimization.graph.level": (
        "Graph optimizations. 0: all. 1: basic and extended ones. -1: basic ones. 2: none."
    ),
    "optimization.execution_accelerators.gpu_execution_accelerator": (
        "`tensorrt` and `cuda` with the parameters below; used by workers on a GPU."
    ),
    "dynamic_batching": "How requests wait for one another; see [Batching](workers.md#batching).",
    "instance_group": "How many workers, and on which devices; each worker is one instance on one device.",
    "instance_group.name": "Names the group in messages about it.",
    "instance_group.kind": (
        "`KIND_GPU`: on GPUs or not at all. `KIND_CPU`, `KIND_MODEL`: on the CPU. `KIND_AUTO`: on the "
        "listed GPUs, or on every GPU; on the CPU if one is missing."
    ),
    "instance_group.count": "Instances on the CPU, or on each GPU; 1 if absent.",
    "instance_group.gpus": "Which GPUs; all if absent.",
    "default_model_filename": "Another name than `model.onnx`.",
    "parameters": "Those of Triton's onnxruntime backend; see below. Others have no effect.",
    "model_warmup": "Shapes and data of the warm-up.",
}
_REFUSED = {
    "input.is_shape_tensor": _SHAPE_TENSOR,
    "input.is_non_linear_format_io": _SHAPE_TENSOR,
    "input.allow_ragged_batch": "rows of one batch have one shape; serve the model with Triton",
    "output.is_shape_tensor": _SHAPE_TENSOR,
    "output.is_non_linear_format_io": _SHAPE_TENSOR,
    "batch_input": "a worker adds no tensors of its own; serve the model with Triton",
    "batch_output": "a worker scatters no outputs; serve the model with Triton",
    "sequence_batching": "a worker keeps no state between calls; serve the model with Triton",
    "ensemble_scheduling": "a worker hosts one model; describe the ensemble in the gateway's config",
    "instance_group.secondary_devices": "a worker uses no DLA core; remove it",
    "instance_group.profile": "ONNX models have no TensorRT profiles; set trt_profile_min_shapes and its kin",
    "instance_group.passive": "every instance takes requests; remove the group",
    "cc_model_filenames": "give one file by default_model_filename",
    "model_operations": "custom operator libraries are not loaded; export with standard operators",
    "model_transaction_policy.decoupled": (
        "a request has one answer, so decoupled ones do not fit; serve the model with Triton"
    ),
    "model_repository_agents": "agents are not run; put the prepared files into the repository",
    "response_cache.enable": (
        "a worker keeps no answers, because it cannot know that the model is deterministic; remove it"
    ),
}
_NONE = {
    "runtime": "A worker has one runtime.",
    "input.format": "A tensor's `dims` say all that a worker needs.",
    "optimization.priority": _TENSORRT_PLANS,
    "optimization.cuda": _TENSORRT_PLANS,
    "optimization.execution_accelerators.cpu_execution_accelerator": (
        "The ONNX runtime that a worker installs is built without OpenVINO; its CPU provider computes."
    ),
    "optimization.input_pinned_memory": "The CUDA provider copies tensors itself.",
    "optimization.output_pinned_memory": "The CUDA provider copies tensors itself.",
    "optimization.gather_kernel_buffer_threshold": _TENSORRT_PLANS,
    "optimization.eager_batching": _TENSORRT_PLANS,
    "instance_group.rate_limiter": "Workers are processes; the system's scheduler shares the host.",
    "instance_group.host_policy": "Bind workers by the supervisor or the container instead.",
    "metric_tags": "A worker keeps no metrics; the gateway's have their own labels.",
    "model_metrics": "A worker keeps no metrics; the gateway's have their own buckets.",
}

#: Dotted path of a field (keys of maps left out) -> its entry.
FIELDS: dict[str, Field] = {
    path: Field(effect, text)
    for effect, texts in ((Effect.OFFERED, _OFFERED), (Effect.REFUSED, _REFUSED), (Effect.NONE, _NONE))
    for path, text in texts.items()
}


def entry_of(path: str) -> str:
    """Return the path of the entry that speaks for a field: its own, or the nearest above; empty for none.

    Example:
        >>> entry_of("optimization.cuda.graphs"), entry_of("output.reshape.shape"), entry_of("optimization")
        ('optimization.cuda', 'output.reshape', '')
    """
    while path and path not in FIELDS:
        path = path.rpartition(".")[0]
    return path


def said(message: Any) -> tuple[str, ...]:
    """Return the paths of all fields that a config sets, down to the last, each once and in order."""
    return tuple(dict.fromkeys(_paths(message, "")))


def without_effect(paths: Iterable[str]) -> tuple[str, ...]:
    """Return those of the paths that change nothing here."""
    return tuple(path for path in paths if _is_idle(path))


def _is_idle(path: str) -> bool:
    if entry := entry_of(path):
        return FIELDS[entry].effect is Effect.NONE
    # an empty message whose inner fields have entries says nothing at all
    return not any(known.startswith(f"{path}.") for known in FIELDS)


def _paths(message: Any, above: str) -> Iterator[str]:
    fields = message.ListFields()
    if above and not fields:
        yield above
    for descriptor, value in fields:
        path = f"{above}.{descriptor.name}" if above else descriptor.name
        inner = _messages(descriptor, value)
        if inner is None:
            yield path
        else:
            for each in inner:
                yield from _paths(each, path)


def _messages(descriptor: Any, value: Any) -> Iterable[Any] | None:
    """Return the messages in a field's value, or None where it holds none."""
    kind = descriptor.message_type
    if kind is None:
        return None
    if kind.GetOptions().map_entry:
        return value.values() if kind.fields_by_name["value"].message_type is not None else None
    inner: Iterable[Any] = value if descriptor.is_repeated else (value,)
    return inner
