"""How training shows how far it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from accord.commands.output import err

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Shown"]


class Shown:
    """Progress on standard error."""

    def __init__(self) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("[dim]{task.fields[losses]}"),
        )
        self._progress = Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Shown:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @property
    def report(self) -> Callable[[Any], None]:
        """Takes what training reports."""
        return self._report

    def _report(self, progress: Any) -> None:
        if progress.phase not in self._tasks:
            self._tasks[progress.phase] = self._progress.add_task(progress.phase, left="", losses="")
        left = (
            ""
            if progress.eta_s is None
            else f"{progress.eta_s / 60:.0f} min {progress.eta_s % 60:.0f} s left"
        )
        losses = "  ".join(f"{task} {loss:.3f}" for task, loss in progress.losses.items())
        self._progress.update(
            self._tasks[progress.phase],
            completed=progress.done,
            total=progress.total,
            left=left,
            losses=losses,
        )

    def tell(self, line: str) -> None:
        """Print a line above the bars; these then start anew."""
        for task in self._tasks.values():
            self._progress.remove_task(task)
        self._tasks.clear()
        self._progress.console.print(escape(line), highlight=False)
