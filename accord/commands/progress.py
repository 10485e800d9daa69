"""How training shows how far it is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from accord.commands.output import err

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

__all__ = ["Shown"]

#: How often a line is printed where bars cannot be drawn: a log of a day has some thousand of them.
LINE_S = 30.0


class Shown:
    """Bars where there is a terminal; elsewhere a line now and then, for whoever reads the log.

    Args:
        console: Where.
        clock: Seconds that only grow.
    """

    def __init__(self, console: Console = err, *, clock: Callable[[], float] = time.monotonic) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("[dim]{task.fields[losses]}"),
        )
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._tasks: dict[str, Any] = {}
        self._clock, self._next, self._lined = clock, clock() + LINE_S, ""

    def __enter__(self) -> Shown:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def report(self, progress: Any) -> None:
        """Show how far something is, a :class:`training.progress.Progress`."""
        left = ""
        if progress.eta_s is not None:
            minutes, seconds = divmod(round(progress.eta_s), 60)
            left = f"{minutes} min {seconds} s left" if minutes else f"{seconds} s left"
        losses = "  ".join(f"{task} {loss:.3f}" for task, loss in progress.losses.items())
        if self._progress.disable:
            self._line(progress, left, losses)
            return
        if progress.phase not in self._tasks:
            self._tasks[progress.phase] = self._progress.add_task(progress.phase, left="", losses="")
        self._progress.update(
            self._tasks[progress.phase],
            completed=progress.done,
            total=progress.total,
            left=left,
            losses=losses,
        )

    def _line(self, progress: Any, left: str, losses: str) -> None:
        now = self._clock()
        # what was begun in lines ends with one
        ends = progress.done == progress.total and progress.phase == self._lined
        if now < self._next and not ends:
            return
        self._next, self._lined = now + LINE_S, "" if ends else progress.phase
        said = ", ".join(filter(None, (f"{progress.done} of {progress.total}", left, losses)))
        self.tell(f"{progress.phase}: {said}")

    def tell(self, line: str) -> None:
        """Print a line above the bars; these then start anew."""
        for task in self._tasks.values():
            self._progress.remove_task(task)
        self._tasks.clear()
        self._progress.console.print(escape(line), highlight=False)
