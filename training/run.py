"""A run's folder: what training hands to evaluation, compression and export.

``config.yaml``
    The configuration, with paths resolved.
``card.json``
    The data's card, and with what the model was trained.
``model.json``, ``model.safetensors``; with ``tokenizer.json`` where it reads text
    What the model is, and its weights.
``history.jsonl``
    A line every few steps: losses, weights, learning rate; and one for each look at validation.
``predictions.npz``
    ``rows`` (of validation, then of test), and of each task the scores of these rows.
``metrics.json``
    Losses and metrics on both, and how long it took; written last: a folder that has it is finished.
``checkpoints/last``, ``checkpoints/best``
    Where the run stands; and the best weights, where it stops early.
``search.json``
    Alphas that were tried, best first, if they were looked for.

Of individual models, the folder holds one of these for each task, and their predictions and metrics together.
"""

from __future__ import annotations

import io
import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from ruamel.yaml import YAML

from training.errors import TrainingError
from training.files import read_object, sound, written

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from training.config import Config
    from training.models import Model

__all__ = [
    "CHECKPOINT", "Run", "as_json", "finite", "is_finished", "lines_until", "read_predictions",
    "write_config", "write_predictions",
]  # fmt: skip

CARD, CONFIG, HISTORY, METRICS, PREDICTIONS = (
    "card.json", "config.yaml", "history.jsonl", "metrics.json", "predictions.npz",
)  # fmt: skip
CHECKPOINT, BEST, SEARCH = "checkpoints/last", "checkpoints/best", "search.json"
_AGAIN = "restore the file, or train again"


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run.

    Args:
        folder: Where it is.
        metrics: What ``metrics.json`` says.
        parts: Of individual models, the run of each task.
    """

    folder: Path
    metrics: Mapping[str, Any]
    parts: Mapping[str, Run] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Run:
        """Read a run.

        Raises:
            TrainingError: If it is not finished.
        """
        if not is_finished(folder):
            raise TrainingError(
                str(folder),
                "is no finished run: it has no metrics.json",
                "train it to its end: accord train --resume",
            )
        metrics = read_object(folder / METRICS, "metrics", remedy=_AGAIN)
        return cls(folder, metrics, {task: cls.read(folder / task) for task in metrics.get("parts", ())})

    @property
    def card(self) -> dict[str, Any]:
        """What ``card.json`` says."""
        return read_object(self.folder / CARD, "data", remedy=_AGAIN)

    @property
    def history(self) -> list[dict[str, Any]]:
        """The lines of ``history.jsonl``."""
        with sound(self.folder / HISTORY, _AGAIN):
            return [json.loads(line) for line in (self.folder / HISTORY).read_text("utf-8").splitlines()]

    @property
    def predictions(self) -> dict[str, NDArray[Any]]:
        """``rows``, and each task's scores of them."""
        return read_predictions(self.folder, _AGAIN)

    def model(self) -> Model:
        """Return the model, ready to answer."""
        from training.models import restore  # noqa: PLC0415 - torch is loaded only for those who want the model

        return restore(self.folder)


def is_finished(folder: Path) -> bool:
    """Tell whether a folder holds a run that came to its end."""
    return (folder / METRICS).exists()


def write_config(folder: Path, config: Config) -> None:
    """Write the configuration so that it can be read again from anywhere."""
    yaml, text = YAML(typ="safe"), io.StringIO()
    yaml.default_flow_style = False
    yaml.dump(config.model_dump(mode="json", by_alias=True, exclude_unset=True), text)
    written(folder / CONFIG, text.getvalue())


def write_predictions(folder: Path, rows: NDArray[np.int64], scores: Mapping[str, NDArray[Any]]) -> None:
    """Write what the model says of rows."""
    buffer = io.BytesIO()
    np.savez(buffer, rows=rows, **scores)  # type: ignore[arg-type]
    written(folder / PREDICTIONS, buffer.getvalue())


def read_predictions(folder: Path, remedy: str) -> dict[str, NDArray[Any]]:
    """Return what was written of rows and scores.

    Raises:
        TrainingError: If it is not there, or broken.
    """
    path = folder / PREDICTIONS
    with sound(path, remedy), path.open("rb") as stream, np.load(stream) as file:
        return dict(file)


def as_json(value: Any) -> str:
    """Return a value as JSON; numbers that are none become null.

    Example:
        >>> as_json({"auc": float("nan"), "rows": (1, 2)}).split()
        ['{', '"auc":', 'null,', '"rows":', '[', '1,', '2', ']', '}']
    """
    return json.dumps(finite(value), indent=2, ensure_ascii=False) + "\n"


def finite(value: Any) -> Any:
    """Return a value of JSON with null for numbers that are none."""
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def lines_until(folder: Path, step: int) -> Sequence[str]:
    """Return the lines of the history up to a step; what came later did not count in the end."""
    try:
        lines = (folder / HISTORY).read_text("utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            if json.loads(line)["step"] <= step:
                found.append(line)
        except ValueError:
            break  # cut off when the process was killed
    return found
