"""Which of the ONNX runtime's execution providers a model runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

__all__ = ["PREFERRED", "PROVIDERS", "choose", "options"]

#: Our short name -> the runtime's name.
PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}

#: The order tried when nobody says otherwise.
PREFERRED = ("tensorrt", "cuda", "cpu")

#: A CUDA arena that doubles at each step takes memory from the other workers of the device.
_OPTIONS: dict[str, dict[str, Any]] = {"cuda": {"arena_extend_strategy": "kSameAsRequested"}}


def choose(wanted: Sequence[str], available: Collection[str]) -> tuple[str, ...]:
    """Return those of the wanted providers that this build of the runtime has, in the wanted order.

    Args:
        wanted: Short names.
        available: What the runtime reports, by its own names.

    Example:
        >>> choose(PREFERRED, ["CPUExecutionProvider"])
        ('cpu',)
    """
    return tuple(name for name in wanted if PROVIDERS[name] in available)


def options(chosen: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """Return the runtime's provider list for the chosen short names."""
    return [(PROVIDERS[name], _OPTIONS.get(name, {})) for name in chosen]
