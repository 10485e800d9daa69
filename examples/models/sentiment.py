"""Two heads on sentence embeddings, for the polarity of :mod:`examples.models.reviews` and on its split.

An embedding takes a millisecond, so they learn from a part of the training rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from examples.models import reviews
from examples.models.embed import ENCODER, embed
from examples.models.family import Data, Family
from examples.models.fit import Recipe
from protos.tensor import TensorSpec

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["load"]

SOURCE = TensorSpec("features", "FP32", (-1, 384))
MAX_ROWS = 256
TRAIN_ROWS = 4000
SEED = 2014

_OUTPUTS = (TensorSpec("probabilities", "FP32", (-1, 3), reviews.POLARITIES),)
_RECIPES = (
    Recipe(
        name="sentiment-linear",
        task="polarity",
        features=StandardScaler(),
        learner=LogisticRegression(max_iter=300),
        grid={"C": [0.0003, 0.001, 0.003]},
        outputs=_OUTPUTS,
    ),
    Recipe(
        name="sentiment-mlp",
        task="polarity",
        features=StandardScaler(),
        learner=MLPClassifier((64,), early_stopping=True, random_state=SEED),
        grid={"alpha": [30.0, 10.0, 3.0]},
        outputs=_OUTPUTS,
    ),
)


def load(downloads: Path, repository: Path) -> Family:
    """Return the reviews as embeddings, with the recipes.

    Args:
        downloads: Where the corpus is, or is put.
        repository: Where the encoder is.

    Raises:
        ExampleError: If the encoder is not there.
        TrainingError: If the corpus cannot be had.
    """
    texts = reviews.load(downloads, repository).data
    chosen = np.random.default_rng(SEED).permutation(len(texts.inputs["train"]))[:TRAIN_ROWS]
    polarity = texts.targets["polarity"]
    return Family(
        source=SOURCE,
        max_rows=MAX_ROWS,
        data=Data(
            inputs={
                "train": embed(repository, texts.inputs["train"][chosen].tolist()),
                "validation": embed(repository, texts.inputs["validation"].tolist()),
            },
            targets={"polarity": {"train": polarity["train"][chosen], "validation": polarity["validation"]}},
            held_out={},
            card={**texts.card, "embeddings": ENCODER, "train_rows": len(chosen)},
        ),
        recipes=_RECIPES,
    )
