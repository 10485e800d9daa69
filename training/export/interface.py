"""What an exported model answers: which outputs each task has, and what they hold.

Rules:

- A model of one task has the outputs ``probabilities``, ``label``, ``score``; one of several has
  ``<task>.probabilities`` and so on, so that members of an ensemble that share a task share its names.
- Where texts go in, only a worker makes their tokens, so ``label`` is words (TYPE_STRING); otherwise it is
  the class's number, which a Triton server can answer too.
- The order of the classes is the label file's; nothing else says which column is which class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from training.data.dataset import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Head", "Output", "outputs", "scores_of"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """One task of a model.

    Args:
        task: Its name.
        kind: Its kind.
        classes: Names of its classes, in the order of its scores.
        temperature: What its scores are divided by before they become probabilities.
    """

    task: str
    kind: Kind
    classes: tuple[str, ...] = ()
    temperature: float = 1.0


@dataclass(frozen=True, slots=True)
class Output:
    """One output.

    Args:
        name: Its name in the ONNX file.
        part: What it holds: ``probabilities``, ``label``, ``score``, ``start`` or ``end``.
        head: Its task.
    """

    name: str
    part: str
    head: Head


_PARTS = {
    Kind.CLASSIFY: ("probabilities", "label"),
    Kind.MULTILABEL: ("probabilities",),
    Kind.REGRESS: ("score",),
    Kind.RANK: ("score",),
    Kind.SPAN: ("start", "end"),
}


def outputs(heads: Sequence[Head]) -> tuple[Output, ...]:
    """Return a model's outputs in the order of its ONNX file.

    Example:
        >>> both = [Head(task="mood", kind=Kind.CLASSIFY), Head(task="force", kind=Kind.REGRESS)]
        >>> [output.name for output in outputs(both)]
        ['mood.probabilities', 'mood.label', 'force.score']
        >>> [output.name for output in outputs(both[:1])]
        ['probabilities', 'label']
    """
    alone = len(heads) == 1
    return tuple(
        Output(part if alone else f"{head.task}.{part}", part, head)
        for head in heads
        for part in _PARTS[head.kind]
    )


def scores_of(answers: Mapping[str, Array], heads: Sequence[Head]) -> dict[str, Array]:
    """Return scores as metrics take them, given a model's answers; the temperature stays in them.

    Probabilities become their logarithms: as scores they give the same probabilities again.
    """
    found: dict[str, Array] = {}
    for output in outputs(heads):
        array, task = answers[output.name], output.head.task
        if output.part == "score":
            found[task] = array[:, 0]
        elif output.part == "probabilities":
            p = np.clip(array.astype(np.float64), 1e-12, 1.0)
            found[task] = np.log(p) if output.head.kind is Kind.CLASSIFY else np.log(p) - np.log1p(-p + 1e-12)
        elif output.part == "start":
            found[task] = np.log(np.clip(np.stack([array, answers[_end(output.name)]], -1), 1e-12, 1.0))
    return found


def _end(start: str) -> str:
    return start.removesuffix("start") + "end"
