"""What an import reads, and what it has to say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from protos.model import ModelSpec

__all__ = ["BrokenGraphs", "Fault", "Found", "Imported", "Note"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A model of a Triton repository.

    Args:
        name: Its name.
        config: Its ``ModelConfig`` message.
        versions: The versions that Triton serves, lowest first.
        spec: What is known of its interface; None = nothing.
        unfit: Why no worker of ours can host it; empty = one can, or it is an ensemble.
    """

    name: str
    config: Any
    versions: tuple[str, ...] = ("1",)
    spec: ModelSpec | None = None
    unfit: str = ""

    @property
    def is_ensemble(self) -> bool:
        """Whether it is a graph of other models."""
        return bool(self.config.platform == "ensemble" or self.config.HasField("ensemble_scheduling"))


@dataclass(frozen=True, slots=True)
class Note:
    """Something that was not carried over as it is.

    Args:
        model: Whose it is.
        field: The field of its ``config.pbtxt``; empty where it is the model as a whole.
        meaning: What that means.
        remedy: What to do.
        left_out: Whether the model is left out for it.
    """

    model: str
    field: str
    meaning: str
    remedy: str
    left_out: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with an ensemble's graph.

    Args:
        ensemble: Its name.
        where: The step and its tensor, or the ensemble's own field.
        problem: What is wrong with it.
    """

    ensemble: str
    where: str
    problem: str

    def __str__(self) -> str:
        return f"{self.ensemble}: {self.where}: {self.problem}"


class BrokenGraphs(Exception):  # noqa: N818 - it is the graphs that are in error
    """Ensembles that Triton would not load either. Expected: for whoever wrote them.

    Args:
        faults: Everything that is wrong.
    """

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A repository as a configuration.

    Args:
        models: The section of that name.
        ensembles: Likewise.
        notes: What was not carried over as it is.
    """

    models: Mapping[str, dict[str, Any]]
    ensembles: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
