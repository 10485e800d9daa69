"""Heads: from what an encoder says of a row, or of its tokens, to a task's raw scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from training.data import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

__all__ = ["Answer", "Heads", "States"]

#: Stands for the score of a token that is no part of the context.
NEVER = -1e4


@dataclass(frozen=True, slots=True)
class Answer:
    """What a head answers.

    Args:
        kind: The task's kind.
        classes: Names of the classes, for classification and multi-label.
    """

    kind: Kind
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class States:
    """What an encoder says.

    Args:
        row: Of each row, [b, h].
        tokens: Of each token, [b, t, h]; None where a row has none.
    """

    row: Tensor
    tokens: Tensor | None = None


class _Head(nn.Module):
    def __init__(self, answer: Answer, width: int, dropout: float) -> None:
        super().__init__()
        self.kind = answer.kind
        outputs = {Kind.CLASSIFY: len(answer.classes), Kind.MULTILABEL: len(answer.classes), Kind.SPAN: 2}
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, outputs.get(answer.kind, 1))

    def forward(self, states: States, context: Tensor | None) -> Tensor:
        """Return raw scores: [b, k] for classes, [b] for a number or a rank, [b, t, 2] for a span."""
        scores: Tensor = self.linear(self.dropout(states.tokens if self.kind is Kind.SPAN else states.row))
        if self.kind is Kind.SPAN and context is not None:
            scores = scores.masked_fill(~context[:, :, None], NEVER)
        return scores.squeeze(-1) if self.kind in (Kind.REGRESS, Kind.RANK) else scores


class Heads(nn.Module):
    """A head for each task. Any name will do for a task, also one that a module has attributes of."""

    def __init__(self, answers: Mapping[str, Answer], width: int, dropout: float) -> None:
        super().__init__()
        self._tasks = tuple(answers)
        for task, answer in answers.items():
            self.add_module(f"task_{task}", _Head(answer, width, dropout))

    def __getitem__(self, task: str) -> Any:
        return self.get_submodule(f"task_{task}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def forward(self, states: States, context: Tensor | None) -> dict[str, Tensor]:
        """Return each task's scores."""
        return {task: self[task](states, context) for task in self._tasks}
