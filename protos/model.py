"""What a model says of itself, as gateway and workers both understand it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from protos.tensor import TensorSpec

__all__ = [
    "DEFAULT_MAX_ROWS",
    "INDEPENDENT",
    "ModelSpec",
    "batches_by_shape",
    "declare_independent",
    "independent_of",
]

#: The most rows of one call to a model whose config does not say, but whose shapes show that it batches.
DEFAULT_MAX_ROWS = 256

#: The parameter of a ``ModelConfig`` that says so of a model; the protocol's metadata has no room for it.
INDEPENDENT = "accord_independent"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model's interface.

    Args:
        name: The model's name.
        version: The version that answers who names none.
        platform: Triton's platform string, e.g. ``onnxruntime_onnx``.
        inputs: What it takes; where it batches, shapes start with the row dimension (-1).
        outputs: What it returns, likewise.
        max_rows: The most rows of one call; 0 if the model does not batch.
        versions: All versions that can be asked by their number; empty where only one is known.
        independent: Whether a row's answer was found not to depend on the other rows of its call; None where
            nobody has looked.
        config: Its server's ``ModelConfig`` message; None where the server offers none.
    """

    name: str
    version: str
    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_rows: int
    versions: tuple[str, ...] = ()
    independent: bool | None = None
    # a message cannot be hashed
    config: Any = field(default=None, hash=False, repr=False)

    @property
    def batches(self) -> bool:
        """Whether several rows may ride in one call."""
        return self.max_rows > 0


def batches_by_shape(specs: Iterable[TensorSpec]) -> bool:
    """Tell whether a model batches, from its shapes: every tensor has a dynamic first dimension."""
    return all(spec.shape[:1] == (-1,) for spec in specs)


def independent_of(config: Any) -> bool | None:
    """Return what a ``ModelConfig`` message says of the model's independence; None = nothing that we know."""
    if INDEPENDENT not in config.parameters:  # which a look-up would add
        return None
    return {"true": True, "false": False}.get(config.parameters[INDEPENDENT].string_value)


def declare_independent(config: Any, independent: bool | None) -> None:
    """Have a ``ModelConfig`` message say whether the model is independent; None takes what it says out."""
    if independent is None:
        config.parameters.pop(INDEPENDENT, None)
    else:
        config.parameters[INDEPENDENT].string_value = str(independent).lower()
