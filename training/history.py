"""What is noted while a run goes on: lines of ``history.jsonl``, and the same figures for trackers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from training.errors import TrainingError
from training.files import written
from training.run import HISTORY, finite, lines_until
from training.track import open_trackers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from training.config import Config
    from training.track import Tracker

__all__ = ["History"]


class History:
    """Notes figures; its trackers are open while it is entered.

    Args:
        folder: The run's.
        config: The configuration, which says where figures are shown besides.
        silent: Note nothing: of several processes, one does.
    """

    def __init__(self, folder: Path, config: Config, *, silent: bool) -> None:
        self._folder, self._config, self._silent = folder, config, silent
        self._trackers: list[Tracker] = []

    def __enter__(self) -> History:
        if not self._silent:
            shown = self._config.model_dump(mode="json")
            self._trackers = open_trackers(self._config.track, self._folder, shown)
        return self

    def __exit__(self, *_: object) -> None:
        for tracker in self._trackers:
            tracker.close()

    def cut(self, step: int) -> None:
        """Forget what came after a step.

        Raises:
            TrainingError: If there is no room.
        """
        path = self._folder / HISTORY
        kept = "".join(f"{line}\n" for line in lines_until(self._folder, step)).encode()
        if not self._silent and (not path.exists() or path.read_bytes() != kept):
            written(path, kept)

    def note(self, step: int, epoch: float, elapsed_s: float, figures: Mapping[str, Any]) -> None:
        """Note a step's figures, each a number or numbers by name; what is no number becomes null.

        Raises:
            TrainingError: If there is no room.
        """
        if self._silent:
            return
        line = {"step": step, "epoch": epoch, "elapsed_s": round(elapsed_s, 2)} | dict(figures)
        try:
            with (self._folder / HISTORY).open("a", encoding="utf-8") as file:
                file.write(json.dumps(finite(line)) + "\n")
        except OSError as error:
            problem = f"cannot be written: {error.strerror}"
            raise TrainingError(str(self._folder / HISTORY), problem, "make room, and resume") from None
        flat = {
            f"{name}/{key}" if key else name: float(value)
            for name, found in figures.items()
            for key, value in (found.items() if isinstance(found, dict) else [("", found)])
        }
        for tracker in self._trackers:
            tracker.log(step, flat)
