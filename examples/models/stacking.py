"""The meta-model over the polarity models: it learns on rows that they have not seen how far to trust each.

Those are the validation rows, on which their settings were chosen, but nothing was fitted; a fifth of them
chooses its own setting. The test rows stay unseen by all. Source: D. Wolpert, "Stacked Generalization",
Neural Networks 5 (1992).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from examples import ExampleError
from examples.models import reviews
from examples.models.embed import ENCODER, embed
from examples.models.export import onnx_input, session
from examples.models.family import Data, Family
from examples.models.fit import Recipe
from protos.tensor import TensorSpec

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["load"]

#: In the order in which the configuration stacks them.
BASES = ("polarity-words", "sentiment-linear", "sentiment-mlp")
SOURCE = TensorSpec("features", "FP32", (-1, 3 * len(BASES)))
MAX_ROWS = 256
BATCH = 64
SEED = 2014


def load(downloads: Path, repository: Path) -> Family:
    """Return what the base models say of the validation rows, with the recipe.

    Args:
        downloads: Where the corpus is, or is put.
        repository: Where the base models are.

    Raises:
        ExampleError: If a model is not there.
        TrainingError: If the corpus cannot be had.
    """
    data = reviews.load(downloads, repository).data
    texts = data.inputs["validation"].tolist()
    own: dict[str, Any] = dict.fromkeys(BASES, embed(repository, texts))
    own["polarity-words"] = onnx_input(texts, reviews.SOURCE)
    features = np.hstack([_probabilities(repository, name, rows) for name, rows in own.items()])
    labels = np.array(reviews.POLARITIES)[data.targets["polarity"]["validation"]]
    order = np.random.default_rng(SEED).permutation(len(texts))
    parts = {"validation": order[: len(order) // 5], "train": order[len(order) // 5 :]}
    return Family(
        source=SOURCE,
        max_rows=MAX_ROWS,
        data=Data(
            inputs={part: features[rows] for part, rows in parts.items()},
            targets={"polarity": {part: labels[rows] for part, rows in parts.items()}},
            held_out={},
            card={
                **data.card,
                "embeddings": ENCODER,
                "stacked": list(BASES),
                "train_rows": len(parts["train"]),
            },
        ),
        recipes=(
            Recipe(
                name="sentiment-meta",
                task="polarity",
                features=StandardScaler(),
                learner=LogisticRegression(max_iter=300),
                grid={"C": [0.003, 0.01, 0.1]},
                outputs=(
                    TensorSpec("label", "BYTES", (-1,)),
                    TensorSpec("probabilities", "FP32", (-1, 3), reviews.POLARITIES),
                ),
            ),
        ),
    )


def _probabilities(repository: Path, name: str, rows: NDArray[Any]) -> NDArray[Any]:
    path = repository / name / "1" / "model.onnx"
    if not path.exists():
        raise ExampleError(f"{path} does not exist; make it with: python -m examples.models")
    run = session(path.read_bytes())
    (source,) = run.get_inputs()
    parts = [
        run.run(["probabilities"], {source.name: rows[i : i + BATCH]})[0] for i in range(0, len(rows), BATCH)
    ]
    return np.concatenate(parts)
