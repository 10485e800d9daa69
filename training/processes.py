"""Several processes that share each batch: started here, joined by gloo or NCCL, ended together.

They find each other through a file, which no other program can take away from them as it could a port. What
ends one of them ends all, and its error is raised here.
"""

from __future__ import annotations

import os
import pickle
import signal
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import distributed, multiprocessing
from torch.multiprocessing.spawn import ProcessException

from training.errors import TrainingError
from training.signals import handled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["share"]

_POLL_S = 0.2
#: One process may work for hours while others wait; one that dies is seen by its exit, not its silence.
_PATIENCE = timedelta(days=7)
#: What a person can mend is told in the words that one process alone would use.
_TOLD = (TrainingError, OSError, MemoryError, ImportError)


def share(
    count: int,
    work: Callable[..., object],
    arguments: Sequence[Any],
    report: Callable[[Any], None],
    *,
    gpus: bool = False,
    expected: tuple[type[Exception], ...] = (),
) -> None:
    """Run ``work(*arguments, report)`` in each of several processes.

    Args:
        count: How many.
        work: A function of a module.
        arguments: What it is given; it is pickled.
        report: Told here what the first process reports there.
        gpus: Whether each computes on a GPU of its own.
        expected: Errors of theirs that are raised here as they are, beside those of files, memory, imports.

    Raises:
        TrainingError: If one of them died, or raised one.
        KeyboardInterrupt: If a signal came before there was anything to keep.
        ProcessException: If one of them raised what was not expected.
    """
    with tempfile.TemporaryDirectory(prefix="accord-") as scratch:
        context = multiprocessing.get_context("forkserver")
        # torch and what averages gradients is loaded once for all of them
        context.set_forkserver_preload([work.__module__, "torch._dynamo"])
        reports = context.SimpleQueue()
        told = (count, scratch, work, tuple(arguments), reports, gpus, (*_TOLD, *expected))
        group = multiprocessing.start_processes(
            _begin, (told,), nprocs=count, join=False, start_method="forkserver"
        )
        signals = _Forwarded(group.processes)
        with handled(signals.hand_on):
            try:
                ended = False
                while not ended:
                    ended = group.join(timeout=_POLL_S)
                    while not reports.empty():
                        report(reports.get())
            except ProcessException:
                raised = Path(scratch) / "error"
                if raised.exists():
                    raise pickle.loads(raised.read_bytes()) from None  # noqa: S301 - our own process wrote it
                if signals.came:  # before there was anything to keep
                    raise KeyboardInterrupt from None
                _name_killed(group.processes)
                raise


def _name_killed(processes: Sequence[Any]) -> None:
    """Say which process was killed. The others then fail too, or are ended by SIGTERM."""
    for place, process in enumerate(processes, 1):
        process.join()
        code = process.exitcode
        if code < 0 and code != -signal.SIGTERM:
            raise TrainingError(
                f"process {place} of {len(processes)}",
                f"was killed by {signal.Signals(-code).name}",
                "if it was for memory, use a smaller batch or train.accumulate; then resume",
            ) from None


class _Forwarded:
    """Hands SIGINT and SIGTERM on as SIGTERM: a terminal sends SIGINT to every process by itself."""

    def __init__(self, processes: Sequence[Any]) -> None:
        self.came = False
        self._processes = processes

    def hand_on(self, *_: Any) -> None:
        self.came = True
        for process in self._processes:
            if process.is_alive():
                os.kill(process.pid, signal.SIGTERM)


def _begin(rank: int, told: tuple[Any, ...]) -> None:
    count, scratch, work, arguments, reports, gpus, expected = told
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    os.environ |= {"LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    if not gpus:
        os.environ["ACCELERATE_USE_CPU"] = "true"
    distributed.init_process_group(
        "nccl" if gpus else "gloo",
        init_method=f"file://{scratch}/meeting",
        rank=rank,
        world_size=count,
        timeout=_PATIENCE,
    )
    try:
        work(*arguments, reports.put if rank == 0 else lambda _: None)
    except expected as error:
        _leave(Path(scratch), error)
        raise
    finally:
        distributed.destroy_process_group()


def _leave(scratch: Path, error: Exception) -> None:
    """Leave an error where the parent finds it; the first one counts."""
    try:
        with (scratch / "error").open("xb") as file:
            file.write(pickle.dumps(error))
    except FileExistsError:
        pass
