"""Corpora that are known by name, as tables.

What their columns mean:

- ``vader``: ``text``; ``intensity``, the mean rating from -4 to 4; ``polarity``, negative below -0.5 and
  positive above 0.5 (raters gave whole numbers, so beyond it the mean rounds to at least one step from
  neutral); ``alert``, yes where the mean is at most -2; ``domain`` and ``document``.
- ``vader-ranking``: the sentences of product reviews that have at least five; ``relevance`` is the mean
  rating plus 4, so that none is negative; ``query`` is the review.
- ``vader-cloze``: names hidden in editorials (:mod:`training.data.cloze`); ``question``, ``context``,
  ``answer``.
- ``digits``: ``pixels``, 8 x 8 from 0 to 1; ``digit``; ``parity``, even or odd. Who wrote them is not known.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from training.data import cloze, vader
from training.data.download import fetch
from training.data.table import Table, digest, objects, read_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from training.config import Source

__all__ = ["read_corpus"]

NEUTRAL_UP_TO = 0.5
ALERT_FROM = -2.0
#: Sentences of a review that is worth ranking.
LEAST_LIST = 5


def read_corpus(source: Source, downloads: Path) -> Table:
    """Read a corpus by name; its archive is fetched if it is not there.

    Raises:
        TrainingError: If it cannot be had.
    """
    readers: dict[str, Callable[[Path], dict[str, Any]]] = {
        "vader": _vader,
        "vader-ranking": _ranking,
        "vader-cloze": _cloze,
        "digits": _digits,
    }
    name = str(source.corpus)
    read = readers[name](downloads)
    columns = read.pop("columns")
    return Table(
        name=source.domain or name,
        file=name,
        columns=columns,
        marks=np.arange(1, len(next(iter(columns.values()))) + 1),
        mark=", row ",
        part=source.part,
        **read | ({"domain": None} if source.domain else {}),
    )


def _archive(downloads: Path) -> tuple[vader.Corpus, dict[str, Any]]:
    path = fetch(vader.ARCHIVE, downloads)
    facts = {"from": vader.ARCHIVE.requirement, **digest(read_bytes(path)), "licence": vader.LICENCE}
    return vader.read(path), facts


def _vader(downloads: Path) -> dict[str, Any]:
    corpus, facts = _archive(downloads)
    ratings = np.array(corpus.ratings)
    polarity = np.where(
        ratings > NEUTRAL_UP_TO, "positive", np.where(ratings < -NEUTRAL_UP_TO, "negative", "neutral")
    )
    columns = {
        "text": objects(corpus.texts),
        "polarity": polarity.astype(object),
        "intensity": ratings,
        "alert": np.where(ratings <= ALERT_FROM, "yes", "no").astype(object),
        "domain": objects(corpus.domains),
        "document": objects(corpus.documents),
    }
    return {"columns": columns, "together": ("document",), "domain": "domain", "facts": facts}


def _ranking(downloads: Path) -> dict[str, Any]:
    corpus, facts = _archive(downloads)
    lengths = Counter(corpus.documents)
    rows = [
        i
        for i, (domain, document) in enumerate(zip(corpus.domains, corpus.documents, strict=True))
        if domain == "product" and lengths[document] >= LEAST_LIST
    ]
    columns = {
        "text": objects([corpus.texts[i] for i in rows]),
        "relevance": np.array(corpus.ratings)[rows] + 4,
        "query": objects([corpus.documents[i] for i in rows]),
    }
    return {"columns": columns, "together": ("query",), "facts": facts}


def _cloze(downloads: Path) -> dict[str, Any]:
    corpus, facts = _archive(downloads)
    rows = [i for i, domain in enumerate(corpus.domains) if domain == "editorial"]
    found = cloze.items([corpus.texts[i] for i in rows], [corpus.documents[i] for i in rows])
    columns = {
        "question": objects([item.question for item in found]),
        "context": objects([item.context for item in found]),
        "answer": objects([item.spans for item in found]),
        "document": objects([item.document for item in found]),
    }
    return {"columns": columns, "inputs": ("question", "context"), "together": ("document",), "facts": facts}


def _digits(_: Path) -> dict[str, Any]:
    import sklearn  # noqa: PLC0415 - a second to import
    from sklearn import datasets  # noqa: PLC0415 - likewise

    read = datasets.load_digits()
    licence = "CC BY 4.0, E. Alpaydin and C. Kaynak: Optical Recognition of Handwritten Digits, UCI, 1998"
    columns = {
        "pixels": (read.images / 16).astype(np.float32),
        "digit": read.target.astype(str).astype(object),
        "parity": np.where(read.target % 2, "odd", "even").astype(object),
    }
    archive = Path(datasets.__file__).parent / "data" / "digits.csv.gz"
    facts = {
        "from": f"scikit-learn=={sklearn.__version__}",
        **digest(read_bytes(archive)),
        "licence": licence,
    }
    return {"columns": columns, "inputs": ("pixels",), "facts": facts}
