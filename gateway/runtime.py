"""What the processes of one server know of each other: how many there are, and their runtime directory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from gateway.config.scalars import MAX_PROCESSES

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "Decisions",
    "Instance",
    "Layout",
    "config_copy",
    "control_socket",
    "gateway_name",
    "gateway_processes",
    "instances",
    "read_decisions",
    "read_layout",
    "spread",
    "write_decisions",
    "write_layout",
]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """What the operator decided while the server runs, for every gateway process, however often started.

    Args:
        out: Names that were taken out.
        log: What is logged, by the protocol's names; empty = as at the start.
    """

    out: tuple[str, ...] = ()
    log: Mapping[str, Any] = field(default_factory=dict)


def gateway_processes(wanted: int | Literal["auto"], cpus: float, threads: Sequence[int | None]) -> int:
    """Return how many gateway processes there are to be.

    Args:
        wanted: A number, or ``auto`` for the CPUs that the workers' threads leave, at least 1.
        cpus: CPUs that the server may use.
        threads: Those of each worker process; None = its share of all CPUs.

    Example:
        >>> gateway_processes("auto", 16.0, [2, 2, 4]), gateway_processes("auto", 8.0, [None, None])
        (8, 1)
        >>> gateway_processes("auto", 4.5, []), gateway_processes(3, 1.0, [8])
        (4, 3)
    """
    if wanted != "auto":
        return wanted
    taken = sum(own or max(1, int(cpus / len(threads))) for own in threads)
    return min(MAX_PROCESSES, max(1, int(cpus - taken)))


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


def write_decisions(decisions: Decisions, directory: Path) -> None:
    """Leave the decisions where every gateway process finds them; nobody reads half of them."""
    part = directory / "decisions.part"
    part.write_text(json.dumps(asdict(decisions)))
    part.replace(_decisions_file(directory))


def read_decisions(directory: Path) -> Decisions:
    """Read the decisions, of which there are none at first."""
    try:
        read = json.loads(_decisions_file(directory).read_text())
    except FileNotFoundError:
        return Decisions()
    return Decisions(out=tuple(read["out"]), log=read["log"])


def gateway_name(number: int, total: int) -> str:
    """Return a gateway process's name in logs and metrics; no worker's is like it.

    Example:
        >>> gateway_name(0, 1), gateway_name(1, 2)
        ('gateway', 'gateway-1')
    """
    return "gateway" if total == 1 else f"gateway-{number}"


def config_copy(directory: Path) -> Path:
    """Return where the configuration lies as it was when the server started."""
    return directory / "config.yaml"


def control_socket(directory: Path, number: int) -> Path:
    """Return where a gateway process is asked by its parent and its siblings."""
    return directory / f"g{number}.sock"


def _decisions_file(directory: Path) -> Path:
    return directory / "decisions.json"


def _layout_file(directory: Path) -> Path:
    return directory / "layout.json"
