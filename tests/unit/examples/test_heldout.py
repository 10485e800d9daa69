"""Held-out rows survive the disk; what is damaged is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import ExampleError
from examples.models.heldout import load, pack, save, stamp_of, unpack

if TYPE_CHECKING:
    from pathlib import Path


@given(st.lists(st.text(st.characters(codec="utf-8"))))
def test_texts_come_back(texts: list[str]) -> None:
    """Empty ones, line feeds, NULs and all of Unicode included."""
    assert unpack("text", pack("text", texts)) == texts


def test_arrays_and_stamp_come_back(tmp_path: Path) -> None:
    """Arrays as they were, and the stamp of what made them; no temporary file stays."""
    path = tmp_path / "data" / "rows.npz"
    save(path, "abc", {"x": np.arange(3), "name": np.array(["é", "b"])})
    arrays = load(path)
    assert arrays["x"].tolist() == [0, 1, 2]
    assert arrays["name"].tolist() == ["é", "b"]
    assert stamp_of(path) == "abc"
    assert [entry.name for entry in path.parent.iterdir()] == ["rows.npz"]


def test_objects_are_refused_and_the_former_file_stays(tmp_path: Path) -> None:
    """An array of objects would need a pickle, which is code."""
    path = tmp_path / "rows.npz"
    save(path, "abc", {"x": np.arange(3)})
    with pytest.raises(ValueError, match="allow_pickle"):
        save(path, "new", {"x": np.array([object()])})
    assert stamp_of(path) == "abc"
    assert [entry.name for entry in tmp_path.iterdir()] == ["rows.npz"]


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 cut short"], ids=["absent", "empty", "cut"])
def test_a_file_that_cannot_be_read_is_named_with_the_remedy(tmp_path: Path, content: bytes | None) -> None:
    """The error says which file and how to make it; its stamp is empty, so that it is made again."""
    path = tmp_path / "rows.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ExampleError, match=r"rows\.npz: .*python -m examples\.models"):
        load(path)
    assert stamp_of(path) == ""
