"""What the processes of one server know of each other: the workers, and names in the runtime directory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Instance", "Layout", "control_socket", "instances", "read_layout", "spread", "write_layout"]

#: By model the device of each of its worker processes; empty = the worker's own choice.
Layout = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Instance:
    """One worker process.

    Args:
        model: The model's name in the configuration.
        number: Which of its instances, from 0.
        socket: Where it listens.
        device: ``cpu`` or ``gpu:N``; empty = its own choice.
    """

    model: str
    number: int
    socket: Path
    device: str = ""

    @property
    def name(self) -> str:
        """Its name in logs and metrics."""
        return f"{self.model}/{self.number}"

    @property
    def target(self) -> str:
        """Its gRPC target."""
        return f"unix:{self.socket}"

    @property
    def lane(self) -> Path:
        """Where it listens for the gateway's lane."""
        return self.socket.with_suffix(".lane")


def spread(devices: Sequence[str], number: int | None) -> list[str]:
    """Return the devices of a number of processes, in turn; without a number one process for each.

    Example:
        >>> spread(["gpu:0", "gpu:1"], 3), spread(["cpu", "cpu"], None)
        (['gpu:0', 'gpu:1', 'gpu:0'], ['cpu', 'cpu'])
    """
    return list(devices) if number is None else [devices[i % len(devices)] for i in range(number)]


def instances(layout: Layout, directory: Path) -> list[Instance]:
    """Return the worker processes of a layout, in its order."""
    found: list[Instance] = []
    for model, devices in layout.items():
        for number, device in enumerate(devices):
            # numbered, because a unix path holds at most 107 bytes and a model's name may have 128
            found.append(Instance(model, number, directory / f"w{len(found)}.sock", device))
    return found


def write_layout(layout: Layout, directory: Path) -> None:
    """Leave the layout where the gateway process finds it."""
    _layout_file(directory).write_text(json.dumps(layout))


def read_layout(directory: Path) -> dict[str, list[str]]:
    """Read the layout that the parent left."""
    layout: dict[str, list[str]] = json.loads(_layout_file(directory).read_text())
    return layout


def control_socket(directory: Path) -> Path:
    """Return where the gateway process tells the parent how it is."""
    return directory / "gateway.sock"


def _layout_file(directory: Path) -> Path:
    return directory / "layout.json"
