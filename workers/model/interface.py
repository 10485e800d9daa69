"""What a model takes and returns: its ``config.pbtxt`` and its ONNX file brought together.

Rules:

- A model *batches* if the config's ``max_batch_size`` is above 0, or if the config does not say and every
  input and output has a dynamic first dimension. ``max_batch_size: 0`` says that it does not.
- Where ``max_batch_size`` is above 0, the config's ``dims`` leave out the row dimension; metadata has it.
- The config may leave out what the ONNX file says, narrow a dynamic dimension to a fixed length, list fewer
  outputs, and present a tensor in another shape (``reshape``). Anything else that differs is an error.
- The ONNX runtime reports a shape of unknown rank like that of a scalar; there the config may say any shape.

Sources: Triton "Model Configuration"; Triton's onnxruntime backend (``CompareDimsSupported``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

from protos.model import (
    DEFAULT_MAX_ROWS,
    ModelSpec,
    batches_by_shape,
    declare_independent,
    independent_of,
)
from protos.oip import config_datatype, describe_tensor, model_config
from protos.tensor import TensorSpec
from workers.model.config import BACKEND, PLATFORM
from workers.model.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from workers.model.repository import ModelFiles

__all__ = ["Interface", "complete", "completed_config", "declared", "reshaped"]

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Interface:
    """A model's interface as clients see it, and where that differs from the ONNX file.

    Args:
        spec: What clients see.
        inner: Shapes inside the model of those tensors that the config presents in another shape.
    """

    spec: ModelSpec
    inner: Mapping[str, Shape]


def reshaped(actual: Sequence[int], pattern: Shape, other: Shape) -> Shape:
    """Translate a concrete shape from one pattern to another; the n-th -1 of both is the same length.

    Example:
        >>> reshaped((3, 1), (-1, 1), (-1,))
        (3,)
    """
    free = iter(size for size, want in zip(actual, pattern, strict=True) if want == -1)
    return tuple(next(free) if want == -1 else want for want in other)


def declared(files: ModelFiles) -> ModelSpec | None:
    """Return what the config alone says of the model, or None if it leaves anything to the ONNX file.

    Raises:
        ModelError: If the config contradicts itself.
    """
    config = files.config.message
    tensors = (*config.input, *config.output)
    if not config.input or not config.output or not all(t.data_type and t.dims for t in tensors):
        return None
    inputs, outputs = ([_declared_tensor(files, t) for t in side] for side in (config.input, config.output))
    return _spec(files, inputs, outputs)


def complete(files: ModelFiles, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Interface:
    """Bring the config and the tensors of the ONNX file together.

    Args:
        files: The model on disk.
        inputs: The file's inputs; ``optional`` marks those with a default inside the file.
        outputs: The file's outputs.

    Raises:
        ModelError: If the config contradicts the file, naming the tensor.
    """
    inner: dict[str, Shape] = {}
    sides = [
        [_merge(files, entry, spec, kind, inner) for entry, spec in _paired(files, kind, entries, found)]
        for kind, entries, found in (
            ("input", files.config.message.input, inputs),
            ("output", files.config.message.output, outputs),
        )
    ]
    return Interface(_spec(files, *sides), inner)


def completed_config(files: ModelFiles, spec: ModelSpec) -> Any:
    """Return the model's config with all that it left out filled in."""
    config = model_config.ModelConfig()
    config.CopyFrom(files.config.message)
    config.platform, config.backend, config.max_batch_size = spec.platform, BACKEND, spec.max_rows
    for entries, specs in ((config.input, spec.inputs), (config.output, spec.outputs)):
        written = {entry.name: type(entry).FromString(entry.SerializeToString()) for entry in entries}
        del entries[:]
        for tensor in specs:
            entry = entries.add()
            if tensor.name in written:
                entry.CopyFrom(written[tensor.name])
            describe_tensor(entry, tensor, batches=spec.batches)
    for entry, tensor in zip(config.input, spec.inputs, strict=True):
        entry.optional = tensor.optional
    declare_independent(config, spec.independent)
    return config


