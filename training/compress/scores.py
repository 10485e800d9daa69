"""What a file, or a model in torch, says of many rows.

Rows are asked in batches of like length, which spares padding, and answered in their own order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from training.compress.running import answers, open_session
from training.data import Kind
from training.export.interface import scores_of
from training.models.spans import best_spans

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from training.data import Dataset
    from training.export.interface import Head
    from training.models.model import Model

__all__ = ["BATCH", "drawn", "feed_of", "inputs_of", "raw_scores", "scores_by_task"]

Array = np.ndarray[Any, np.dtype[Any]]

BATCH = 32


def drawn(rows: Array, count: int, *, seed: int = 0) -> Array:
    """Return some rows, the same each time: those that come first may all be of one source."""
    some: Array = np.random.default_rng(seed).permutation(rows)[:count]
    return some


def inputs_of(model: Model, dataset: Dataset, rows: Array) -> dict[str, torch.Tensor]:
    """Return a batch of rows without what only makes characters of tokens."""
    return {name: each for name, each in model.collate(dataset, rows).items() if name != "offsets"}


def feed_of(model: Model, dataset: Dataset) -> Callable[[Array], Mapping[str, Array]]:
    """Return what makes a file's inputs of rows."""

    def feed(rows: Array) -> Mapping[str, Array]:
        return {name: each.numpy() for name, each in inputs_of(model, dataset, rows).items()}

    return feed


def scores_by_task(
    onnx: bytes,
    heads: Sequence[Head],
    model: Model,
    dataset: Dataset,
    rows: Array,
    *,
    threads: int = 0,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Array]:
    """Return a file's scores of rows as metrics take them, in the rows' order.

    Args:
        onnx: The file.
        heads: Its tasks.
        model: Makes batches.
        dataset: Holds the rows.
        rows: Which.
        threads: Of the runtime; 0 for all cores.
        report: Told after each batch how many rows of how many are done.
    """
    session = open_session(onnx, threads=threads)

    def scored(places: Array) -> dict[str, Array]:
        batch = model.collate(dataset, rows[places])
        found = scores_of(answers(session, {name: each.numpy() for name, each in batch.items()}), heads)
        for head in heads:
            if head.kind is Kind.SPAN:
                context, offsets = batch["context"].numpy(), batch["offsets"].numpy()
                found[head.task] = best_spans(found[head.task], context, offsets)
        return found

    return _in_order(scored, _by_length(dataset, rows), report)


def raw_scores(
    model: Model,
    dataset: Dataset,
    rows: Array,
    *,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Array]:
    """Return a torch model's raw scores of rows, in their order; none of spans.

    Args:
        model: The model; it is not in training afterwards.
        dataset: Holds the rows.
        rows: Which.
        report: As for :func:`scores_by_task`.
    """
    tasks = [task for task, answer in model.answers.items() if answer.kind is not Kind.SPAN]
    model.eval()

    def scored(places: Array) -> dict[str, Array]:
        with torch.no_grad():
            scores = model(model.collate(dataset, rows[places]))
        return {task: scores[task].float().numpy() for task in tasks}

    return _in_order(scored, _by_length(dataset, rows), report) if tasks else {}


def _by_length(dataset: Dataset, rows: Array) -> list[Array]:
    """Cut places of rows into batches of like length."""
    inputs = dataset.inputs
    texts = getattr(inputs, "texts", getattr(inputs, "contexts", None))
    order = np.arange(len(rows))
    if texts is not None:
        order = np.argsort([len(texts[row]) for row in rows.tolist()], kind="stable")
    return [order[i : i + BATCH] for i in range(0, len(order), BATCH)]


def _in_order(
    scored: Callable[[Array], Mapping[str, Array]],
    batches: Sequence[Array],
    report: Callable[[int, int], None],
) -> dict[str, Array]:
    parts, done, total = [], 0, sum(map(len, batches))
    for places in batches:
        parts.append(scored(places))
        done += len(places)
        report(done, total)
    back = np.argsort(np.concatenate(batches))
    return {task: np.concatenate([part[task] for part in parts])[back] for task in parts[0]}
