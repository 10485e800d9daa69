"""Five learners on handwritten digits: 1,797 images of 8x8 pixels, bundled with scikit-learn.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits" (its test part), UCI Machine
Learning Repository, 1998; CC BY 4.0.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import MaxAbsScaler
from sklearn.svm import SVC

from examples.models.family import Data, Family
from examples.models.fit import Recipe
from protos.tensor import TensorSpec

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["load"]

SOURCE = TensorSpec("pixels", "FP32", (-1, 64))
OUTPUTS = (TensorSpec("probabilities", "FP32", (-1, 10)), TensorSpec("label", "INT64", (-1,)))
SEED = 0

#: A pixel counts the ink in a square of 4x4 finer pixels: 0 to 16, whatever the training rows hold.
SCALE = FrozenEstimator(MaxAbsScaler().fit(np.full((1, 64), 16.0)))


def load(_downloads: Path, _repository: Path) -> Family:
    """Load the images and the recipes."""
    return Family(source=SOURCE, max_rows=256, data=_data(), recipes=_recipes())


def _data() -> Data:
    bunch = load_digits()
    pixels, digit = bunch.data.astype(np.float32), bunch.target.astype(np.int64)
    rows = np.arange(len(digit))
    rest, test = train_test_split(rows, test_size=0.25, stratify=digit, random_state=SEED)
    train, validation = train_test_split(rest, test_size=0.2, stratify=digit[rest], random_state=SEED)
    parts = {"train": np.sort(train), "validation": np.sort(validation), "test": np.sort(test)}
    return Data(
        inputs={part: pixels[at] for part, at in parts.items()},
        targets={"digit": {part: digit[at] for part, at in parts.items()}},
        held_out={"pixels": pixels[parts["test"]], "label": digit[parts["test"]], "row": parts["test"]},
        card={
            "name": "Optical Recognition of Handwritten Digits (UCI 1998), as sklearn.datasets.load_digits",
            "licence": "CC BY 4.0",
            "sha256": sha256(pixels.tobytes() + digit.tobytes()).hexdigest(),
            "split": f"stratified by digit, seed {SEED}",
            "rows": {part: len(at) for part, at in parts.items()},
        },
    )


def _recipes() -> tuple[Recipe, ...]:
    return (
        _recipe("digits-linear", LogisticRegression(max_iter=1000), {"C": [0.3, 1.0, 3.0]}),
        _recipe(
            "digits-svm",
            CalibratedClassifierCV(SVC(kernel="rbf"), ensemble=False, cv=5),
            {"estimator__C": [3.0, 10.0], "estimator__gamma": [0.03, 0.06]},
        ),
        _recipe(
            "digits-forest",
            RandomForestClassifier(n_estimators=200, random_state=SEED),
            {"max_features": [4, 8], "min_samples_leaf": [1, 2]},
        ),
        _recipe(
            "digits-boosting",
            GradientBoostingClassifier(max_features=8, subsample=0.5, random_state=SEED),
            {"max_depth": [2, 3, 4]},
        ),
        _recipe(
            "digits-mlp",
            MLPClassifier(hidden_layer_sizes=(64,), max_iter=400, random_state=SEED),
            {"alpha": [0.001, 0.1, 1.0]},
        ),
    )


def _recipe(name: str, learner: object, grid: dict[str, list[float]]) -> Recipe:
    return Recipe(name=name, task="digit", features=SCALE, learner=learner, grid=grid, outputs=OUTPUTS)
