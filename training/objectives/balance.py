"""How the losses of several tasks become one step.

By *weights*: the step follows the gradient of sum w_i L_i. Those that TorchJD calls scalarizers are functions
S of the losses; following their gradient is the same as w_i = dS/dL_i, taken at the losses of the whole step.
So micro-batches and processes need to know only the weights, and each adds its part. By *gradients*: each
task's gradient of the shared weights is made by itself, and an aggregator of TorchJD makes one of them.

Sources: A. Kendall et al., CVPR 2018 (uw); S. Liu et al., CVPR 2019 (dwa); L. Liu et al., "IMTL", ICLR 2021;
B. Liu et al., "FAMO", NeurIPS 2023; T. Yu et al., "PCGrad", NeurIPS 2020; J. Désidéri, "MGDA", 2012; B. Liu
et al., "CAGrad", NeurIPS 2021; P. Quinton and V. Rey, "Jacobian Descent" (UPGrad), 2024; https://torchjd.org.
Its Nash-MTL is left out: a solver's state cannot be written down, so a run with it could not be gone on with.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

__all__ = ["BY_GRADIENT", "BY_WEIGHT", "Balance"]

#: By name: what makes an object of TorchJD's ``scalarization``, or ``aggregation``, for so many tasks.
BY_WEIGHT: Mapping[str, Callable[[Any, int], Any]] = {
    "uw": lambda jd, tasks: jd.UW(tasks),
    "dwa": lambda jd, _: jd.DWA(),
    "imtl_l": lambda jd, tasks: jd.IMTLL(tasks),
    "famo": lambda jd, tasks: jd.FAMO(tasks),
    "geometric_mean": lambda jd, _: jd.GeometricMean(),
    "random": lambda jd, _: jd.Random(),
    "stch": lambda jd, _: jd.STCH(mu=1.0),
}
BY_GRADIENT: Mapping[str, Callable[[Any, int], Any]] = {
    "pcgrad": lambda jd, _: jd.PCGrad(),
    "mgda": lambda jd, _: jd.MGDA(),
    "cagrad": lambda jd, _: jd.CAGrad(c=0.5),
    "upgrad": lambda jd, _: jd.UPGrad(),
    "dualproj": lambda jd, _: jd.DualProj(),
    "imtl_g": lambda jd, _: jd.IMTLG(),
    "aligned_mtl": lambda jd, _: jd.AlignedMTL(),
    "config": lambda jd, _: jd.ConFIG(),
    "graddrop": lambda jd, _: jd.GradDrop(),
    "gradvac": lambda jd, _: jd.GradVac(),
    "fairgrad": lambda jd, _: jd.FairGrad(alpha=1.0),
    "excess_mtl": lambda jd, _: jd.ExcessMTL(),
}
#: Of the first batches' losses, which make the weights of ``initial``.
_FIRST = 20
_LEAST = 1e-8


class Balance(nn.Module):
    """Weights of losses, or what makes one gradient of several.

    Args:
        kind: ``fixed``, ``initial``, or a name of :data:`BY_WEIGHT` or :data:`BY_GRADIENT`.
        alphas: The configured weight of each task; they apply before everything else.

    Raises:
        TrainingError: If the kind is not known, or needs a package that is missing.
    """

    def __init__(self, kind: str, alphas: Sequence[float]) -> None:
        super().__init__()
        self.kind = kind
        self.by_gradient = kind in BY_GRADIENT
        self.register_buffer("alphas", torch.tensor(list(alphas), dtype=torch.float32))
        self.register_buffer("last", torch.ones(len(alphas)))
        self.register_buffer("first", torch.zeros(len(alphas)))
        self.register_buffer("seen", torch.zeros(len(alphas)))
        try:
            self.method: Any = _method(kind, len(alphas))
        except ImportError as error:
            raise TrainingError("train.balance", str(error), "or choose another kind") from None

    def learned(self) -> list[Any]:
        """Return parameters that learn beside the model's; their gradient is set by :meth:`weights`."""
        # FAMO has an optimiser of its own
        return [] if self.kind == "famo" or self.method is None else list(self.method.parameters())

    def weights(self, losses: Tensor, present: Tensor) -> Tensor:
        """Return what each task's loss is multiplied by in this step, [k].

        Args:
            losses: Of the whole step, [k]; without gradient.
            present: Whether a task has labels in this step, bool [k]; one without counts with its last loss
                and has no gradient of its own.
        """
        self.last: Tensor = torch.where(present, losses, self.last)
        if self.kind == "fixed" or self.by_gradient:
            return self.alphas.clone()
        if self.kind == "initial":
            counts = present & (self.seen < _FIRST)
            self.first += torch.where(counts, losses, 0.0)
            self.seen += counts
            mean = torch.where(self.seen > 0, self.first / self.seen.clamp(min=1), 1.0)
            return self.alphas / mean.clamp(min=_LEAST)
        values = (self.last * self.alphas).clamp(min=_LEAST).requires_grad_()
        found = torch.autograd.grad(self.method(values), [values, *self.learned()])
        for parameter, gradient in zip(self.learned(), found[1:], strict=True):
            parameter.grad = gradient
        return found[0] * self.alphas

    def combined(self, jacobian: Tensor) -> Tensor:
        """Return one gradient, [p], of one for each task, [k, p]."""
        gradient: Tensor = self.method(jacobian * self.alphas[:, None])
        return gradient

    @property
    def whole_step(self) -> bool:
        """Whether :meth:`weights` must know the losses of the step."""
        return not self.by_gradient and self.kind != "fixed"

    @property
    def looks_back(self) -> bool:
        """Whether :meth:`stepped` wants the losses after the step."""
        return self.kind == "famo"

    def stepped(self, losses: Tensor, present: Tensor) -> None:
        """Take note of the losses of the same step, with the weights after it."""
        after = torch.where(present, losses, self.last)
        self.method.update((after * self.alphas).clamp(min=_LEAST))

    def epoch_over(self) -> None:
        """Take note of an epoch's end."""
        if self.kind == "dwa":
            self.method.step()

    def state(self) -> dict[str, Any]:
        """Return all that is remembered, as numbers and tensors; TorchJD's ``state_dict`` has part of it."""
        return {name: _memory(module) for name, module in self.named_modules()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Remember what :meth:`state` said, wherever that was computed."""
        home = self.alphas.device
        for name, module in self.named_modules():
            _remember(module, state[name], home)


def _method(kind: str, tasks: int) -> Any:
    """Return TorchJD's object; it is loaded, three seconds, only where one is wanted."""
    if kind in ("fixed", "initial"):
        return None
    if kind in BY_WEIGHT:
        from torchjd import scalarization  # noqa: PLC0415 - see above

        return BY_WEIGHT[kind](scalarization, tasks)
    if kind in BY_GRADIENT:
        from torchjd import aggregation  # noqa: PLC0415 - likewise

        return BY_GRADIENT[kind](aggregation, tasks)
    known = ", ".join(["fixed", "initial", *BY_WEIGHT, *BY_GRADIENT])
    raise TrainingError("train.balance", f"{kind!r} is not known", f"there are {known}")


_BASE = frozenset(vars(nn.Module())) | {"training"}


def _memory(module: nn.Module) -> dict[str, Any]:
    own = {name: value for name, value in vars(module).items() if name not in _BASE and _plain(value)}
    found: dict[str, Any] = {
        "own": deepcopy(own),
        "buffers": {name: None if b is None else b.clone() for name, b in module._buffers.items()},  # noqa: SLF001 - it has those that are None
        "parameters": {name: p.detach().clone() for name, p in module.named_parameters(recurse=False)},
    }
    optimizer = getattr(module, "_optimizer", None)
    if optimizer is not None:
        found["optimizer"] = deepcopy(optimizer.state_dict())
    return found


def _remember(module: Any, found: Mapping[str, Any], home: torch.device) -> None:
    vars(module).update({name: _moved(value, home) for name, value in found["own"].items()})
    buffers = module._buffers  # noqa: SLF001 - likewise
    for name, buffer in found["buffers"].items():
        # one that is made later lies where it was: GradVac keeps its own on the CPU
        there = buffers[name]
        buffers[name] = buffer if there is None or buffer is None else buffer.to(there.device)
    with torch.no_grad():
        for name, value in found["parameters"].items():
            getattr(module, name).copy_(value)
    if "optimizer" in found:
        module._optimizer = torch.optim.Adam(  # noqa: SLF001 - FAMO makes it in its first step
            module.parameters(), lr=module.lr, weight_decay=module.weight_decay
        )
        module._optimizer.load_state_dict(found["optimizer"])  # noqa: SLF001 - likewise


def _moved(value: Any, home: torch.device) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_moved(each, home) for each in value)
    return value.to(home, copy=True) if isinstance(value, torch.Tensor) else value


def _plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_plain, value))
    return value is None or isinstance(
        value, bool | int | float | str | torch.Tensor | torch.dtype | torch.device
    )