def _spec(files: ModelFiles, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> ModelSpec:
    max_rows = files.config.batch_limit
    if max_rows is None:
        max_rows = DEFAULT_MAX_ROWS if batches_by_shape((*inputs, *outputs)) else 0
    spec = ModelSpec(
        name=files.name,
        version=files.version,
        platform=PLATFORM,
        inputs=tuple(inputs),
        outputs=tuple(_labelled(files, tensor) for tensor in outputs),
        max_rows=max_rows,
        independent=independent_of(files.config.message),
    )
    _check_labels(files, spec)
    return spec


def _labelled(files: ModelFiles, spec: TensorSpec) -> TensorSpec:
    return replace(spec, labels=files.labels.get(spec.name, ()))


def _check_labels(files: ModelFiles, spec: ModelSpec) -> None:
    for tensor in spec.outputs:
        width = tensor.shape[-1] if tensor.shape else 1
        # strings are labels themselves, and have no class each along a dimension
        if tensor.labels and tensor.datatype != "BYTES" and width not in (-1, len(tensor.labels)):
            raise ModelError(
                files.config_path,
                f"output {tensor.name!r} has {len(tensor.labels)} labels, but its last dimension is {width}; "
                "write one label for each class",
            )


def _rows(files: ModelFiles) -> Shape:
    return (-1,) if files.config.batch_limit else ()


def _declared_tensor(files: ModelFiles, entry: Any) -> TensorSpec:
    _inner_shape(files, entry)
    return TensorSpec(
        entry.name,
        config_datatype(entry),
        (*_rows(files), *entry.dims),
        optional=getattr(entry, "optional", False),
    )


def _inner_shape(files: ModelFiles, entry: Any) -> Shape:
    """Return the shape inside the model that a config's tensor claims."""
    outer = tuple(entry.dims)
    if any(d == 0 or d < -1 for d in (*outer, *entry.reshape.shape)):
        raise ModelError(
            files.config_path, f"tensor {entry.name!r} has dims {list(outer)}; each must be positive or -1"
        )
    if not entry.HasField("reshape"):
        return (*_rows(files), *outer)
    inner = tuple(entry.reshape.shape)
    if outer.count(-1) != inner.count(-1) or _fixed(outer) != _fixed(inner):
        raise ModelError(
            files.config_path,
            f"tensor {entry.name!r} cannot be reshaped from {list(outer)} to {list(inner)}; "
            "both need the same number of elements",
        )
    return (*_rows(files), *inner)


def _fixed(shape: Shape) -> int:
    return prod(d for d in shape if d != -1)


def _paired(
    files: ModelFiles, kind: str, entries: Sequence[Any], found: Sequence[TensorSpec]
) -> Iterable[tuple[Any, TensorSpec]]:
    """Pair a config's tensors with the file's; a config that lists none takes the file's."""
    if not entries:
        return [(None, spec) for spec in found if not spec.optional]
    known = {spec.name: spec for spec in found}
    unknown = [entry.name for entry in entries if entry.name not in known]
    if unknown:
        raise ModelError(
            files.config_path,
            f"{kind} {unknown[0]!r} is not in {files.path.name}; it has {', '.join(map(repr, known))}",
        )
    listed = {entry.name for entry in entries}
    forgotten = [
        spec.name for spec in found if kind == "input" and not spec.optional and spec.name not in listed
    ]
    if forgotten:
        raise ModelError(
            files.config_path, f"input {forgotten[0]!r} of {files.path.name} is not listed; add it"
        )
    return [(entry, known[entry.name]) for entry in entries]


def _merge(
    files: ModelFiles, entry: Any, found: TensorSpec, kind: str, inner: dict[str, Shape]
) -> TensorSpec:
    """Merge one tensor's entry with what the file says; note in ``inner`` if they differ in shape."""
    rows = _rows(files)
    says = f"max_batch_size is {files.config.batch_limit}, but {files.path.name}"
    if rows and found.shape[:1] not in ((-1,), ()):
        raise ModelError(
            files.config_path,
            f"{says} fixes the first dimension of {kind} {found.name!r} to {found.shape[0]}; "
            "export it as dynamic or say max_batch_size: 0",
        )
    if entry is None:
        if rows and not found.shape:
            raise ModelError(
                files.config_path, f"{says} does not say the shape of {kind} {found.name!r}; list its dims"
            )
        return found
    if entry.data_type and config_datatype(entry) != found.datatype:
        raise ModelError(
            files.config_path,
            f"{kind} {found.name!r} is {config_datatype(entry)} here, "
            f"but {found.datatype} in {files.path.name}",
        )
    optional = kind == "input" and entry.optional
    if optional and not found.optional:
        raise ModelError(
            files.config_path,
            f"input {found.name!r} is optional here, but has no default in {files.path.name}",
        )
    if not entry.dims:
        return replace(found, optional=optional)
    shape = _inner_shape(files, entry)
    if not _narrows(shape, found.shape):
        raise ModelError(
            files.config_path,
            f"{kind} {found.name!r} has shape {list(shape)} here, "
            f"but {list(found.shape)} in {files.path.name}",
        )
    outer = (*rows, *entry.dims)
    if outer != shape:
        inner[found.name] = shape
    return replace(found, shape=outer, optional=optional)


def _narrows(shape: Shape, found: Shape) -> bool:
    """Tell whether a shape is the file's, or a narrower one; the file's () may mean an unknown rank."""
    return not found or (
        len(shape) == len(found) and all(has in (-1, says) for says, has in zip(shape, found, strict=True))
    )
