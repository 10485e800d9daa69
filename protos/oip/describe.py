"""How a model describes itself: ``ModelMetadataResponse``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protos.oip.wire import messages
from protos.tensor import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["model_metadata", "read_metadata"]


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
