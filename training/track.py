"""Showing a run elsewhere while it goes on: TensorBoard; Weights & Biases, offline unless a key is given."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

from training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

__all__ = ["Tracker", "open_trackers"]


class Tracker(Protocol):
    """Where figures go."""

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Show figures of a step."""

    def close(self) -> None:
        """Show nothing more."""


class _TensorBoard:
    def __init__(self, out: Path, _: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an extra of its own

        self._writer = SummaryWriter(str(out / "tensorboard"))

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _WandB:
    def __init__(self, out: Path, config: Mapping[str, Any]) -> None:
        import wandb  # noqa: PLC0415 - an extra of its own

        mode = "online" if os.environ.get("WANDB_API_KEY") else "offline"
        self._run = wandb.init(
            project="accord",
            name=out.name,
            dir=str(out),
            config=dict(config),
            mode=mode,
            settings=wandb.Settings(silent=True, console="off"),
        )

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        self._run.log(dict(figures), step=step)

    def close(self) -> None:
        self._run.finish()


_KINDS: Mapping[str, Callable[[Path, Mapping[str, Any]], Tracker]] = {
    "tensorboard": _TensorBoard,
    "wandb": _WandB,
}


def open_trackers(kinds: Sequence[str], out: Path, config: Mapping[str, Any]) -> list[Tracker]:
    """Open what is asked for.

    Args:
        kinds: ``tensorboard``, ``wandb``.
        out: The run's folder, where they keep their files.
        config: The configuration, to be shown.

    Raises:
        TrainingError: If a package is missing.
    """
    try:
        return [_KINDS[kind](out, config) for kind in kinds]
    except ImportError as error:
        raise TrainingError(
            "track", f"{error.name} is not installed", "install accord-gateway[track]"
        ) from None
