"""Model repositories: read back by the worker's own reader, replaced as a whole, made again when stale."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from examples.models import repository
from examples.models.export import to_onnx
from examples.models.repository import Export, is_current, write_model
from protos.tensor import TensorSpec
from training.files import replaced
from workers.model.interface import declared
from workers.model.repository import find

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = TensorSpec("x", "FP32", (-1, 3))
OUTPUTS = (
    TensorSpec("probabilities", "FP32", (-1, 2), ("no", "yes")),
    TensorSpec("label", "INT64", (-1,)),
)


@pytest.fixture(scope="module")
def export() -> Export:
    rows = np.random.default_rng(0).normal(size=(20, 3))
    pipeline = make_pipeline(LogisticRegression()).fit(rows, (rows[:, 0] > 0).astype(int))
    onnx = to_onnx(pipeline, SOURCE, OUTPUTS)
    return Export(name="m", onnx=onnx, source=SOURCE, outputs=OUTPUTS, max_rows=16, card={"task": "t"})


def test_a_worker_reads_what_was_written(tmp_path: Path, export: Export) -> None:
    """Names, datatypes, shapes, labels and row limit come back; a tensor of rows alone is [rows, 1]."""
    write_model(tmp_path, export)
    files = find(tmp_path, "m")
    spec = declared(files)
    assert spec is not None
    assert spec.inputs == (SOURCE,)
    assert spec.outputs == (OUTPUTS[0], replace(OUTPUTS[1], shape=(-1, 1)))
    assert (spec.version, spec.max_rows) == ("1", 16)
    assert files.path.read_bytes() == export.onnx


def test_a_model_is_current_until_it_or_what_made_it_changes(
    tmp_path: Path, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Absent, damaged, without a card, or made by other code: it is made again."""
    assert not is_current(tmp_path, "m")
    write_model(tmp_path, export)
    assert is_current(tmp_path, "m")
    onnx, card = tmp_path / "m" / "1" / "model.onnx", tmp_path / "m" / "card.json"
    onnx.write_bytes(export.onnx[:-1])
    assert not is_current(tmp_path, "m")
    onnx.write_bytes(export.onnx)
    assert is_current(tmp_path, "m")
    with monkeypatch.context() as other:
        other.setattr(repository, "stamp", lambda: "of other code")
        assert not is_current(tmp_path, "m")
    card.write_text("{")
    assert not is_current(tmp_path, "m")


def test_the_card_says_where_a_model_comes_from(tmp_path: Path, export: Export) -> None:
    """The facts given, the file's hash, the libraries and the stamp."""
    write_model(tmp_path, export)
    card = json.loads((tmp_path / "m" / "card.json").read_bytes())
    assert card["task"] == "t"
    assert set(card) == {"name", "task", "onnx_sha256", "onnx_bytes", "libraries", "stamp"}
    assert card["libraries"]["scikit-learn"]


def test_a_failure_leaves_the_former_model_whole(tmp_path: Path, export: Export) -> None:
    """Nothing of a directory that was not finished stays, and the old one is untouched."""
    write_model(tmp_path, export)

    def fail_half_way() -> None:
        with replaced(tmp_path / "m") as new:
            (new / "config.pbtxt").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert is_current(tmp_path, "m")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_new_model_takes_the_place_of_the_former_one_as_a_whole(tmp_path: Path, export: Export) -> None:
    """No file of the former model stays behind."""
    write_model(tmp_path, export)
    (tmp_path / "m" / "2").mkdir()
    write_model(tmp_path, replace(export, outputs=OUTPUTS[1:]))
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["1", "card.json", "config.pbtxt"]
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
