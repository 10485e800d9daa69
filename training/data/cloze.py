"""Cloze spans: a name is hidden in one sentence of a text, and stands elsewhere in it.

They train and try a reader of spans where there are no questions that people asked. What is measured on them
says how well a hidden name is found again, not how well questions are answered.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["BLANK", "NAME", "Item", "items"]

#: What stands for the hidden name.
BLANK = "_____"

#: Words with a capital in a row, titles and initials within.
NAME = re.compile(r"[A-Z][\w'-]*[a-z](?:(?: [A-Z]\.)? [A-Z][\w'-]*[a-z])*")


@dataclass(frozen=True, slots=True)
class Item:
    """A question and where its answer stands.

    Args:
        question: The sentence, with :data:`BLANK` for the name.
        context: The other sentences of its document.
        spans: Where the name stands in the context: begin and end, at least once.
        document: The document.
    """

    question: str
    context: str
    spans: tuple[tuple[int, int], ...]
    document: str


def items(sentences: Sequence[str], documents: Sequence[str]) -> tuple[Item, ...]:
    """Return an item for each sentence with a name that another sentence of its document has too.

    Args:
        sentences: In the order of the text; a document's stand in a row.
        documents: The document of each.

    Example:
        >>> one, two = items(["Yesterday Ann Lee spoke.", "So Ann Lee is back."], ["d", "d"])
        >>> one.question, one.context, one.spans
        ('Yesterday _____ spoke.', 'So Ann Lee is back.', ((3, 10),))
    """
    numbered = groupby(range(len(sentences)), key=lambda i: documents[i])
    return tuple(item for document, rows in numbered for item in _of([sentences[i] for i in rows], document))


def _of(sentences: list[str], document: str) -> Iterator[Item]:
    for i, sentence in enumerate(sentences):
        context = " ".join(sentences[:i] + sentences[i + 1 :])
        # at the start of a sentence, any word has a capital
        for match in NAME.finditer(sentence, len(sentence.split(" ", 1)[0])):
            name = _whole(match.group().removesuffix("'s"))
            spans = tuple(found.span() for found in name.finditer(context))
            if spans:
                yield Item(name.sub(BLANK, sentence), context, spans, document)
                break


def _whole(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
