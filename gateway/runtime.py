"""Names in the runtime directory, where the processes of one server find each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config.schema import Config

__all__ = ["Instance", "control_socket", "instances"]


@dataclass(frozen=True, slots=True)
class Instance:
    """One worker process.

    Args:
        model: The model's name in the configuration.
        number: Which of its instances, from 0.
        socket: Where it listens.
    """

    model: str
    number: int
    socket: Path

    @property
    def name(self) -> str:
        """Its name in logs and metrics."""
        return f"{self.model}/{self.number}"

    @property
    def target(self) -> str:
        """Its gRPC target."""
        return f"unix:{self.socket}"


def instances(config: Config, directory: Path) -> list[Instance]:
    """Return the worker processes that a configuration asks for, in config order."""
    found: list[Instance] = []
    for name, model in config.models.items():
        for number in range(model.worker.instances if model.worker else 0):
            # numbered, because a unix path holds at most 107 bytes and a model's name may have 128
            found.append(Instance(name, number, directory / f"w{len(found)}.sock"))
    return found


def control_socket(directory: Path) -> Path:
    """Return where the gateway process tells the parent how it is."""
    return directory / "gateway.sock"
