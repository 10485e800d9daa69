"""Load generators that others wrote: ghz for gRPC, h2load for HTTP and for many connections.

Each has one function, ``drive``, that sends a load to one server and returns every call it made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from bench import BenchFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bench.figures import Call, Load

__all__ = ["Ask", "Generator", "GeneratorFailed", "Missing"]


class GeneratorFailed(BenchFailed):
    """A load generator ended without telling what it measured."""


class Missing(BenchFailed):
    """A load generator is not installed; the message says how to install it."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What one server is asked, over and over, in the form that it takes.

    Args:
        url: Where, such as ``http://127.0.0.1:8001/inference.GRPCInferenceService/ModelInfer``.
        bodies: Messages that are sent in turn; a generator that knows only one sends the first.
        reply_bytes: Length of a right reply.
        headers: Of an HTTP request; a call over gRPC has none.
    """

    url: str
    bodies: tuple[bytes, ...]
    reply_bytes: int
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def grpc(self) -> bool:
        """Whether it is a call over gRPC."""
        return not self.headers


class Generator(Protocol):
    """Sends a load for some seconds and returns all calls, with the CPU time that this took it."""

    def __call__(self, ask: Ask, load: Load, seconds: float, folder: Path) -> tuple[Sequence[Call], float]:
        """Send it; files go to the folder."""
