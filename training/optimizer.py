"""Which weights learn how fast, which decay, and how large a step may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from accelerate import Accelerator

    from training.config import Optimizer

__all__ = ["clip", "optimizer", "set_factor"]

#: Biases, and scales of norms: numbers that are not the weights of sums.
_FLAT = 1


def optimizer(model: Any, wanted: Optimizer, learned: Sequence[Any] = ()) -> torch.optim.Optimizer:
    """Return an optimiser of all of a model's weights; those that are frozen now may be thawed later.

    Args:
        model: With ``encoder`` and ``heads``.
        wanted: Its configuration.
        learned: What learns beside the model.
    """
    groups: list[dict[str, Any]] = []
    heads = {id(p) for p in model.heads.parameters()}
    for of_heads in (False, True):
        for flat in (False, True):
            members = [
                p for p in model.parameters() if (id(p) in heads) is of_heads and (p.ndim <= _FLAT) is flat
            ]
            rate = (wanted.head_lr or wanted.lr) if of_heads else wanted.lr
            if members:
                decay = 0.0 if flat else wanted.weight_decay
                groups.append({"params": members, "lr": rate, "base": rate, "weight_decay": decay})
    if learned:
        rate = wanted.head_lr or wanted.lr
        groups.append({"params": list(learned), "lr": rate, "base": rate, "weight_decay": 0.0})
    if wanted.kind == "sgd":
        return torch.optim.SGD(groups, lr=wanted.lr, momentum=wanted.momentum)
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    # one pass over the weights instead of ten: of the 8 million of a bag, 12 ms of CPU a step instead of 77
    return kinds[wanted.kind](groups, lr=wanted.lr, fused=True)


def set_factor(optimizer: Any, factor: float) -> None:
    """Set every group's learning rate to its own times a factor."""
    for group in optimizer.param_groups:
        group["lr"] = group["base"] * factor


def clip(accelerator: Accelerator, optimizer: Any, parameters: Iterable[Any], norm: float) -> float:
    """Scale gradients so that their norm is at most this, and return what it was.

    Args:
        accelerator: Its own way would undo fp16's scale once for every optimiser there has been.
        optimizer: The one that is to step, as accelerate prepared it.
        parameters: The weights.
        norm: The most.
    """
    accelerator.unscale_gradients(optimizer)
    return float(torch.nn.utils.clip_grad_norm_(parameters, norm))
