"""Which instances of a model there are to be, and on which devices.

Rules, Triton's:

- A group has ``count`` instances (1 if absent) on the CPU, or on each of its GPUs.
- ``KIND_GPU`` means the listed GPUs, or all; a GPU that is not there is an error. ``KIND_CPU`` means the CPU.
- ``KIND_AUTO`` means the listed GPUs, or all; the CPU if one of them, or every GPU, is missing.
- ``KIND_MODEL`` leaves the choice to the backend, and the onnxruntime backend takes the CPU.
- Without a group there is one of ``KIND_AUTO``.

One difference: Triton's code starts two instances of an ONNX model on the CPU where no count is given, its
documentation says one. Here it is one.

Sources: Triton "Model Configuration", "Instance Groups"; Triton core (``NormalizeInstanceGroup``,
``ValidateInstanceGroup``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from protos.oip import model_config

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CPU", "Group", "Placement", "PlacementError", "groups", "placements"]

#: More processes than this on one device are a typing error.
_MOST = 256
_PLACEMENT = re.compile(r"cpu|gpu:([0-9]{1,3})")


class PlacementError(ValueError):
    """Instances that cannot be placed. The message is for the operator, and names the group."""


@dataclass(frozen=True, slots=True)
class Placement:
    """The device of one instance.

    Args:
        device: ``cpu`` or ``gpu``.
        index: Which GPU, as CUDA counts those that the process may see.

    Example:
        >>> Placement.parse("gpu:1"), Placement("gpu", 1).text
        (Placement(device='gpu', index=1), 'gpu:1')
    """

    device: Literal["cpu", "gpu"] = "cpu"
    index: int = 0

    @property
    def text(self) -> str:
        """The placement as :meth:`parse` reads it."""
        return "cpu" if self.device == "cpu" else f"gpu:{self.index}"

    @classmethod
    def parse(cls, text: str) -> Placement:
        """Read ``cpu`` or ``gpu:N``.

        Raises:
            PlacementError: If the text is neither.
        """
        match = _PLACEMENT.fullmatch(text)
        if match is None:
            raise PlacementError(f"device is {text[:32]!r}; use 'cpu' or 'gpu:N'")
        return cls("gpu", int(match[1])) if match[1] else cls()


CPU = Placement()


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One ``instance_group`` of a config.

    Args:
        where: Its field and name, for messages.
        kind: The name of its kind.
        count: Instances on the CPU, or on each GPU.
        gpus: The listed GPUs; empty for all.
    """

    where: str = "instance_group"
    kind: str = "KIND_AUTO"
    count: int = 1
    gpus: tuple[int, ...] = ()


def groups(message: Any) -> tuple[Group, ...]:
    """Read the groups of a ``ModelConfig`` message; at least one.

    Raises:
        PlacementError: If a group contradicts itself.
    """
    return tuple(_group(i, entry) for i, entry in enumerate(message.instance_group)) or (Group(),)


def placements(message: Any, gpus_available: int) -> tuple[Placement, ...]:
    """Return the devices of all instances that a config asks for, in its order.

    Args:
        message: The ``ModelConfig`` message.
        gpus_available: How many GPUs there are.

    Raises:
        PlacementError: If a group contradicts itself, or wants a GPU that is not there.

    Example:
        >>> config = model_config.ModelConfig(instance_group=[{"count": 2, "gpus": [0, 1]}])
        >>> [placement.text for placement in placements(config, 2)]
        ['gpu:0', 'gpu:0', 'gpu:1', 'gpu:1']
        >>> [placement.text for placement in placements(config, 1)]
        ['cpu', 'cpu']
    """
    found = tuple(
        device
        for group in groups(message)
        for device in _devices(group, gpus_available)
        for _ in range(group.count)
    )
    if len(found) > _MOST:
        raise PlacementError(f"instance_group asks for {len(found)} instances; ask for at most {_MOST}")
    return found


def _group(i: int, entry: Any) -> Group:
    where = f"instance_group[{i}]" + (f" {entry.name[:64]!r}" if entry.name else "")
    known = model_config.ModelInstanceGroup.Kind
    if entry.kind not in known.values():
        raise PlacementError(f"{where} has unknown kind {entry.kind}; use one of {', '.join(known.keys())}")
    kind = known.Name(entry.kind)
    if not 0 <= entry.count <= _MOST:
        raise PlacementError(f"{where} has count {entry.count}; use a number from 1 to {_MOST}")
    if len(entry.gpus) > _MOST:
        raise PlacementError(f"{where} lists {len(entry.gpus)} GPUs; list at most {_MOST}")
    if entry.gpus and kind in ("KIND_CPU", "KIND_MODEL"):
        raise PlacementError(f"{where} is {kind} but lists GPUs; remove gpus, or say KIND_GPU")
    if any(gpu < 0 for gpu in entry.gpus):
        raise PlacementError(f"{where} lists GPU {min(entry.gpus)}; GPUs count from 0")
    return Group(where=where, kind=kind, count=entry.count or 1, gpus=tuple(entry.gpus))


def _devices(group: Group, available: int) -> Sequence[Placement]:
    if group.kind in ("KIND_CPU", "KIND_MODEL"):
        return (CPU,)
    wanted = group.gpus or tuple(range(available))
    missing = [gpu for gpu in wanted if gpu >= available]
    if wanted and not missing:
        return tuple(Placement("gpu", gpu) for gpu in wanted)
    if group.kind == "KIND_AUTO":
        return (CPU,)
    lacks = f"lists GPU {missing[0]}" if missing else "is KIND_GPU"
    raise PlacementError(
        f"{group.where} {lacks}, but {available or 'no'} GPUs are available; list others, or say KIND_CPU"
    )
