"""A process that is kept running: started again with back-off when it dies, its log lines in ours."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.policies.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Child"]

_log = logging.getLogger(__name__)

#: Exit codes of a gateway process that another start would not change: bad configuration, address in use.
FINAL_CODES = {2, 4}


@dataclass(slots=True, eq=False)
class Child:
    """A process that is kept running.

    Args:
        name: Its name in logs and metrics.
        arguments: A module, and what it is given.
        replaceable: Whether others serve on without it; but for its first run, no exit code is then final.
        backoff: How soon.
    """

    name: str
    arguments: Sequence[str]
    replaceable: bool = False
    backoff: Backoff = field(default_factory=Backoff)
    process: asyncio.subprocess.Process | None = None
    exit_code: int = 1
    restarts: int = 0
    stopping: bool = False

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        running = self.process is not None and self.process.returncode is None
        return self.process.pid if running and self.process else None

    async def keep_running(self) -> None:
        """Start the process again and again, with back-off, until told to stop."""
        failures = 0
        while not self.stopping:
            started = time.monotonic()
            try:
                code = await self._run_once()
            except OSError as error:
                # too many files or processes, say: as transient as any other failed start
                _log.error("%s cannot be started: %s", self.name, error)
                code = 1
            self.exit_code = code
            final = code in FINAL_CODES and not (self.replaceable and self.restarts)
            if self.stopping or final:
                return
            failures = self.backoff.failures(failures, time.monotonic() - started)
            delay_s = self.backoff.delay_s(failures)
            _log.error("%s ended (%s); starting it again in %.1f s", self.name, _ending(code), delay_s)
            await asyncio.sleep(delay_s)
            self.restarts += 1

    async def _run_once(self) -> int:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway.tether",
            *self.arguments,
            # the child takes the end of this pipe for the parent's death
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        if self.stopping:  # told so while it was being started
            self.process.terminate()
        assert self.process.stderr is not None  # noqa: S101 - it is a pipe, see above
        await _forward(self.name, self.process.stderr)
        return await self.process.wait()

    async def stop(self, grace_s: float) -> None:
        """Ask the process to end, and kill it when it does not in time."""
        self.stopping = True
        if self.pid is None or self.process is None:
            return
        self.process.terminate()
        try:
            await asyncio.wait_for(self.process.wait(), grace_s)
        except TimeoutError:
            _log.error("%s did not end within %.1f s and is killed", self.name, grace_s)
            self.process.kill()
            await self.process.wait()


async def _forward(name: str, stream: asyncio.StreamReader) -> None:
    """Copy a child's log lines to ours, each with the child's name."""
    while True:
        try:
            line = await stream.readline()
        except ValueError:
            continue  # a line beyond the reader's limit is dropped, the child is not
        if not line:
            return
        text = line.decode(errors="replace").rstrip()
        try:
            event = json.loads(text)
            text = json.dumps({**event, "process": name})
        except (ValueError, TypeError):
            text = f"[{name}] {text}"
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - the line has been through a logger already


def _ending(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
