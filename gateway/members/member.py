"""The seam between the engine and the ways to ask a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.values import Answer, Failure, Question
    from protos.model import ModelSpec

__all__ = ["Backend", "Member"]


class Member(Protocol):
    """A model that can be asked.

    Law: :meth:`ask` never raises but for cancellation; a member's failure is a value. A cancelled ask
    has ended its call at the backend before it returns.
    """

    @property
    def ready(self) -> bool:
        """Whether a call now has a chance to be answered."""
        ...

    @property
    def spec(self) -> ModelSpec | None:
        """What the model says of itself; None until it was ready once."""
        ...

    async def ask(self, question: Question) -> Answer | Failure:
        """Ask the model once, and return by the question's deadline."""
        ...


class Backend(Member, Protocol):
    """A member as the process that hosts it sees it."""

    @property
    def replicas_ready(self) -> int:
        """How many replicas are ready."""
        ...

    def start(self) -> None:
        """Begin to watch the model, or to load it."""
        ...

    async def close(self) -> None:
        """Let everything go; nothing is asked any more."""
        ...
