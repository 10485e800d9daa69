"""What a model says of many rows, and how large its losses are there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import distributed

from training.data import Kind
from training.models.spans import best_spans
from training.objectives import rows_losses, shares

if TYPE_CHECKING:
    from collections.abc import Mapping

    from accelerate import Accelerator
    from numpy.typing import NDArray

    from training.data import Labels

__all__ = ["answer"]

_ROWS = 64


def answer(
    model: Any,
    feed: Any,
    rows: NDArray[np.int64],
    targets: Mapping[str, Labels],
    accelerator: Accelerator,
    *,
    hubers: Mapping[str, float | None] | None = None,
) -> tuple[dict[str, NDArray[Any]], dict[str, float]]:
    """Return scores and losses of rows; every process answers some, and all get to know all.

    Args:
        model: In training or not; it is left as it was.
        feed: Makes batches.
        rows: The rows.
        targets: By task, with spans as tokens.
        accelerator: Device and processes.
        hubers: By task, where the squared error of a regression turns linear.

    Returns:
        By task: raw scores, [rows, k] or [rows], for spans begin and end in characters, int64 [rows, 2]; and
        the loss, NaN where no row has a label.
    """
    was_training = model.training
    model.eval()
    lengths = feed.lengths
    order = np.arange(len(rows)) if lengths is None else np.argsort(lengths[rows], kind="stable")
    batches = np.split(order, range(_ROWS, len(order), _ROWS)) if len(order) else []
    found: list[tuple[Any, ...]] = []
    with torch.no_grad():
        for places in batches[accelerator.process_index :: accelerator.num_processes]:
            batch = {name: each.to(accelerator.device) for name, each in feed.collate(rows[places]).items()}
            scores = model(batch)
            for task, labels in targets.items():
                found.append((task, places, *_told(labels, scores[task], batch, rows[places])))
    if accelerator.num_processes > 1:
        others: list[Any] = [None] * accelerator.num_processes
        distributed.all_gather_object(others, found)
        found = [each for other in others for each in other]
    model.train(was_training)
    answers = {task: _joined(task, found, len(rows)) for task in targets}
    losses = {
        task: _loss(
            labels, rows, answers[task], _spans(task, found, len(rows)), huber=(hubers or {}).get(task)
        )
        for task, labels in targets.items()
    }
    return answers, losses


def _told(labels: Labels, scores: Any, batch: Mapping[str, Any], rows: NDArray[np.int64]) -> tuple[Any, Any]:
    """Return a task's scores of a batch and, for spans, its losses."""
    if labels.kind is not Kind.SPAN:
        return scores.float().cpu().numpy(), None
    known = labels.known[rows]
    wanted = np.where(known[:, None], labels.values[rows], 0)
    losses = rows_losses(labels.kind, scores, {"values": torch.from_numpy(wanted).to(scores.device)})
    context, offsets = (batch[name].cpu().numpy() for name in ("context", "offsets"))
    return best_spans(scores.float().cpu().numpy(), context, offsets), losses.cpu().numpy()


def _joined(task: str, found: list[tuple[Any, ...]], count: int) -> NDArray[Any]:
    parts = [(places, scores) for name, places, scores, _ in found if name == task]
    if not parts:
        return np.empty((0,), np.float32)
    joined = np.empty((count, *parts[0][1].shape[1:]), parts[0][1].dtype)
    for places, scores in parts:
        joined[places] = scores
    return joined


def _spans(task: str, found: list[tuple[Any, ...]], count: int) -> NDArray[Any] | None:
    """Return the losses that were made with the scores, if they were."""
    joined = None
    for name, places, _, losses in found:
        if name == task and losses is not None:
            joined = np.zeros(count, np.float32) if joined is None else joined
            joined[places] = losses
    return joined


def _loss(
    labels: Labels,
    rows: NDArray[np.int64],
    scores: NDArray[Any],
    losses: NDArray[Any] | None,
    *,
    huber: float | None,
) -> float:
    known = labels.known[rows]
    if not known.any():
        return float("nan")
    if losses is None:
        target = {"values": torch.from_numpy(labels.take(rows).masked), "known": torch.from_numpy(known)}
        if labels.queries is not None:
            target["queries"] = torch.from_numpy(labels.queries[rows])
        losses = rows_losses(labels.kind, torch.from_numpy(scores), target, huber=huber).numpy()
    return float((losses * shares(labels, rows)).sum())
