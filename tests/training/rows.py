"""Small data sets of which something can be learned, and the configurations of small models."""

from __future__ import annotations

from typing import Any

import numpy as np

from training.config import Config
from training.data import Arrays, Dataset, Kind, Labels, Pairs, Texts

GOOD, BAD, PLAIN = (
    ("fine", "lovely", "great"),
    ("poor", "awful", "sad"),
    ("table", "tree", "river", "stone", "cloud"),
)


def sentences(n: int = 96, *, seed: int = 0, unlabelled: float = 0.25) -> Dataset:
    """Return sentences with three tasks: mood (a word decides), force (how many such words), place."""
    generator = np.random.default_rng(seed)
    mood, count = generator.integers(0, 2, n), generator.integers(1, 4, n)
    place = generator.integers(0, 3, n)
    texts = []
    for i in range(n):
        words = [*generator.choice(PLAIN, generator.integers(2, 9)), f"in{place[i]}"]
        words += list(generator.choice((BAD, GOOD)[mood[i]], count[i]))
        texts.append(" ".join(generator.permutation(words)))
    labels = {
        "mood": labelled(Kind.CLASSIFY, mood, generator.random(n) >= unlabelled, classes=("bad", "good")),
        "force": labelled(Kind.REGRESS, np.where(mood, count, -count), generator.random(n) >= unlabelled),
        "place": labelled(Kind.CLASSIFY, place, generator.random(n) >= unlabelled, classes=("a", "b", "c")),
    }
    return made(Texts(tuple(texts)), labels, n)


def every_kind(n: int = 48, *, seed: int = 0) -> Dataset:
    """Return pairs with a task of each kind."""
    generator = np.random.default_rng(seed)
    contexts, spans = [], np.empty((n, 2), np.int64)
    for i in range(n):
        words = [str(word) for word in generator.choice(PLAIN, generator.integers(3, 7))]
        at = int(generator.integers(0, len(words)))
        begin = sum(len(word) + 1 for word in words[:at])
        words[at] = "Bergamo"
        spans[i] = begin, begin + len("Bergamo")
        contexts.append(" ".join(words))
    spans[::7] = -1
    labels = {
        "class": labelled(
            Kind.CLASSIFY, generator.integers(0, 3, n), generator.random(n) > 0.2, classes=("a", "b", "c")
        ),
        "tags": labelled(
            Kind.MULTILABEL, generator.integers(0, 2, (n, 2)), generator.random(n) > 0.2, classes=("x", "y")
        ),
        "number": labelled(Kind.REGRESS, generator.normal(size=n), generator.random(n) > 0.2),
        "rank": labelled(
            Kind.RANK, generator.integers(0, 4, n), generator.random(n) > 0.2, queries=np.arange(n) // 4
        ),
        "span": labelled(Kind.SPAN, spans, generator.random(n) > 0.2),
    }
    return made(Pairs(tuple(["where is it"] * n), tuple(contexts)), labels, n, together=4)


def images(n: int = 120, *, seed: int = 0) -> Dataset:
    """Return noisy images of 8 x 8 with a bright quarter: which it is, and whether it is an upper one."""
    generator = np.random.default_rng(seed)
    quarter = generator.integers(0, 4, n)
    values = generator.normal(0, 0.3, (n, 8, 8)).astype(np.float32)
    for i, q in enumerate(quarter):
        values[i, 4 * (q // 2) : 4 * (q // 2) + 4, 4 * (q % 2) : 4 * (q % 2) + 4] += 1
    labels = {
        "quarter": labelled(Kind.CLASSIFY, quarter, np.ones(n, bool), classes=("a", "b", "c", "d")),
        "upper": labelled(Kind.CLASSIFY, quarter // 2, np.ones(n, bool), classes=("yes", "no")),
    }
    return made(Arrays(values), labels, n)


def labelled(kind: Kind, values: Any, known: Any, **more: Any) -> Labels:
    """Return labels of weight 1."""
    dtype = np.int64 if kind in (Kind.CLASSIFY, Kind.SPAN) else np.float32
    return Labels(
        kind=kind,
        values=np.asarray(values).astype(dtype),
        known=known,
        weights=np.ones(len(known), np.float32),
        **more,
    )


def made(inputs: Any, labels: dict[str, Labels], n: int, *, together: int = 1) -> Dataset:
    """Return a data set of which an eighth each is for validation and test, so many neighbours together."""
    parts = np.array([0, 0, 0, 1, 0, 0, 0, 2], np.int8)[np.arange(n) // together % 8]
    none = np.zeros(n, np.int64)
    return Dataset(
        inputs=inputs, labels=labels, groups=np.arange(n), domains=none, domain_names=("all",), parts=parts,
        card={"licence": "made up"},
    )  # fmt: skip


def config(dataset: Dataset, *, encoder: Any = None, tasks: Any = None, **train: Any) -> Config:
    """Return the configuration of a small model for a data set."""
    kinds = {name: {"kind": labels.kind.value} for name, labels in dataset.labels.items()}
    for name, more in (tasks or {}).items():
        kinds[name] |= more
    text = {"name": "bert", "layers": 2, "width": 32, "vocabulary": 64}
    array = {"name": "image", "layers": 2, "width": 16}
    defaults = {
        "batch": 16, "epochs": 2, "threads": 1, "device": "cpu", "precision": "fp32",
        "optimizer": {"lr": 1e-3, "head_lr": 1e-2},
    }  # fmt: skip
    return Config.model_validate(
        {
            "data": {"source": "vader", "max_length": 32},
            "encoder": (array if isinstance(dataset.inputs, Arrays) else text) | (encoder or {}),
            "tasks": kinds,
            "train": defaults | train,
        }
    )
