"""A version of a model is written whole or not at all."""

from __future__ import annotations

import json
import resource
import signal
import threading
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("onnxscript", reason="needs the training environment: make train-setup")

from training.data import Kind
from training.errors import TrainingError
from training.export.interface import Head
from training.export.repository import Package, write

if TYPE_CHECKING:
    from pathlib import Path

PACKAGE = Package(
    name="mood",
    onnx=b"model",
    heads=(
        Head(task="mood", kind=Kind.CLASSIFY, classes=("bad", "good")),
        Head(task="force", kind=Kind.REGRESS),
    ),
    inputs={"text": ("TYPE_STRING", (1,))},
    max_rows=64,
    independent=True,
    tokenizer=b"{}",
    max_tokens=24,
    card={"licence": "CC0-1.0"},
)


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, and every folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


def test_the_layout_is_tritons(tmp_path: Path) -> None:
    """With labels, digests and a card beside each version."""
    version = write(tmp_path / "models", PACKAGE)
    assert version == tmp_path / "models" / "mood" / "1"
    files = tree(version.parent)
    assert set(files) == {
        "1",
        *(f"1/{name}" for name in ("SHA256SUMS", "card.json", "model.onnx", "tokenizer.json")),
        "config.pbtxt",
        "mood.labels.txt",
    }
    assert files["mood.labels.txt"] == b"bad\ngood\n"
    assert f"{sha256(b'model').hexdigest()}  model.onnx" in files["1/SHA256SUMS"].decode()
    assert json.loads(files["1/card.json"])["row_independent"] is True
    config = files["config.pbtxt"].decode()
    for line in (
        'name: "mood.label"',
        "data_type: TYPE_STRING",
        'string_value: "24"',
        'key: "accord_independent"',
    ):
        assert line in config


def test_versions_count_up_and_none_is_changed(tmp_path: Path) -> None:
    """What was there stays as it was."""
    write(tmp_path, PACKAGE)
    before = tree(tmp_path / "mood" / "1")
    (tmp_path / "mood" / "7").mkdir()
    (tmp_path / "mood" / "7" / "model.onnx").write_bytes(b"by hand")
    assert write(tmp_path, replace(PACKAGE, onnx=b"better")).name == "8"
    assert tree(tmp_path / "mood" / "1") == before
    assert (tmp_path / "mood" / "8" / "model.onnx").read_bytes() == b"better"


@pytest.mark.parametrize("there", [False, True])
def test_a_check_that_refuses_leaves_all_as_it_was(tmp_path: Path, *, there: bool) -> None:
    """The check sees the files as they would be; then nothing of them is left, not even a folder."""
    if there:
        write(tmp_path / "deep" / "models", PACKAGE)
    before = tree(tmp_path)

    def refuse(model: Path, version: Path) -> None:
        assert (model / "config.pbtxt").exists()
        assert (version / "model.onnx").read_bytes() == b"model"
        raise TrainingError("here", "is wrong", "mend it")

    with pytest.raises(TrainingError, match="here: is wrong; mend it"):
        write(tmp_path / "deep" / "models", PACKAGE, refuse)
    assert tree(tmp_path) == before


def test_a_disk_that_takes_no_more_leaves_all_as_it_was(tmp_path: Path) -> None:
    """The error of the system, as one that a person can mend."""
    write(tmp_path, PACKAGE)
    before = tree(tmp_path)
    was, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, was[1]))
        with pytest.raises(
            TrainingError, match=r"mood: cannot be written \(File too large\), and is as it was"
        ):
            write(tmp_path, replace(PACKAGE, onnx=bytes(1 << 20)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, was)
        signal.signal(signal.SIGXFSZ, ignored)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "other",
    [
        replace(PACKAGE, independent=False),
        replace(PACKAGE, max_tokens=25),
        replace(PACKAGE, heads=(replace(PACKAGE.heads[0], classes=("good", "bad")), PACKAGE.heads[1])),
        replace(PACKAGE, heads=PACKAGE.heads[:1]),
    ],
    ids=["dependent", "longer", "swapped", "fewer"],
)
def test_another_interface_needs_another_name(tmp_path: Path, other: Package) -> None:
    """Because all versions share one config and one list of labels."""
    write(tmp_path, PACKAGE)
    before = tree(tmp_path)
    with pytest.raises(TrainingError, match="says something else of the versions that are there"):
        write(tmp_path, other)
    assert tree(tmp_path) == before


def test_exports_at_the_same_time_get_versions_of_their_own(tmp_path: Path) -> None:
    """None is lost, none is mixed."""
    contents = [f"model {i}".encode() for i in range(8)]
    threads = [
        threading.Thread(target=write, args=(tmp_path, replace(PACKAGE, onnx=content)))
        for content in contents
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = {path.parent.name: path.read_bytes() for path in tmp_path.glob("mood/*/model.onnx")}
    assert sorted(found, key=int) == [str(i) for i in range(1, 9)]
    assert sorted(found.values()) == contents
    for path in tmp_path.glob("mood/*/SHA256SUMS"):
        assert sha256((path.parent / "model.onnx").read_bytes()).hexdigest() in path.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["mood"]


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a b"])
def test_a_name_cannot_lead_elsewhere(tmp_path: Path, name: str) -> None:
    """Nothing is written for it."""
    with pytest.raises(TrainingError, match="is no name of a model"):
        write(tmp_path / "models", replace(PACKAGE, name=name))
    assert not (tmp_path / "models").exists()
