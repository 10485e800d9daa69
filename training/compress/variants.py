"""The variants of a trained model: what each costs, what it loses, and whether a row's answer is its own.

A step whose folder is there, made of the same, is not done again (:mod:`training.compress.origin`), unless
one that is still to be done trains on it: only its file is kept. What is chosen is chosen on validation rows
(temperature, nodes that stay fp32); test rows are only looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from training.compress.facts import measured
from training.compress.origin import data_hash, origin, weights_hash
from training.compress.steps import exported, make
from training.compress.trained import Trained
from training.compress.variant import FP32, Variant, read, write
from training.config import Distil, Prune, variant
from training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from training.config import Compression, Config
    from training.data import Dataset
    from training.loop import Progress
    from training.models.model import Model

__all__ = ["compress"]


def compress(
    config: Config,
    dataset: Dataset,
    model: Model,
    run: Path,
    *,
    tell: Callable[[str], None] = lambda _: None,
    report: Callable[[Progress], None] = lambda _: None,
) -> list[Variant]:
    """Make the trained model's ONNX file and every variant that a configuration asks for.

    Args:
        config: Its ``compress`` says which.
        dataset: The rows that the model was trained on.
        model: The trained model.
        run: The run's folder.
        tell: Told what is being done.
        report: Told how far a long step is.

    Raises:
        TrainingError: If a step cannot be done, or no variant loses as little as is asked.
        Stopped: If a signal asked for it; what is made is kept.
    """
    work = _Work(Trained(config, dataset, model, run, tell, report))
    found = [work.variant(FP32, None)]
    found += [work.variant(variant(step), step) for step in config.compress]
    return found


class _Work:
    """One pass over the steps; those behind know what those before have made."""

    def __init__(self, trained: Trained) -> None:
        self._trained = trained
        self._hashes = {
            "weights": weights_hash(trained.model),
            "data": data_hash(trained.model, trained.dataset),
        }
        self._models: dict[str, Model] = {FP32: trained.model}
        self._made: dict[str, Variant] = {}
        self._steps: dict[str, Compression | None] = {}

    def variant(self, name: str, step: Compression | None) -> Variant:
        """Make a variant, or read it if it was made of the same before."""
        self._steps[name] = step
        self._made[name] = self._kept(name, self._follows(step)) or self._new(name, step)
        return self._made[name]

    def _follows(self, step: Compression | None) -> dict[str, Any]:
        source = "" if step is None else self._made[step.of].facts["onnx_sha256"]
        return origin(step, self._trained.config, source=source, **self._hashes)

    def _kept(self, name: str, follows: dict[str, Any]) -> Variant | None:
        try:
            there = read(self._trained.run, name)
        except TrainingError:
            return None
        return there if there.facts.get("made_by") == follows else None

    def _new(self, name: str, step: Compression | None) -> Variant:
        trained = self._trained
        if isinstance(step, Prune | Distil) and step.of not in self._models:
            self._learn_again(step.of)
        follows = self._follows(step)
        trained.tell(f"{name}: making it")
        if step is None:
            made = exported(trained, trained.model)
        else:
            made = make(step, trained, self._made[step.of], self._models.get(step.of), self._made[FP32])
        if made.model is not None:
            self._models[name] = made.model
        trained.tell(f"{name}: measuring it")
        variant, predictions = measured(name, made, follows, trained, self._made.get(FP32))
        write(trained.run, variant, predictions)
        return variant

    def _learn_again(self, name: str) -> None:
        """Make what is there only as a file once more, because it is to be trained on."""
        step = self._steps[name]
        if isinstance(step, Prune | Distil):
            self._made[name] = self._new(name, step)
