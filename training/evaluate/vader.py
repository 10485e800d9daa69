"""VADER's rules, as its authors wrote them: run out of the pinned archive, in memory.

Source: C.J. Hutto and E. Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social
    Media Text", ICWSM 2014; MIT
licence. Their module is run and not written anew, so that the baseline is theirs to the last rule; the
archive's hash is pinned, as it would be for an installed package.
"""

from __future__ import annotations

import tarfile
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from training.data.vader import ARCHIVE
from training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["POLAR", "rules"]

#: Beyond this a text is positive or negative, says the README.
POLAR = 0.05

_FOLDER = "vaderSentiment-3.3.2/vaderSentiment"
_MODULE, _LEXICON, _EMOJI = (
    f"{_FOLDER}/{name}" for name in ("vaderSentiment.py", "vader_lexicon.txt", "emoji_utf8_lexicon.txt")
)


def rules(archive: Path) -> Callable[[str], float]:
    """Return the function from a text to its compound score, -1 to 1.

    Raises:
        TrainingError: If the archive is not the pinned one.
    """
    try:
        content = archive.read_bytes()
        if sha256(content).hexdigest() != ARCHIVE.sha256:
            raise TrainingError(
                str(archive), "is not the archive whose hash is pinned", "remove it and try again"
            )
        with tarfile.open(archive) as files:
            module, lexicon, emoji = (_text(files, name) for name in (_MODULE, _LEXICON, _EMOJI))
    except OSError as error:
        raise TrainingError(str(archive), f"cannot be read: {error.strerror}", "download it again") from None
    namespace: dict[str, Any] = {"__name__": "vader"}
    exec(compile(module, _MODULE, "exec"), namespace)  # noqa: S102 - its hash is pinned, as a package's is
    kind = namespace["SentimentIntensityAnalyzer"]
    analyzer = kind.__new__(kind)  # its constructor would look for the tables on disk
    analyzer.lexicon_full_filepath, analyzer.emoji_full_filepath = lexicon, emoji
    analyzer.lexicon, analyzer.emojis = analyzer.make_lex_dict(), analyzer.make_emoji_dict()
    return lambda text: float(analyzer.polarity_scores(text)["compound"])


def _text(files: tarfile.TarFile, name: str) -> str:
    file = files.extractfile(name)
    assert file is not None  # noqa: S101 - a regular file of the archive, whose hash is known
    return file.read().decode("utf-8")
