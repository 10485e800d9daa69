"""Which of the ONNX runtime's execution providers a model runs on, and with which options."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from workers.model.runtime.instances import Placement
    from workers.model.runtime.tuning import Tuning

__all__ = ["AUTO", "PREFERRED", "PROVIDERS", "choose", "options", "order"]

#: Our short name -> the runtime's name.
PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}

#: Every provider, the fastest first.
PREFERRED = ("tensorrt", "cuda", "cpu")

#: No wish: as Triton does, TensorRT where the model's config names it, then CUDA, then the CPU.
AUTO: tuple[str, ...] = ()


def order(wanted: Sequence[str], *, tensorrt: bool) -> tuple[str, ...]:
    """Return the providers to try, in order.

    Args:
        wanted: Short names in order of preference, which win over the config; :data:`AUTO` for no wish.
        tensorrt: Whether the model's config names TensorRT.

    Example:
        >>> order(AUTO, tensorrt=False), order(("cpu",), tensorrt=True)
        (('cuda', 'cpu'), ('cpu',))
    """
    return tuple(wanted) or (PREFERRED if tensorrt else PREFERRED[1:])


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


def options(
    chosen: Sequence[str], tuning: Tuning, placement: Placement
) -> list[tuple[str, Mapping[str, str]]]:
    """Return the runtime's provider list for the chosen short names.

    Args:
        chosen: Short names.
        tuning: What the model's config says.
        placement: The device.
    """
    device = {"device_id": str(placement.index)}
    found = {
        "tensorrt": {**(tuning.tensorrt or {}), **device},
        "cuda": {**tuning.cuda, **device},
        "cpu": {},
    }
    return [(PROVIDERS[name], found[name]) for name in chosen]
