"""Fitting one model: step by step, with looks at validation, and checkpoints to go on from."""

from __future__ import annotations

import math
import time
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed

from training.checkpoint import load, randomness, restore_randomness, save
from training.errors import TrainingError
from training.fingerprint import compare, fingerprint
from training.models import freeze
from training.optimizer import clip, optimizer, set_factor
from training.progress import Progress
from training.run import BEST, CHECKPOINT
from training.schedule import factor
from training.step import Outcome, Stepper
from training.stopping import Standing, whole_loss

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from training.config import Config
    from training.history import History
    from training.objectives import Balance
    from training.prepare import Prepared

__all__ = ["Fit", "Stopped"]

#: About as many lines has a history, besides looks at validation.
_LINES = 400
#: What a checkpoint keeps of a fit itself.
_STATE = ("step", "elapsed_s", "cpu_s")


class Stopped(Exception):  # noqa: N818 - it was asked for
    """The run was stopped by a signal, after a checkpoint. Expected: it can be resumed.

    Args:
        folder: The run.
        step: How many steps are done.
    """

    def __init__(self, folder: Path, step: int) -> None:
        super().__init__(f"stopped after step {step}: {folder} can be resumed")
        self.folder = folder
        self.step = step

    def __reduce__(self) -> tuple[type[Stopped], tuple[Path, int]]:
        return type(self), (self.folder, self.step)


