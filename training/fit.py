"""Fitting one model: step by step, with looks at validation, and checkpoints to go on from."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed

from training.answers import answer
from training.checkpoint import load, randomness, restore_randomness, save
from training.errors import TrainingError
from training.models import freeze
from training.optimizer import optimizer, set_factor
from training.run import BEST, CHECKPOINT, HISTORY, lines_until
from training.schedule import factor
from training.step import Stepper

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from accelerate import Accelerator
    from numpy.typing import NDArray

    from training.config import Config
    from training.data.mix import Order
    from training.objectives import Balance
    from training.step import Losses, Outcome
    from training.track import Tracker

__all__ = ["Fit", "Progress", "Stopped"]

#: About as many lines has a history, besides looks at validation.
_LINES = 400
#: What a checkpoint keeps of a fit itself.
_STATE = ("step", "elapsed_s", "cpu_s", "best", "worse", "ended")


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


@dataclass(frozen=True, slots=True)
class Progress:
    """How far something is.

    Args:
        phase: What is going on.
        done: Of it.
        total: Of it.
        eta_s: Seconds that it will still take; None while that is not known.
        losses: By task, in training.
    """

    phase: str
    done: int
    total: int
    eta_s: float | None
    losses: Mapping[str, float]


class Fit:
    """Fits a model.

    Args:
        config: The configuration.
        out: The run's folder.
        accelerator: Device, arithmetic, processes.
        model: The model, on its device.
        feed: Makes batches.
        order: Which rows each step has.
        losses: Makes losses.
        balance: Makes one of them.
        validation: The rows that are looked at.
        data: Hash of all that is learned from.
        trackers: Where figures go besides.
        report: Told how far it is.
        asked_to_stop: Whether a signal came.
    """

    def __init__(
        self,
        config: Config,
        out: Path,
        *,
        accelerator: Accelerator,
        model: Any,
        feed: Any,
        order: Order,
        losses: Losses,
        balance: Balance,
        validation: NDArray[Any],
        data: str,
        trackers: Sequence[Tracker],
        report: Callable[[Progress], None],
        asked_to_stop: Callable[[], bool],
    ) -> None:
        self.config, self.out, self.accelerator = config, out, accelerator
        self.own, self.feed, self.order = model, feed, order
        self.losses, self.balance, self.validation, self.data = losses, balance, validation, data
        self.trackers, self.report, self.asked_to_stop = trackers, report, asked_to_stop
        self.steps = config.train.epochs * order.per_epoch
        self.step = 0
        self.elapsed_s, self.cpu_s = 0.0, 0.0
        self.best, self.worse, self.ended = math.inf, 0, False
        self.last: Outcome | None = None
        made = optimizer(model, config.train.optimizer, balance.learned())
        self.optimizer = accelerator.prepare_optimizer(made)
        self.prepared = accelerator.prepare_model(model)
        self._every = max(1, self.steps // _LINES)

    def resume(self) -> None:
        """Go on from the checkpoint.

        Raises:
            TrainingError: If it is broken, or of another run.
        """
        path = self.out / CHECKPOINT
        state = load(path)
        self._compare(path, state)
        self.own.load_state_dict(state["model"])
        self.optimizer.optimizer.load_state_dict(state["optimizer"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.balance.restore(state["balance"])
        for name in _STATE:
            setattr(self, name, state[name])
        restore_randomness(state["random"][self.accelerator.process_index])
        if self.accelerator.is_main_process:
            kept = lines_until(self.out, self.step)
            (self.out / HISTORY).write_text("".join(f"{line}\n" for line in kept), "utf-8")

    def run(self) -> None:
        """Fit to the end.

        Raises:
            TrainingError: If a loss is no number, or memory or disk are full.
            Stopped: If a signal asked for it.
        """
        started, first = time.perf_counter(), self.step
        began, cpu_began = started - self.elapsed_s, time.process_time() - self.cpu_s

        def clocked() -> None:
            self.elapsed_s = time.perf_counter() - began
            self.cpu_s = time.process_time() - cpu_began

        self.own.train()
        self._thaw()
        while self.step < self.steps and not self.ended:
            self._one()
            clocked()
            done, here = self.step - first, time.perf_counter() - started
            named = {} if self.last is None else dict(zip(self.losses.targets, self.last.losses, strict=True))
            self.report(
                Progress("training", self.step, self.steps, here / done * (self.steps - self.step), named)
            )
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
            if stop and self.step < self.steps:
                raise Stopped(self.out, self.step)

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
        } | {name: getattr(self, name) for name in _STATE}
        if self.accelerator.is_main_process:
            save(self.out / CHECKPOINT, state)

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
                norm = float(self.accelerator.clip_grad_norm_(self.own.parameters(), wanted.clip))
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
        _, losses = answer(
            self.own,
            self.feed,
            self.validation,
            self.losses.targets,
            self.accelerator,
            hubers=self.losses.hubers,
        )
        alphas = dict(zip(self.losses.targets, self.balance.alphas.tolist(), strict=True))
        whole = sum(alphas[task] * loss for task, loss in losses.items() if math.isfinite(loss))
        self._note({"validation": losses, "validation_loss": whole})
        stopping = self.config.train.early_stopping
        if stopping is None:
            return
        if whole < self.best - stopping.least:
            self.best, self.worse = whole, 0
            if self.accelerator.is_main_process:
                save(self.out / BEST, self.own.state_dict())
        else:
            self.worse += 1
            self.ended = self.worse >= stopping.patience

    def _note(self, figures: Mapping[str, Any]) -> None:
        if not self.accelerator.is_main_process:
            return
        line = {
            "step": self.step,
            "epoch": self.step / self.order.per_epoch,
            "elapsed_s": round(self.elapsed_s, 2),
        }
        try:
            with (self.out / HISTORY).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line | dict(figures)) + "\n")
        except OSError as error:
            problem = f"cannot be written: {error.strerror}"
            raise TrainingError(str(self.out / HISTORY), problem, "make room, and resume") from None
        flat = {
            f"{name}/{key}" if key else name: float(value)
            for name, found in figures.items()
            for key, value in (found.items() if isinstance(found, dict) else [("", found)])
        }
        for tracker in self.trackers:
            tracker.log(self.step, flat)

    def _named(self, values: Sequence[float], present: Sequence[bool] | None = None) -> dict[str, float]:
        there = present or [True] * len(values)
        return {task: v for task, v, here in zip(self.losses.targets, values, there, strict=True) if here}

    def _thaw(self) -> None:
        """Freeze what this epoch has frozen."""
        epoch, wanted = self.step // self.order.per_epoch, self.config.encoder
        layers: Any = wanted.freeze
        for thaw in wanted.unfreeze:
            layers = thaw.freeze if thaw.epoch <= epoch else layers
        if wanted.unfreeze:
            freeze(self.own, layers)
            self.own.train()
            # what averages gradients over processes must know which there are
            self.prepared = self.accelerator.prepare_model(self.own)
        self.stepper = Stepper(
            self.accelerator,
            self.prepared,
            self.feed,
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

    def _about(self) -> dict[str, Any]:
        """Return what a checkpoint must have in common with whoever goes on from it."""
        config = self.config.model_dump(mode="json", include={"encoder", "tasks", "train"})
        for name in ("threads", "checkpoint_every"):
            config["train"].pop(name)
        flat = {f"{part}.{key}": str(value) for part in config for key, value in config[part].items()}
        return flat | {"data": self.data, "precision": str(self.accelerator.mixed_precision)}

    def _compare(self, path: Path, state: Mapping[str, Any]) -> None:
        here, there = self._about(), state["about"]
        differ = sorted(name for name in here | there if here.get(name) != there.get(name))
        if differ:
            raise TrainingError(
                str(path),
                f"is of another run: it differs in {', '.join(differ)}",
                "give the run its configuration back, or another folder by --out",
            )
