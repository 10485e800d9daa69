"""What a run's folder keeps besides its weights: scores of rows, and the variants that were made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from training.compress.variant import ABOUT, FP32, VARIANTS, described
from training.data.dataset import Part
from training.errors import TrainingError
from training.evaluate.findings import Cost, Scores
from training.run import PREDICTIONS, read_predictions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from training.data.dataset import Dataset
    from training.run import Run

__all__ = ["Kept", "kept", "scores_in"]


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A variant of a run; of individual models, what was made of each of them.

    Args:
        folders: Where it is.
        abouts: What was measured, of each.
    """

    folders: tuple[Path, ...]
    abouts: tuple[Mapping[str, Any], ...]

    @property
    def name(self) -> str:
        """Its name."""
        return self.folders[0].name

    @property
    def cost(self) -> Cost:
        """What it costs: all models together, because a row asks each of them."""
        size, *times = (sum(about[name] for about in self.abouts) for name in ("bytes", "ms_1", "ms_8"))
        return Cost(size, *times)

    @property
    def independent(self) -> bool:
        """Whether a row's answer is the same alone and in a batch."""
        return all(about["invariance"]["same"] for about in self.abouts)

    @property
    def weights(self) -> list[str]:
        """Hashes of the trained weights that it was made of."""
        return [about["made_by"].get("weights", "") for about in self.abouts]

    @property
    def serves(self) -> bool:
        """Whether it is what would be served without a student: the trained model in eight bits."""
        by = self.abouts[0]["made_by"]
        return by.get("kind") == "int8" and by.get("of", FP32) == FP32 and self.independent

    def scores(self, dataset: Dataset) -> dict[str, Scores]:
        """Return its scores by task.

        Raises:
            TrainingError: If they are not there, or of other rows.
        """
        return {task: each for folder in self.folders for task, each in scores_in(folder, dataset).items()}


def kept(run: Run) -> dict[str, Kept]:
    """Return the variants of a run by name, the trained model's own among them.

    Of individual models, what was made of some of them only is left out.

    Raises:
        TrainingError: If one's description cannot be read.
    """
    folders = [part.folder / VARIANTS for part in run.parts.values()] or [run.folder / VARIANTS]
    names = set.intersection(*({path.parent.name for path in each.glob(f"*/{ABOUT}")} for each in folders))
    return {name: _kept([each / name for each in folders]) for name in sorted(names)}


def _kept(folders: Sequence[Path]) -> Kept:
    abouts = tuple(described(folder) for folder in folders)
    found = Kept(tuple(folders), abouts)
    try:
        _ = found.cost, found.independent, found.weights
    except (AttributeError, KeyError, TypeError) as error:
        raise TrainingError(
            f"{folders[0] / ABOUT}", f"cannot be read ({error})", "remove its folder and compress again"
        ) from None
    return found


def scores_in(folder: Path, dataset: Dataset) -> dict[str, Scores]:
    """Return the scores that a folder keeps of a data set's validation and test rows, by task.

    Raises:
        TrainingError: If they are not there, or of other rows.
    """
    predictions = read_predictions(folder, "train or compress again")
    validation, test = dataset.rows(Part.VALIDATION), dataset.rows(Part.TEST)
    if not np.array_equal(predictions.pop("rows", ()), np.concatenate([validation, test])):
        raise TrainingError(
            str(folder / PREDICTIONS),
            "holds no predictions of these validation and test rows",
            "train or compress again",
        )
    cut = len(validation)
    return {task: Scores(each[:cut], each[cut:]) for task, each in predictions.items()}