class Fit:
    """Fits a model.

    Args:
        config: The configuration.
        out: The run's folder.
        made: Model, batches, order, losses.
        balance: Makes one loss of several.
        history: Where figures go.
        report: Told how far it is.
        asked_to_stop: Whether a signal came.
    """

    def __init__(
        self,
        config: Config,
        out: Path,
        made: Prepared,
        *,
        balance: Balance,
        history: History,
        report: Callable[[Progress], None],
        asked_to_stop: Callable[[], bool],
    ) -> None:
        self.config, self.out, self.made = config, out, made
        self.accelerator, self.own = made.accelerator, made.model
        self.order, self.losses, self.balance = made.order, made.losses, balance
        self.history, self.report, self.asked_to_stop = history, report, asked_to_stop
        self.steps = config.train.epochs * made.order.per_epoch
        self.step = 0
        self.elapsed_s, self.cpu_s = 0.0, 0.0
        self.standing = Standing()
        self.last: Outcome | None = None
        rule = optimizer(made.model, config.train.optimizer, balance.learned())
        self.optimizer = made.accelerator.prepare_optimizer(rule)
        self.stepper = self._stepper()
        self._layers: Any = config.encoder.freeze
        self._every = max(1, self.steps // _LINES)

    def resume(self) -> None:
        """Go on from the checkpoint.

        Raises:
            TrainingError: If it is broken, or of another run.
        """
        path = self.out / CHECKPOINT
        state = load(path)
        compare(path, state["about"], self._about())
        self.own.load_state_dict(state["model"])
        self.optimizer.optimizer.load_state_dict(state["optimizer"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.balance.restore(state["balance"])
        for name in _STATE:
            setattr(self, name, state[name])
        self.standing = Standing(*state["standing"])
        self.last = None if state["last"] is None else Outcome(*state["last"])
        restore_randomness(state["random"][self.accelerator.process_index])
        self.history.cut(self.step)

    def run(self) -> None:
        """Fit to the end.

        Raises:
            TrainingError: If a loss is no number, or memory or disk are full.
            Stopped: If a signal asked for it.
        """
        with self.history:
            self._run()

    def checkpoint(self) -> None:
        """Write where the run stands.

        Raises:
            TrainingError: If there is no room, or the weights are not worth keeping.
        """
        if not all(bool(p.isfinite().all()) for p in self.own.parameters() if p.requires_grad):
            raise self._no_number(self.step, "the weights are no numbers any more")
        mine = randomness()
        everyone: list[Any] = [mine]
        if self.accelerator.num_processes > 1:
            everyone = [None] * self.accelerator.num_processes
            distributed.all_gather_object(everyone, mine)
        scaler = self.accelerator.scaler
        state = {
            "model": self.own.state_dict(),
            "optimizer": self.optimizer.optimizer.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "balance": self.balance.state(),
            "random": everyone,
            "about": self._about(),
            "standing": astuple(self.standing),
            "last": None if self.last is None else astuple(self.last),
        } | {name: getattr(self, name) for name in _STATE}
        if self.accelerator.is_main_process:
            save(self.out / CHECKPOINT, state)
        # who leaves earlier has the one that writes ended with it
        self.accelerator.wait_for_everyone()

    def trial(self, epoch: int, count: int) -> float:
        """Take steps of an epoch, and return the seconds of one; the fit is fit for nothing else then.

        Args:
            epoch: The epoch.
            count: How many.

        Raises:
            TrainingError: As a run would.
        """
        self.step = epoch * self.order.per_epoch
        self.own.train()
        self._thaw()
        began = time.perf_counter()
        for _ in range(count):
            self._one()
        return (time.perf_counter() - began) / count

    def _run(self) -> None:
        first, started = self.step, time.perf_counter()
        began, cpu_began = started - self.elapsed_s, time.process_time() - self.cpu_s

        def clocked() -> None:
            self.elapsed_s = time.perf_counter() - began
            self.cpu_s = time.process_time() - cpu_began

        self.own.train()
        self._thaw()
        while self.step < self.steps and not self.standing.ended:
            self._one()
            clocked()
            self._tell((time.perf_counter() - started) / (self.step - first))
            epoch_over = self.step % self.order.per_epoch == 0
            looks = self.config.train.evaluate_every
            if self.step % looks == 0 if looks else epoch_over:
                self._look()
            if epoch_over:
                self.balance.epoch_over()
                self._thaw()
            stop = self._stop()
            if stop or epoch_over or self.step % self.config.train.checkpoint_every == 0:
                clocked()
                self.checkpoint()
            if stop:
                raise Stopped(self.out, self.step)
        if self._stop():  # it came in the last checkpoint
            raise Stopped(self.out, self.step)

    def _one(self) -> None:
        wanted = self.config.train
        rate = factor(self.step, self.steps, warmup=wanted.warmup, decay=wanted.schedule)
        set_factor(self.optimizer, rate)
        rows = self.order.at(self.step)
        try:
            outcome = self.stepper.gradient(rows)
            self._finite(outcome)
            norm = 0.0
            if wanted.clip is not None:
                norm = clip(self.accelerator, self.optimizer, self.own.parameters(), wanted.clip)
            self.optimizer.step()
            if self.balance.looks_back:
                self.stepper.look_back(rows)
        except torch.cuda.OutOfMemoryError:
            raise TrainingError(
                f"step {self.step + 1}",
                f"the GPU has not enough memory for batches of {wanted.batch}",
                f"raise train.accumulate above {wanted.accumulate}: the same batch in smaller pieces",
            ) from None
        self.optimizer.zero_grad()
        self.step += 1
        self.last = outcome
        if self.step % self._every == 0:
            self._note(
                {
                    "losses": self._named(outcome.losses, outcome.present),
                    "weights": self._named(outcome.weights),
                    "cosines": dict(outcome.cosines),
                    "lr": rate * wanted.optimizer.lr,
                    "norm": norm,
                }
            )

    def _finite(self, outcome: Outcome) -> None:
        for task, loss in zip(self.losses.targets, outcome.losses, strict=True):
            if not math.isfinite(loss):
                raise self._no_number(self.step + 1, f"the loss of task {task!r} is {loss}")

    def _no_number(self, step: int, problem: str) -> TrainingError:
        kept = self.out / CHECKPOINT
        where = f"the checkpoint {kept} is kept" if kept.exists() else "there is no checkpoint yet"
        remedy = f"lower train.optimizer.lr or set train.clip, or use precision: fp32; {where}"
        return TrainingError(f"step {step}", problem, remedy)

    def _look(self) -> None:
        """Look at validation; the best weights are kept where it decides the end."""
        _, losses = self.made.answer(self.made.validation)
        targets = self.losses.targets
        labelled = {task for task, each in targets.items() if each.known[self.made.validation].any()}
        alphas = dict(zip(targets, self.balance.alphas.tolist(), strict=True))
        whole = whole_loss(losses, alphas, labelled)
        self._note({"validation": losses, "validation_loss": whole})
        stopping = self.config.train.early_stopping
        if stopping is None:
            return
        self.standing = self.standing.after(whole, stopping)
        if self.standing.worse == 0 and self.accelerator.is_main_process:
            save(self.out / BEST, self.own.state_dict())

    def _tell(self, step_s: float) -> None:
        losses = {} if self.last is None else self._named(self.last.losses)
        left = step_s * (self.steps - self.step)
        self.report(Progress("training", self.step, self.steps, left, losses))

    def _note(self, figures: Mapping[str, Any]) -> None:
        self.history.note(self.step, self.step / self.order.per_epoch, self.elapsed_s, figures)

    def _named(self, values: Sequence[float], present: Sequence[bool] | None = None) -> dict[str, float]:
        there = present or [True] * len(values)
        return {task: v for task, v, here in zip(self.losses.targets, values, there, strict=True) if here}

    def _thaw(self) -> None:
        """Freeze what this epoch has frozen."""
        epoch, wanted = self.step // self.order.per_epoch, self.config.encoder
        layers: Any = wanted.freeze
        for thaw in wanted.unfreeze:
            layers = thaw.freeze if thaw.epoch <= epoch else layers
        if layers != self._layers:
            freeze(self.own, layers)
            self.own.train()
            self._layers, self.stepper = layers, self._stepper()

    def _stepper(self) -> Stepper:
        return Stepper(
            self.accelerator,
            self.made.wrapped(),
            self.made.feed,
            self.losses,
            self.balance,
            accumulate=self.config.train.accumulate,
        )

    def _stop(self) -> bool:
        if self.accelerator.num_processes == 1:
            return self.asked_to_stop()
        asked = torch.tensor(float(self.asked_to_stop()), device=self.accelerator.device)
        distributed.all_reduce(asked)
        return bool(asked)

    def _about(self) -> dict[str, str]:
        """Return what a checkpoint must have in common with whoever goes on from it."""
        precision = str(self.accelerator.mixed_precision)
        return fingerprint(self.config) | {"data": self.made.data, "precision": precision}
