"""How a model describes itself: ``ModelMetadataResponse`` and ``ModelConfig``.

Rules (Open Inference Protocol v2; Triton "Model Configuration"):

- Where a model batches, shapes of the metadata start with the row dimension; ``dims`` of the config leave it
  out, and ``max_batch_size`` says the most rows.
- Only the config tells which inputs may be left out.
- Neither holds class labels; a config can name the file that has them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protos.oip.wire import messages, model_config
from protos.tensor import DTYPES, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from protos.model import ModelSpec

__all__ = [
    "config_datatype",
    "describe_tensor",
    "model_config_of",
    "model_metadata",
    "optional_inputs",
    "read_metadata",
]

#: Name of a datatype in a config -> its name in the protocol.
_FROM_CONFIG = {f"TYPE_{name}": name for name in DTYPES if name != "BYTES"} | {"TYPE_STRING": "BYTES"}
_TO_CONFIG = {name: config for config, name in _FROM_CONFIG.items()}


def model_metadata(
    name: str,
    versions: Sequence[str],
    platform: str,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
) -> Any:
    """Build a ``ModelMetadataResponse``; shapes include the row dimension."""
    response = messages.ModelMetadataResponse(name=name, versions=versions, platform=platform)
    for target, specs in ((response.inputs, inputs), (response.outputs, outputs)):
        for spec in specs:
            target.add(name=spec.name, datatype=spec.datatype, shape=spec.shape)
    return response


def read_metadata(tensors: Iterable[Any]) -> tuple[TensorSpec, ...]:
    """Read the tensors of a ``ModelMetadataResponse``."""
    return tuple(TensorSpec(t.name, t.datatype, tuple(t.shape)) for t in tensors)


def model_config_of(
    spec: ModelSpec, *, backend: str = "", parameters: Mapping[str, str] | None = None
) -> Any:
    """Build the ``ModelConfig`` of a model that no file describes, such as an ensemble of ours.

    Its platform must not be ``ensemble``: perf_analyzer would then ask for the config of every step.

    Args:
        spec: The model's interface.
        backend: Triton's name of what runs it; empty where Triton has none.
        parameters: What else there is to say of it, by name.

    Example:
        >>> from protos.model import ModelSpec
        >>> x = TensorSpec("x", "FP32", (-1, 64))
        >>> y = TensorSpec("y", "BYTES", (-1, 10))
        >>> spec = ModelSpec(name="e", version="1", platform="accord", inputs=(x,), outputs=(y,), max_rows=8)
        >>> config = model_config_of(spec, parameters={"strategy": "mean"})
        >>> config.max_batch_size, list(config.input[0].dims), config_datatype(config.output[0])
        (8, [64], 'BYTES')
    """
    config = model_config.ModelConfig(
        name=spec.name, platform=spec.platform, backend=backend, max_batch_size=spec.max_rows
    )
    for tensor in spec.inputs:
        describe_tensor(config.input.add(optional=tensor.optional), tensor, batches=spec.batches)
    for tensor in spec.outputs:
        describe_tensor(config.output.add(), tensor, batches=spec.batches)
    for key, value in (parameters or {}).items():
        config.parameters[key].string_value = value
    return config


def describe_tensor(entry: Any, spec: TensorSpec, *, batches: bool) -> None:
    """Write name, datatype and dims of a tensor into its entry in a ``ModelConfig``.

    A datatype that the protocol does not have, as a server may tell of its model, is ``TYPE_INVALID``.
    """
    entry.name = spec.name
    entry.data_type = model_config.DataType.Value(_TO_CONFIG.get(spec.datatype, "TYPE_INVALID"))
    entry.dims[:] = spec.shape[1:] if batches else spec.shape


def config_datatype(entry: Any) -> str:
    """Read the datatype of a tensor's entry in a ``ModelConfig``.

    Raises:
        KeyError: If the entry does not say it.
    """
    return _FROM_CONFIG[model_config.DataType.Name(entry.data_type)]


def optional_inputs(config: Any) -> frozenset[str]:
    """Read the names of the inputs that a request may leave out from a ``ModelConfig``."""
    return frozenset(entry.name for entry in config.input if entry.optional)
