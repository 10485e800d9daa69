"""Metrics of spans of text: exact match and F1 over shared words.

Normalised as the official evaluation of SQuAD does (P. Rajpurkar et al., "SQuAD: 100,000+ Questions for
Machine Comprehension of Text", 2016; script ``evaluate-v2.0.py``, functions ``normalize_answer``,
``compute_exact`` and ``compute_f1``): lower case, without punctuation, without the articles a, an and the,
runs of blanks as one. No answer counts as an empty one: it is right only where there is none.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from training.evaluate.metrics.figures import Figure, mean_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["exact", "normalised", "overlap", "spanned"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """Return the text as it is compared.

    Example:
        >>> normalised("The  Norman's castle.")
        'normans castle'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact(answer: str, truth: str) -> float:
    """Return 1 if both read the same, else 0.

    Example:
        >>> exact("the Eiffel Tower!", "Eiffel tower")
        1.0
    """
    return float(normalised(answer) == normalised(truth))


def overlap(answer: str, truth: str) -> float:
    """Return the F1 of shared words.

    Example:
        >>> overlap("in the Eiffel Tower", "Eiffel Tower")
        0.8
    """
    words, true = normalised(answer).split(), normalised(truth).split()
    if not words or not true:
        return float(words == true)
    shared = sum((Counter(words) & Counter(true)).values())
    return 2 * shared / (len(words) + len(true))


def spanned(
    answers: NDArray[np.int64], truth: Sequence[Sequence[tuple[int, int]]], contexts: Sequence[str]
) -> dict[str, Figure]:
    """Return exact match and F1, each with whichever true answer is nearest.

    Args:
        answers: Begin and end in the context, [n, 2]; a negative begin = none.
        truth: The true ones of each row, at least one.
        contexts: What the spans are cut from.
    """
    texts = [
        (_cut(context, answer), [_cut(context, span) for span in spans])
        for context, answer, spans in zip(contexts, answers.tolist(), truth, strict=True)
    ]
    return {
        "em": mean_of(
            np.array([max(exact(said, true) for true in all_) for said, all_ in texts], np.float64)
        ),
        "f1": mean_of(
            np.array([max(overlap(said, true) for true in all_) for said, all_ in texts], np.float64)
        ),
    }


def _cut(context: str, span: Sequence[int]) -> str:
    begin, end = span
    return context[begin:end] if begin >= 0 else ""
