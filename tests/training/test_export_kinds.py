"""Every kind of task and of input can be exported, and a worker serves it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from tests.interop.asking import infer
from tests.serving import listening

pytest.importorskip("torch", reason="needs the training environment: make train-setup")

import torch

from protos.tensor import Tensor
from tests.training import rows as made_up
from training.compress.scores import feed_of, scores_by_task
from training.compress.variant import read
from training.compress.variants import compress
from training.data import Part
from training.errors import TrainingError
from training.export.interface import scores_of
from training.export.run import export
from training.models import build

if TYPE_CHECKING:
    from pathlib import Path

    from training.data import Dataset


def served(dataset: Dataset, folder: Path, fed: Any, **more: Any) -> tuple[Any, dict[str, Any]]:
    """Export an untrained model, have a worker answer a batch, and return the variant and the answers."""
    config = made_up.config(dataset, **more)
    torch.manual_seed(1)
    model = build(config, dataset).eval()
    compress(config, dataset, model, folder / "run")
    export(config, dataset, model, folder / "run", "fp32", repository=folder / "models", name="m")
    command = [sys.executable, "-m", "workers.main", "--repository", str(folder / "models"), "--model", "m"]
    inputs = {name: Tensor.from_array(array) for name, array in fed(model).items()}
    with (
        listening([*command, "--threads", "1"], folder / "log") as (_, address),
        grpc.insecure_channel(address) as channel,
    ):
        answer = infer(channel, "m", inputs)
    return read(folder / "run", "fp32"), {name: tensor.array() for name, tensor in answer.items()}


def test_pairs_are_served_as_tokens_with_a_task_of_each_kind(tmp_path: Path) -> None:
    """A worker makes no tokens of pairs: the client does, and gets shares of each token for begin and end."""
    dataset = made_up.every_kind()
    rows = dataset.rows(Part.TEST)
    variant, got = served(dataset, tmp_path, lambda model: feed_of(model, dataset)(rows))
    assert got["class.label"].dtype == np.int64
    np.testing.assert_allclose(got["span.start"].sum(1), 1, atol=1e-5)
    assert got["tags.probabilities"].shape == (len(rows), 2)
    assert ((got["tags.probabilities"] > 0) & (got["tags.probabilities"] < 1)).all()
    scores = scores_of(got, variant.heads)
    with np.load(tmp_path / "run" / "variants" / "fp32" / "predictions.npz") as kept:
        places = np.searchsorted(kept["rows"][-len(rows) :], rows) + len(kept["rows"]) - len(rows)
        for task in ("class", "tags", "number", "rank"):
            np.testing.assert_allclose(scores[task], kept[task][places], rtol=1e-3, atol=1e-4)
        assert kept["span"].shape == (len(kept["rows"]), 2)
    assert (tmp_path / "models" / "m" / "config.pbtxt").read_text().count("TYPE_BOOL") == 1


def test_images_are_served_as_numbers(tmp_path: Path) -> None:
    """A label is then a number, which Triton can answer too."""
    dataset = made_up.images()
    rows = dataset.rows(Part.TEST)
    variant, got = served(dataset, tmp_path, lambda _: {"values": dataset.inputs.values[rows]})
    assert got["quarter.label"][:, 0].tolist() == got["quarter.probabilities"].argmax(1).tolist()
    config = (tmp_path / "models" / "m" / "config.pbtxt").read_text()
    assert "TYPE_STRING" not in config
    assert variant.facts["invariance"]["same"]


def test_images_have_no_students(tmp_path: Path) -> None:
    """Which is said, and leaves no variant."""
    dataset = made_up.images()
    config = made_up.config(dataset)
    step = type(config).model_validate(
        config.model_dump(exclude_unset=True, by_alias=True)
        | {"compress": [{"kind": "distil", "student": "bag"}]}
    )
    with pytest.raises(TrainingError, match="an encoder of kind 'image' has no students"):
        compress(step, dataset, build(config, dataset).eval(), tmp_path)
    assert [path.name for path in (tmp_path / "variants").iterdir()] == ["fp32"]


def test_scores_of_a_file_are_those_of_the_model(tmp_path: Path) -> None:
    """In the order that was asked for, whatever batches they were computed in."""
    dataset = made_up.sentences(80)
    config = made_up.config(dataset)
    model = build(config, dataset).eval()
    (variant,) = compress(config, dataset, model, tmp_path)
    order = np.random.default_rng(0).permutation(len(dataset))
    found = scores_by_task(variant.onnx, variant.heads, model, dataset, order)
    with torch.no_grad():
        wanted = model(model.collate(dataset, order))["force"].numpy()
    np.testing.assert_allclose(found["force"], wanted, rtol=0, atol=1e-5)
