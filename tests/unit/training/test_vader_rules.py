"""VADER's rules run out of the pinned archive as their authors print them."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.data import vader
from training.errors import TrainingError
from training.evaluate.vader import rules

ARCHIVE = Path(__file__).parents[3] / "build" / "downloads" / vader.ARCHIVE.name


@pytest.mark.parametrize(
    ("text", "compound"),
    [
        ("VADER is smart, handsome, and funny.", 0.8316),
        ("VADER is VERY SMART, handsome, and FUNNY!!!", 0.9342),
        ("VADER is not smart, handsome, nor funny.", -0.7424),
        ("At least it isn't a horrible book.", 0.431),
        ("The book was only kind of good.", 0.3832),
        ("Today SUX!", -0.5461),
        ("Make sure you :) or :D today!", 0.8633),
        ("Catch utf-8 emoji such as \U0001f498 and \U0001f48b and \U0001f601", 0.875),
    ],
)
def test_the_printed_examples(text: str, compound: float) -> None:
    """Source: README.rst of vaderSentiment, "Code Examples", output."""
    if not ARCHIVE.exists():
        pytest.skip("needs the archive that make models fetches")
    assert rules(ARCHIVE)(text) == compound


def test_no_other_archive_is_run(tmp_path: Path) -> None:
    """A changed byte is refused, and nothing of it is executed."""
    other = tmp_path / ARCHIVE.name
    other.write_bytes(b"something else")
    with pytest.raises(TrainingError, match="pinned"):
        rules(other)


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    """The remedy is to fetch it."""
    with pytest.raises(TrainingError, match="cannot be read: No such file"):
        rules(tmp_path / "none.tar.gz")
