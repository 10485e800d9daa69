"""Files of SQuAD: questions, contexts, and the spans that answer.

Source: P. Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text", EMNLP 2016;
version 2 (``is_impossible``): "Know What You Don't Know", ACL 2018; the format of
https://rajpurkar.github.io/SQuAD-explorer.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from training.data.table import objects
from training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

__all__ = ["read_squad"]

_COLUMNS = ("question", "context", "document", "answer")


def read_squad(file: str, content: bytes) -> tuple[dict[str, NDArray[Any]], NDArray[Any]]:
    """Return the columns question, context, document and answer, and the questions' ids.

    An answer is a tuple of spans (begin, end); an empty one, if the context holds none; ``None``, if nothing
    is known.

    Raises: TrainingError: If it is no such file, or an answer does not stand where it says.
    """
    try:
        rows = list(_rows(file, json.loads(content)["data"]))
    except TrainingError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        problem = f"is no file of SQuAD ({type(error).__name__}: {error})"
        raise TrainingError(file, problem, "see data.source.format, or mend the file") from None
    if not rows:
        raise TrainingError(file, "has no questions", "mend data.source, or the file")
    ids, *cells = (objects(column) for column in zip(*rows, strict=True))
    return dict(zip(_COLUMNS, cells, strict=True)), ids


def _rows(file: str, articles: list[Any]) -> Iterator[tuple[str, str, str, str, Any]]:
    for number, article in enumerate(articles):
        document = str(article.get("title", number))
        for paragraph in article["paragraphs"]:
            context: str = paragraph["context"]
            for asked in paragraph["qas"]:
                place = f"{file}, question {asked['id']}"
                row = asked["id"], str(asked["question"]).strip(), context, document
                _whole(place, *map(str, row))
                yield *row, _answer(place, context, asked)


def _whole(place: str, *texts: str) -> None:
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        problem = "holds half a character, which no file of UTF-8 can hold"
        raise TrainingError(ascii(place)[1:-1], problem, "mend its \\ud... escapes") from None


def _answer(place: str, context: str, asked: Mapping[str, Any]) -> tuple[tuple[int, int], ...] | None:
    if asked.get("is_impossible"):
        return ()
    spans: dict[tuple[int, int], None] = {}
    for answer in asked.get("answers") or ():
        begin, text = answer["answer_start"], answer["text"]
        stands = isinstance(begin, int) and isinstance(text, str) and begin >= 0
        if not stands or not text or context[begin : begin + len(text)] != text:
            raise TrainingError(
                place,
                f"the answer {text!r} does not stand at {begin}",
                "mend answer_start, or drop the question",
            )
        spans[begin, begin + len(text)] = None
    return tuple(spans) or None
