"""A small task on few words, and small models of it: everything real, nothing large."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the training environment: make train-setup")

import torch

from training.config import Config
from training.data import Dataset, Kind, Labels, Texts
from training.export.interface import Head
from training.export.onnx import to_onnx
from training.models import Model, build

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["HEADS", "MOODS", "Made", "config", "dataset", "made", "model"]

MOODS = ("bad", "so-so", "good")
HEADS = (
    Head(task="mood", kind=Kind.CLASSIFY, classes=MOODS, temperature=1.7),
    Head(task="strength", kind=Kind.REGRESS),
)
Made = tuple[Dataset, Model, bytes]
_WORDS = {
    "bad": ["awful", "dull", "broken", "sad", "poor"],
    "so-so": ["plain", "table", "window", "grey", "seven"],
    "good": ["great", "warm", "bright", "fine", "lovely"],
}
_FILLING = ("the", "film", "book", "was", "and", "a", "very", "it", "story", "we", "saw", "on", "that", "day")


def dataset(rows: int = 240, seed: int = 0) -> Dataset:
    """Return texts of 2 to 20 words whose mood some of their words tell, and how strong it is."""
    random = np.random.default_rng(seed)
    moods = random.integers(0, 3, rows)
    texts = []
    for mood in moods:
        told = random.choice(_WORDS[MOODS[mood]], random.integers(1, 4)).tolist()
        words = told + random.choice(_FILLING, random.integers(1, 17)).tolist()
        texts.append(" ".join(random.permutation(words)))
    known, weights = np.ones(rows, np.bool_), np.ones(rows, np.float32)
    parts = random.permutation(np.arange(rows) % 10)
    return Dataset(
        inputs=Texts(tuple(texts)),
        labels={
            "mood": Labels(
                kind=Kind.CLASSIFY, values=moods.astype(np.int64), known=known, weights=weights, classes=MOODS
            ),
            "strength": Labels(
                kind=Kind.REGRESS,
                values=(moods - 1 + random.normal(0, 0.1, rows)).astype(np.float32),
                known=known.copy(),
                weights=weights.copy(),
            ),
        },
        groups=np.arange(rows, dtype=np.int64),
        domains=np.zeros(rows, np.int64),
        domain_names=("made up",),
        parts=np.where(parts < 6, 0, np.where(parts < 8, 1, 2)).astype(np.int8),
        card={"sources": [{"name": "made up", "licence": "CC0-1.0", "sha256": "0" * 64}], "rows": rows},
    )


def config(folder: Path, **sections: Any) -> Config:
    """Return a configuration of a small encoder with random weights."""
    given = {
        "data": {"source": "vader", "max_length": 24},
        "encoder": {"name": "bert", "layers": 3, "width": 32},
        "tasks": {"mood": {"kind": "classify", "labels": list(MOODS)}, "strength": {"kind": "regress"}},
        "train": {"threads": 1},
        "export": {"repository": str(folder / "models")},
    }
    return Config.model_validate(given | sections)


def model(config: Config, dataset: Dataset, *, spread: float = 1.0) -> Model:
    """Return an untrained model whose answers differ from row to row."""
    torch.manual_seed(3)
    made = build(config, dataset).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:
                parameter.mul_(1 + 4 * spread)
    return made


def made(folder: Path) -> Made:
    """Return a data set, an untrained model of it, and that as a file."""
    rows = dataset()
    untrained = model(config(folder), rows)
    return rows, untrained, to_onnx(untrained, HEADS, untrained.collate(rows, np.arange(3)))
