"""The corpus' archive: only the pinned file is read, and of it only what is expected."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from examples.models.__main__ import main
from training.data import vader
from training.errors import TrainingError

if TYPE_CHECKING:
    from pathlib import Path

GROUND_TRUTH = {
    "nytEditorialSnippets_GroundTruth.txt": "7_1\t0.4\tA  first\tline.\r\n7_2\t-1.5\tA second.\r\n",
    "movieReviewSnippets_GroundTruth.txt": "1\t2.0\tGood.\r\n",
    "amazonReviewSnippets_GroundTruth.txt": "3_10\t1.0\tWorks.\r\n",
    "tweets_GroundTruth.txt": "9\t-3\tcaf\u00e9 :(\r\n\r\n",
    "vader_sentiment_lexicon.txt": "good\t1.9\t0.9\n:(\t-2.2\t0.8\n",
}


def tar(members: dict[str, bytes], *, link: str = "") -> bytes:
    """An archive of these files, and one symbolic link in place of a file."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if name == link:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            else:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def corpus(path: Path, *, link: str = "", **changed: str) -> Path:
    files = {f"hutto_ICWSM_2014/{n}": t.encode() for n, t in (GROUND_TRUTH | changed).items() if t}
    inner = tar(files, link=f"hutto_ICWSM_2014/{link}" if link else "")
    path.write_bytes(tar({"vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz": inner}))
    return path


def test_rows_are_read_in_order_with_domain_and_document(tmp_path: Path) -> None:
    """Blanks and line ends are tidied, empty lines dropped, and rows of one document share its name."""
    read = vader.read(corpus(tmp_path / "a.tar.gz"))
    assert read.texts == ("A first line.", "A second.", "Good.", "Works.", "café :(")
    assert read.ratings == (0.4, -1.5, 2.0, 1.0, -3.0)
    assert read.domains == ("editorial", "editorial", "movie", "product", "tweet")
    assert read.documents == ("editorial/7", "editorial/7", "movie/1", "product/3", "tweet/9")
    assert read.lexicon == ("good", ":(")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"tweets_GroundTruth.txt": ""}, "tweets_GroundTruth.txt"),
        ({"link": "tweets_GroundTruth.txt"}, "no regular file"),
        ({"tweets_GroundTruth.txt": "no tabs\n"}, "not enough values"),
    ],
    ids=["missing", "link", "malformed"],
)
def test_an_archive_with_other_contents_is_refused(
    tmp_path: Path, changes: dict[str, str], problem: str
) -> None:
    """The error names the archive and what is wrong; links are not followed."""
    with pytest.raises(TrainingError, match=rf"a\.tar\.gz: .*{problem}"):
        vader.read(corpus(tmp_path / "a.tar.gz", **changes))


def test_only_the_pinned_archive_is_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of the right name and wrong content stops the command with both hashes and the remedy."""
    corpus(tmp_path / vader.ARCHIVE.name)
    arguments = [
        "reviews",
        "--downloads",
        tmp_path,
        "--out",
        tmp_path / "models",
        "--data",
        tmp_path / "data",
    ]
    assert main([str(argument) for argument in arguments]) == 1
    error = capsys.readouterr().err
    assert vader.ARCHIVE.sha256 in error
    assert "remove it and try again" in error
    assert not (tmp_path / "models").exists()


def test_an_unknown_family_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The usage error lists what there is."""
    with pytest.raises(SystemExit) as stopped:
        main(["digit"])
    assert stopped.value.code == 2
    assert "choose from digits, reviews" in capsys.readouterr().err
