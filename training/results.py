"""What a run leaves when it comes to its end: the model, its card, what it says of rows, and its metrics."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.torch import save as save_weights

from training.data import Part
from training.files import written
from training.models.model import ABOUT, TOKENIZER, WEIGHTS
from training.run import CARD, METRICS, Run, as_json, write_predictions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from accelerate import Accelerator
    from numpy.typing import NDArray

    from training.data import Dataset, Labels

    Measure = Callable[[NDArray[Any], Labels, Sequence[str] | None], Mapping[str, float]]
    Told = Mapping[Part, tuple[dict[str, NDArray[Any]], dict[str, float]]]

__all__ = ["ANSWERED", "joined", "write_model", "write_results"]

#: The parts that are answered at the end.
ANSWERED = (Part.VALIDATION, Part.TEST)
_LIBRARIES = ("torch", "transformers", "accelerate", "torchjd", "tokenizers", "numpy")


def write_model(out: Path, model: Any, accelerator: Accelerator, dataset: Dataset) -> None:
    """Write what the model is, its weights, and its card.

    Raises:
        TrainingError: If there is no room.
    """
    if hasattr(model, "describe"):
        written(out / ABOUT, as_json(model.describe()))
        if hasattr(model.encoder, "tokenizer"):
            written(out / TOKENIZER, model.encoder.tokenizer.to_str())
    written(out / WEIGHTS, save_weights({k: v.contiguous() for k, v in model.state_dict().items()}))
    card = {
        "data": dict(dataset.card),
        "device": str(accelerator.device),
        "precision": "fp32" if accelerator.mixed_precision == "no" else accelerator.mixed_precision,
        "processes": accelerator.num_processes,
        "parameters": sum(p.numel() for p in model.parameters()),
        "trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "cut": _cut(dataset, model.feed(dataset)) if hasattr(model, "feed") else {},
    }
    written(out / CARD, as_json(card))


def write_results(
    out: Path, dataset: Dataset, told: Told, measure: Measure | None, about: Mapping[str, Any]
) -> None:
    """Write predictions, and metrics last of all.

    Args:
        out: The run's folder.
        dataset: The rows.
        told: Scores and losses of each part that was answered.
        measure: Makes metrics of a task's scores, labels and, for spans, contexts.
        about: What the metrics say besides.

    Raises:
        TrainingError: If there is no room.
    """
    rows = np.concatenate([dataset.rows(part) for part in ANSWERED])
    scores = {
        task: _stacked([found[task] for found, _ in told.values()]) for task in next(iter(told.values()))[0]
    }
    write_predictions(out, rows, scores)
    found = {
        "losses": {part.name.lower(): losses for part, (_, losses) in told.items()},
        "metrics": {} if measure is None else _measured(dataset, rows, scores, measure),
    }
    written(out / METRICS, as_json(dict(about) | found))


def joined(out: Path, parts: Mapping[str, Run]) -> Run:
    """Write what individual models say as if it were one.

    Raises:
        TrainingError: If there is no room.
    """
    rows = next(iter(parts.values())).predictions["rows"]
    write_predictions(out, rows, {task: part.predictions[task] for task, part in parts.items()})
    metrics: dict[str, Any] = {"parts": list(parts)}
    for name in ("losses", "metrics"):
        metrics[name] = {}
        for part in parts.values():
            for where, found in part.metrics[name].items():
                metrics[name].setdefault(where, {}).update(found)
    metrics["seconds"] = {
        name: sum(part.metrics["seconds"][name] for part in parts.values())
        for name in ("prepared", "fitted", "fitted_cpu")
    }
    written(out / CARD, as_json({"data": next(iter(parts.values())).card["data"], "parts": list(parts)}))
    written(out / METRICS, as_json(metrics))
    return Run.read(out)


def _cut(dataset: Dataset, feed: Any) -> dict[str, dict[str, int]]:
    """Count, by part, texts of which the end is not read, and of each task the answers that stand there."""
    if getattr(feed, "cut", None) is None:
        return {}
    lost = {task: labels.known & ~feed.targets(labels).known for task, labels in dataset.labels.items()}
    cut = {"texts": feed.cut} | {f"answers of {task}": rows for task, rows in lost.items() if rows.any()}
    return {
        what: {part.name.lower(): int(rows[dataset.rows(part)].sum()) for part in Part}
        for what, rows in cut.items()
    }


def _measured(
    dataset: Dataset, rows: NDArray[np.int64], scores: Mapping[str, NDArray[Any]], measure: Measure
) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    contexts = getattr(dataset.inputs, "contexts", None)
    for part in ANSWERED:
        places = np.flatnonzero(dataset.parts[rows] == part)
        here = rows[places]
        texts = None if contexts is None else [contexts[row] for row in here.tolist()]
        found[part.name.lower()] = {
            task: dict(measure(scores[task][places], dataset.labels[task].take(here), texts))
            for task in scores
        }
    return found


def _stacked(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate([part for part in parts if len(part)] or parts[:1])
