"""One step: from rows to the gradient of all tasks, in however many pieces and processes.

Each task's loss is that of the whole step (see ``training.objectives.losses``): a piece adds its rows'
shares, and pieces and processes add up to the same gradient as one piece would have. That is why the loss is
scaled once, here, and why accelerate is told nothing of pieces; what it averages over processes is multiplied
by their number before.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import distributed

from training.batches import pieces
from training.data import Kind
from training.errors import TrainingError
from training.objectives import distil_losses, rows_losses, shares

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from accelerate import Accelerator
    from numpy.typing import NDArray
    from torch import Tensor

    from training.data import Labels
    from training.objectives import Balance, Teacher

__all__ = ["Losses", "Outcome", "Stepper"]

#: A CPU has nothing from many rows at once, but less padding from pieces of rows of like length: a step of 32
#: sentences takes 0.65 of the time.
_PIECE = 8


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a step.

    Args:
        losses: Of each task, over the whole step.
        present: Whether the task had labels in it.
        weights: What its loss was multiplied by.
        cosines: Between the tasks' gradients of what they share, pair by pair; only where each has one of its
            own.
    """

    losses: tuple[float, ...]
    present: tuple[bool, ...]
    weights: tuple[float, ...]
    cosines: Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Losses:
    """Makes each task's loss.

    Args:
        targets: By task, with spans as tokens.
        device: Where losses are made.
        hubers: By task, where the squared error turns linear.
        teacher: What is learned from besides.
    """

    targets: Mapping[str, Labels]
    device: torch.device
    hubers: Mapping[str, float | None] = field(default_factory=dict)
    teacher: Teacher | None = None

    @property
    def lists(self) -> NDArray[np.int64] | None:
        """The list of each row, where a task ranks."""
        return next((each.queries for each in self.targets.values() if each.queries is not None), None)

    def present(self, step: NDArray[np.int64]) -> list[bool]:
        """Return which tasks have something to learn from in a step."""
        taught = self.teacher.scores if self.teacher and self.teacher.share > 0 else {}
        return [task in taught or bool(each.known[step].any()) for task, each in self.targets.items()]

    def of(
        self, scores: Mapping[str, Tensor], step: NDArray[np.int64], places: NDArray[np.int64], *, ghost: bool
    ) -> Tensor:
        """Return what a piece adds to each task's loss, [k].

        Args:
            scores: What the model says of the piece.
            step: The rows of the step.
            places: Which of them make up the piece.
            ghost: Whether the piece is only there because every process must have one.
        """
        return torch.stack(
            [self._one(task, scores[task], step, places, ghost=ghost) for task in self.targets]
        )

    def _one(
        self, task: str, scores: Tensor, step: NDArray[np.int64], places: NDArray[np.int64], *, ghost: bool
    ) -> Tensor:
        labels, rows = self.targets[task], step[places]
        share = shares(labels, step)[places] * np.float32(not ghost)
        each = rows_losses(labels.kind, scores, self._target(labels, rows), huber=self.hubers.get(task))
        loss = (each * self._on(share)).sum()
        teacher = self.teacher
        if teacher is None or task not in teacher.scores:
            return loss
        queries = None if labels.queries is None else self._on(labels.queries[rows])
        told = distil_losses(
            labels.kind,
            scores,
            self._on(teacher.scores[task][rows]),
            temperature=teacher.temperature,
            queries=queries,
        )
        lists = None if labels.queries is None else np.unique(labels.queries[step])
        count = len(step) if lists is None else max(1, int((lists >= 0).sum()))
        return (1 - teacher.share) * loss + teacher.share * told.sum() * (float(not ghost) / count)

    def _target(self, labels: Labels, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        target = {"values": self._on(labels.take(rows).masked), "known": self._on(labels.known[rows])}
        if labels.kind is Kind.RANK and labels.queries is not None:
            target["queries"] = self._on(labels.queries[rows])
        return target

    def _on(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)


class Stepper:
    """Makes gradients.

    Args:
        accelerator: Device, arithmetic, processes.
        model: As accelerate prepared it.
        feed: Makes batches.
        losses: Makes losses.
        balance: Makes one of them.
        accumulate: Pieces of each process.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        model: Any,
        feed: Any,
        losses: Losses,
        balance: Balance,
        *,
        accumulate: int,
    ) -> None:
        if accumulate > 1 and balance.whole_step:
            raise TrainingError(
                "train.accumulate", f"balance {balance.kind!r} needs the losses of the whole step at once",
                "use accumulate: 1, or balance: fixed, or one by gradients",
            )  # fmt: skip
        # what fp16 scales, it unscales; weights that are learned were never scaled
        if (balance.by_gradient or balance.learned()) and accelerator.scaler is not None:
            raise TrainingError(
                "train.precision", f"balance {balance.kind!r} has no fp16", "use bf16 or fp32"
            )
        self.accelerator, self.model, self.feed = accelerator, model, feed
        self.losses, self.balance, self.accumulate = losses, balance, accumulate
        self.tasks = tuple(losses.targets)
        self._lengths = feed.lengths
        self._by_length = (
            accelerator.device.type == "cpu"
            and self._lengths is not None
            and losses.lists is None
            and not balance.whole_step
            # each piece adds up a gradient as large as the model: without layers that costs more than padding
            and len(accelerator.unwrap_model(model).encoder.layers) > 0
        )

    def gradient(self, step: NDArray[np.int64]) -> Outcome:
        """Set the gradient of a step's rows.

        Args:
            step: The rows, the same in every process.
        """
        present = torch.tensor(self.losses.present(step), device=self.accelerator.device)
        mine = self._mine(step)
        if self.balance.by_gradient:
            return self._by_gradient(step, mine, present)
        if self.balance.whole_step:
            found = self._piece(step, mine[0])
            whole = self._summed(found.detach().clone())
            weights = self._same(self.balance.weights(whole, present))
            self.accelerator.backward((weights * found).sum() * self.accelerator.num_processes)
        else:
            whole = torch.zeros(len(self.tasks), device=self.accelerator.device)
            weights = self.balance.weights(whole, present & False)
            for i, piece in enumerate(mine):
                alone = i < len(mine) - 1 and self.accelerator.num_processes > 1
                with self.accelerator.no_sync(self.model) if alone else nullcontext():
                    found = self._piece(step, piece)
                    self.accelerator.backward((weights * found).sum() * self.accelerator.num_processes)
                whole += found.detach()
            whole = self._summed(whole)
        return self._outcome(whole, present, weights, {})

    def look_back(self, step: NDArray[np.int64]) -> None:
        """Tell the balance what the step's losses have become."""
        with torch.no_grad():
            found = sum(self._piece(step, piece) for piece in self._mine(step))
        present = torch.tensor(self.losses.present(step), device=self.accelerator.device)
        self.balance.stepped(self._summed(found), present)

    def _mine(self, step: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        processes = self.accelerator.num_processes
        count = self.accumulate
        if self._by_length:
            count = max(count, len(step) // (processes * _PIECE))
        cut = pieces(step, processes * count, lists=self.losses.lists, lengths=self._lengths)
        return cut[self.accelerator.process_index :: processes]

    def _piece(self, step: NDArray[np.int64], places: NDArray[np.int64]) -> Tensor:
        ghost = not len(places)
        places = places if len(places) else np.zeros(1, np.int64)
        batch = {
            name: each.to(self.accelerator.device) for name, each in self.feed.collate(step[places]).items()
        }
        return self.losses.of(self.model(batch), step, places, ghost=ghost)

    def _by_gradient(
        self, step: NDArray[np.int64], mine: Sequence[NDArray[np.int64]], present: Tensor
    ) -> Outcome:
        own = self.accelerator.unwrap_model(self.model)
        shared = [p for p in own.encoder.parameters() if p.requires_grad]
        heads = {task: [p for p in own.heads[task].parameters() if p.requires_grad] for task in self.tasks}
        whole = torch.zeros(len(self.tasks), device=self.accelerator.device)
        jacobian = torch.zeros(
            len(self.tasks), sum(p.numel() for p in shared), device=self.accelerator.device
        )
        for piece in mine:
            with self.accelerator.no_sync(self.model):
                found = self._piece(step, piece)
            for i, task in enumerate(self.tasks):
                wanted = shared + heads[task]
                made = torch.autograd.grad(
                    found[i], wanted, retain_graph=i < len(self.tasks) - 1, materialize_grads=True
                )
                if shared:
                    jacobian[i] += torch.cat([gradient.flatten() for gradient in made[: len(shared)]])
                for parameter, gradient in zip(heads[task], made[len(shared) :], strict=True):
                    weighted = gradient * self.balance.alphas[i]
                    parameter.grad = weighted if parameter.grad is None else parameter.grad + weighted
            whole += found.detach()
        whole, jacobian = self._summed(whole), self._summed(jacobian)
        for parameter in (p for each in heads.values() for p in each):
            parameter.grad = self._summed(parameter.grad)
        self.balance.weights(whole, present)
        if shared:
            # an aggregator may draw at random: one process decides
            one = self._same(self.balance.combined(jacobian))
            for parameter, gradient in zip(shared, one.split([p.numel() for p in shared]), strict=True):
                parameter.grad = gradient.view_as(parameter).clone()
        return self._outcome(whole, present, self.balance.alphas, self._cosines(jacobian))

    def _cosines(self, jacobian: Tensor) -> dict[str, float]:
        unit = torch.nn.functional.normalize(jacobian, dim=1)
        alike = (unit @ unit.T).tolist()
        return {
            f"{a}~{b}": alike[i][j]
            for i, a in enumerate(self.tasks)
            for j, b in enumerate(self.tasks[i + 1 :], i + 1)
        }

    def _summed(self, tensor: Tensor) -> Tensor:
        if self.accelerator.num_processes > 1:
            distributed.all_reduce(tensor)
        return tensor

    def _same(self, tensor: Tensor) -> Tensor:
        if self.accelerator.num_processes > 1:
            tensor = tensor.contiguous()
            distributed.broadcast(tensor, 0)
        return tensor

    def _outcome(
        self, losses: Tensor, present: Tensor, weights: Tensor, cosines: Mapping[str, float]
    ) -> Outcome:
        return Outcome(tuple(losses.tolist()), tuple(present.tolist()), tuple(weights.tolist()), cosines)
