"""The parent process: starts workers and gateway, restarts what dies, owns the metrics port.

Rules:

- It imports no gRPC and no model runtime, so that nothing a model or a client does can hang or kill it.
- Every child is tethered (``gateway.tether``): none outlives the parent, however that one dies.
- First signal: the gateway drains, then the workers stop. Second signal: everything stops at once.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway import runtime
from gateway.observe.port import MetricsPort, ServerStatus
from gateway.policies.backoff import Backoff
from workers.model.runtime.devices import available_gpus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.config.schema import Config, Worker

__all__ = ["Supervisor", "find_layout", "worker_arguments"]

_log = logging.getLogger(__name__)

#: How long a stopped worker may take to end by itself, in seconds.
WORKER_GRACE_S = 5.0
_POLL_S = 0.2
_REAP_S = 2.0
#: Exit codes of the gateway process that another start would not change: bad configuration, address in use.
FINAL_CODES = {2, 4}


@dataclass(slots=True, eq=False)
class _Child:
    """A process that is kept running."""

    name: str
    arguments: Sequence[str]
    backoff: Backoff = field(default_factory=Backoff)
    process: asyncio.subprocess.Process | None = None
    exit_code: int = 1
    restarts: int = 0
    stopping: bool = False

    @property
    def pid(self) -> int | None:
        running = self.process is not None and self.process.returncode is None
        return self.process.pid if running and self.process else None

    async def keep_running(self) -> None:
        """Start the process again and again, with back-off, until told to stop."""
        failures = 0
        while True:
            started = time.monotonic()
            try:
                code = await self._run_once()
            except OSError as error:
                # too many files or processes, say: as transient as any other failed start
                _log.error("%s cannot be started: %s", self.name, error)
                code = 1
            self.exit_code = code
            if self.stopping or code in FINAL_CODES:
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


def worker_arguments(config: Config, instance: runtime.Instance, total: int, log_format: str) -> list[str]:
    """Return the module and arguments that start one worker."""
    worker = config.models[instance.model].worker
    assert worker is not None  # noqa: S101 - instances exist only for such models
    given = {
        "repository": str(worker.repository),
        "model": worker.model or instance.model,
        "version": worker.version,
        "address": instance.target,
        "lane": str(instance.lane),
        "device": instance.device,
        "threads": str(worker.threads) if worker.threads else f"auto/{total}",
        "providers": ",".join(worker.providers),
        "log-format": log_format,
        "drain-s": str(WORKER_GRACE_S),
    }
    if worker.poll_s is not None:
        given |= {"control": "poll", "poll-s": str(worker.poll_s)}
    elif config.server.admin:
        given["control"] = "explicit"
    flags = ["--require-digests"] if worker.require_digests else []
    return ["workers.main", *(part for k, v in given.items() if v for part in (f"--{k}", v)), *flags]


def find_layout(config: Config, path: Path) -> runtime.Layout:
    """Return the worker processes of a configuration.

    Only where a model's own config, or a GPU, has a say is that asked for, since it takes a process.
    """
    workers = {name: model.worker for name, model in config.models.items() if model.worker is not None}
    if available_gpus() or any(_says_instances(name, w) for name, w in workers.items() if not w.instances):
        arguments = [sys.executable, "-m", "gateway.layout", str(path)]
        done = subprocess.run(arguments, stdout=subprocess.PIPE, check=False)  # noqa: S603 - our own module
        if done.returncode == 0:
            layout: dict[str, list[str]] = json.loads(done.stdout)
            return layout
        _log.error("the models' instance groups could not be read; each model gets one process")
    return {name: runtime.spread([""], worker.instances) for name, worker in workers.items()}


def _says_instances(name: str, worker: Worker) -> bool:
    path = worker.repository / (worker.model or name) / "config.pbtxt"
    return path.is_file() and b"instance_group" in path.read_bytes()


class Supervisor:
    """Runs one server: its workers, its gateway and the metrics port.

    Args:
        config: The configuration.
        path: The file it came from; the gateway process reads it again.
        log_format: ``json`` or ``text``.
        announce: File that is kept up to date with addresses and process ids; None = none.
    """

    def __init__(self, config: Config, path: Path, *, log_format: str, announce: Path | None = None) -> None:
        self._config = config
        self._announce = announce
        self._port = MetricsPort(config.server.metrics, self._status)
        self._directory = Path(tempfile.mkdtemp(prefix="accord-"))  # mode 0700
        layout = find_layout(config, path)
        runtime.write_layout(layout, self._directory)
        found = runtime.instances(layout, self._directory)
        self._workers = {
            instance: _Child(instance.name, worker_arguments(config, instance, len(found), log_format))
            for instance in found
        }
        gateway = ["gateway.app", str(path), "--runtime", str(self._directory), "--log-format", log_format]
        self._gateway = _Child("gateway", gateway)

    async def run(self) -> int:
        """Serve until a signal; return the exit code."""
        stop, force = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def on_signal() -> None:
            (force if stop.is_set() else stop).set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        children = [self._gateway, *self._workers.values()]
        tasks = [asyncio.create_task(child.keep_running()) for child in children]
        announcing = asyncio.create_task(self._keep_announced())
        try:
            self._port.start()
            # the gateway's keeper returns by itself only when another start would be in vain
            stopped = asyncio.create_task(stop.wait())
            await asyncio.wait([stopped, tasks[0]], return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_set():
                stopped.cancel()
                return self._gateway.exit_code
            _log.info("stopping: the gateway drains, then the workers stop; a second signal stops at once")
            stopping = asyncio.create_task(self._stop())
            forced = asyncio.create_task(force.wait())
            await asyncio.wait([stopping, forced], return_when=asyncio.FIRST_COMPLETED)
            forced.cancel()
            return 0 if stopping.done() else 1
        finally:
            dying = []
            for child, task in zip(children, tasks, strict=True):
                child.stopping = True
                if child.pid is not None:
                    os.kill(child.pid, signal.SIGKILL)
                    dying.append(task)
            if dying:
                # asyncio prints a traceback for every child whose end its loop has not seen
                await asyncio.wait(dying, timeout=_REAP_S)
            for task in (*tasks, announcing):
                task.cancel()
            await asyncio.gather(*tasks, announcing, return_exceptions=True)
            self._port.stop()
            shutil.rmtree(self._directory, ignore_errors=True)
            if self._announce is not None:
                self._announce.unlink(missing_ok=True)

    async def _stop(self) -> None:
        await self._gateway.stop(self._config.server.drain_s + WORKER_GRACE_S)
        await asyncio.gather(*(worker.stop(WORKER_GRACE_S) for worker in self._workers.values()))

    async def _ask_gateway(self) -> dict[str, Any]:
        """Ask the gateway process how it is; an empty answer means that it cannot tell."""
        try:
            async with asyncio.timeout(2.0):
                reader, writer = await asyncio.open_unix_connection(runtime.control_socket(self._directory))
                try:
                    answer: dict[str, Any] = json.loads(await reader.read())
                    return answer
                finally:
                    writer.close()
        except (OSError, ValueError, TimeoutError):
            return {}

    async def _status(self) -> ServerStatus:
        gateway = await self._ask_gateway()
        return ServerStatus(
            ready=bool(gateway.get("ready")),
            gateway_metrics=str(gateway.get("metrics", "")),
            restarts={c.name: c.restarts for c in (self._gateway, *self._workers.values())},
            running={c.name: c.pid is not None for c in (self._gateway, *self._workers.values())},
        )

    async def _keep_announced(self) -> None:
        """Tell when the server is ready for the first time, and from then on keep the announce file true."""
        announced: dict[str, Any] = {}
        while True:
            gateway = await self._ask_gateway()
            if gateway.get("ready") or announced:
                facts = {
                    "address": gateway.get("address", announced.get("address")),
                    "metrics": self._port.address,
                    "pid": os.getpid(),
                    "gateway_pid": self._gateway.pid,
                    "workers": [
                        {"model": instance.model, "instance": instance.number, "pid": worker.pid}
                        for instance, worker in self._workers.items()
                    ],
                }
                if not announced:
                    _log.info("ready", extra={"address": facts["address"], "metrics": facts["metrics"]})
                if self._announce is not None and facts != announced:
                    _write(self._announce, json.dumps(facts))
                announced = facts
                if self._announce is None:
                    return
            await asyncio.sleep(_POLL_S)


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text)
    part.replace(path)
