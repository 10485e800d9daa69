"""A narrower encoder: part of the inner width of its dense blocks is cut out, and the rest is trained on.

Cutting zeros into a matrix saves nothing, because zeros are multiplied like other numbers; here rows and
columns go, so the matrices become smaller. What goes is what moves the output least: a unit's mean absolute
activation on real rows times the length of the column that it is multiplied by.

Sources: P. Michel et al., "Are Sixteen Heads Really Better than One?", NeurIPS 2019 (what importance is
measured on); J. S. McCarley et al., "Structured Pruning of a BERT-based Question Answering Model", 2019
(which part is cut).
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from torch import Tensor

__all__ = ["prune"]


def prune(
    model: nn.Module,
    share: float,
    batches: Iterable[Mapping[str, Tensor]],
    recover: Callable[[nn.Module], None],
) -> nn.Module:
    """Return a narrower copy of a model.

    Args:
        model: Takes such batches; has blocks of an ``intermediate.dense`` and an ``output.dense``.
        share: Share of the inner width that is cut.
        batches: A few batches of training rows.
        recover: Trains the narrower model on, in place.

    Raises:
        TrainingError: If the model has no such blocks.
    """
    narrow = copy.deepcopy(model)
    blocks = list(_blocks(narrow))
    if not blocks:
        raise TrainingError(
            "compress",
            "the model has no dense blocks to cut (intermediate.dense and output.dense, as BERT has them)",
            "leave prune out, or distil the model into a smaller one",
        )
    used = _activations(narrow, blocks, batches)
    for block, activation in zip(blocks, used, strict=True):
        inner, outer = block.intermediate.dense, block.output.dense
        importance = activation * outer.weight.detach().norm(dim=0)
        keeps = max(1, round(inner.out_features * (1 - share)))
        kept = importance.topk(keeps).indices.sort().values
        block.intermediate.dense = _linear(inner.weight[kept], inner.bias[kept])
        block.output.dense = _linear(outer.weight[:, kept], outer.bias)
    for parameter in narrow.parameters():
        parameter.requires_grad_(True)
    recover(narrow)
    return narrow.eval()


def _blocks(model: nn.Module) -> Iterator[Any]:
    for module in model.modules():
        parts = (getattr(module, "intermediate", None), getattr(module, "output", None))
        if all(isinstance(getattr(part, "dense", None), nn.Linear) for part in parts):
            yield module


def _activations(
    model: nn.Module, blocks: list[Any], batches: Iterable[Mapping[str, Tensor]]
) -> list[Tensor]:
    """Return each block's mean absolute activation, by unit, times the same number; padding has no say."""
    kept: Tensor | None = None
    sums: list[Tensor] = [torch.zeros(block.output.dense.in_features) for block in blocks]
    hooks = []
    for at, block in enumerate(blocks):

        def note(_: nn.Module, given: tuple[Tensor, ...], at: int = at) -> None:
            each = given[0].detach().abs()
            if kept is not None and kept.shape == each.shape[:-1]:
                each = each[kept]
            sums[at] += each.flatten(0, -2).sum(0)

        hooks.append(block.output.dense.register_forward_pre_hook(note))
    model.eval()
    with torch.no_grad():
        for batch in batches:
            mask = batch.get("attention_mask")
            kept = None if mask is None else mask.bool()
            model(batch)
    for hook in hooks:
        hook.remove()
    if not all(bool(torch.isfinite(each).all()) for each in sums):
        raise TrainingError("compress", "activations are not finite", "train again; the weights are broken")
    return sums


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        made.weight.copy_(weight)
        made.bias.copy_(bias)
    return made
