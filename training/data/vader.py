"""The VADER corpus: 23.7 thousand sentences of four kinds, each rated by at least 20 people from -4 to 4.

Source: C.J. Hutto and E. Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social
Media Text", ICWSM 2014; MIT licence. It lies in the source distribution of vaderSentiment, which is fetched
from the Python package registry, checked against a pinned hash and read in memory: nothing of it is
installed, unpacked to disk or committed.
"""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.data.download import Archive
from training.errors import TrainingError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ARCHIVE", "LICENCE", "Corpus", "read"]

ARCHIVE = Archive(
    "vaderSentiment==3.3.2",
    "vaderSentiment-3.3.2.tar.gz",
    "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
)
LICENCE = "MIT, (c) C.J. Hutto; cite Hutto & Gilbert, ICWSM 2014"

_INNER = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
_FILES = {
    "editorial": "hutto_ICWSM_2014/nytEditorialSnippets_GroundTruth.txt",
    "movie": "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt",
    "product": "hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt",
    "tweet": "hutto_ICWSM_2014/tweets_GroundTruth.txt",
}
_LEXICON = "hutto_ICWSM_2014/vader_sentiment_lexicon.txt"

#: No file of the archive that is read here is larger.
_MAX_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """The sentences, in the archive's order, and the lexicon's words.

    Args:
        texts: The sentences, runs of blanks made one.
        ratings: The mean rating of each, -4 (extremely negative) to 4 (extremely positive).
        domains: The kind of each: editorial, movie, product or tweet.
        documents: What each belongs to: an editorial or a product review. Snippets of film reviews and tweets
            stand alone.
        lexicon: Words and emoticons that people rated as not neutral.
    """

    texts: tuple[str, ...]
    ratings: tuple[float, ...]
    domains: tuple[str, ...]
    documents: tuple[str, ...]
    lexicon: tuple[str, ...]


def read(archive: Path) -> Corpus:
    """Read the corpus out of the archive.

    Raises:
        TrainingError: If the archive does not hold what is expected.
    """
    rows: list[tuple[str, str, float, str]] = []
    try:
        with tarfile.open(archive) as outer:
            inner = _member(outer, _INNER)
        with tarfile.open(fileobj=io.BytesIO(inner)) as files:
            for domain, name in _FILES.items():
                rows += [_row(domain, line) for line in _lines(_member(files, name).decode("utf-8"))]
            lexicon = _lines(_member(files, _LEXICON).decode("utf-8", "replace"))
    except (OSError, tarfile.TarError, KeyError, ValueError) as error:
        raise TrainingError(
            str(archive), f"does not hold the expected corpus ({error})", "remove it and try again"
        ) from None
    domains, documents, ratings, texts = zip(*rows, strict=True)
    words = tuple(line.split("\t", 1)[0] for line in lexicon)
    return Corpus(texts=texts, ratings=ratings, domains=domains, documents=documents, lexicon=words)


def _lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.strip()]


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    info = archive.getmember(name)
    file = archive.extractfile(info) if info.isfile() and info.size <= _MAX_BYTES else None
    if file is None:
        raise KeyError(f"{name} is no regular file of at most {_MAX_BYTES} bytes")
    return file.read()


def _row(domain: str, line: str) -> tuple[str, str, float, str]:
    number, rating, text = line.split("\t", 2)
    return domain, f"{domain}/{number.split('_')[0]}", float(rating), " ".join(text.split())
