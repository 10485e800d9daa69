"""The parent process: starts workers and gateways, restarts what dies, owns the metrics port.

Rules:

- It imports no gRPC and no model runtime, so that nothing a model or a client does can hang or kill it.
- Every child is tethered (``gateway.tether``): none outlives the parent, however that one dies.
- First signal: the gateways drain, then the workers stop. Second signal: everything stops at once.
- A single gateway process listens where the configuration says. Several share a port that the parent holds.
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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway import control, runtime
from gateway.child import Child
from gateway.observe.merge import Totals
from gateway.observe.port import MetricsPort, ServerStatus
from gateway.reserve import reserve
from protos.address import Address
from workers.model.runtime.devices import available_gpus
from workers.model.runtime.threads import available_cpus

if TYPE_CHECKING:
    from gateway.config.schema import Config, Worker
    from gateway.observe.merge import Counted

__all__ = ["Supervisor", "find_layout", "worker_arguments"]

_log = logging.getLogger(__name__)

#: How long a stopped worker may take to end by itself, in seconds.
WORKER_GRACE_S = 5.0
_POLL_S = 0.2
_REAP_S = 2.0
#: How long a gateway process may take to tell how it is.
_TELL_S = 2.0


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


def _threads(config: Config, layout: runtime.Layout) -> list[int | None]:
    """Return the threads of each worker process, as far as the configuration says."""
    workers = [(config.models[name].worker, devices) for name, devices in layout.items()]
    return [worker.threads for worker, devices in workers if worker is not None for _ in devices]


class Supervisor:
    """Runs one server: its workers, its gateway processes and the metrics port.

    Args:
        config: The configuration.
        path: The file it came from.
        log_format: ``json`` or ``text``.
        announce: File that is kept up to date with addresses and process ids; None = none.

    Raises:
        OSError: If an address is in use.
    """

    def __init__(self, config: Config, path: Path, *, log_format: str, announce: Path | None = None) -> None:
        self._config = config
        self._announce = announce
        self._port = MetricsPort(config.server.metrics, ready=self._ready, status=self._status)
        layout = find_layout(config, path)
        wanted, cpus = config.server.processes, available_cpus()
        total = runtime.gateway_processes(wanted, cpus, _threads(config, layout))
        if wanted == "auto":
            _log.info("processes: auto is %d of %.1f CPUs", total, cpus)
        self._reservation = reserve(Address.parse(config.server.address)) if total > 1 else None
        self._directory = Path(tempfile.mkdtemp(prefix="accord-"))  # mode 0700
        runtime.write_layout(layout, self._directory)
        # a gateway that is started again must not serve anything else than those beside it
        shutil.copyfile(path, runtime.config_copy(self._directory))
        found = runtime.instances(layout, self._directory)
        self._workers = {
            instance: Child(instance.name, worker_arguments(config, instance, len(found), log_format))
            for instance in found
        }
        gateway = ["gateway.app", str(path), "--runtime", str(self._directory), "--log-format", log_format]
        if self._reservation is not None:
            gateway += ["--address", self._reservation.address.text, "--total", str(total)]
        self._gateways = [
            Child(runtime.gateway_name(i, total), [*gateway, "--number", str(i)], replaceable=total > 1)
            for i in range(total)
        ]
        self._totals = Totals()

    async def run(self) -> int:
        """Serve until a signal; return the exit code."""
        stop, force = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def on_signal() -> None:
            (force if stop.is_set() else stop).set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        children = [*self._gateways, *self._workers.values()]
        tasks = [asyncio.create_task(child.keep_running()) for child in children]
        announcing = asyncio.create_task(self._keep_announced())
        try:
            self._port.start()
            # a gateway's keeper returns by itself only when another start would be in vain
            stopped, keepers = asyncio.create_task(stop.wait()), tasks[: len(self._gateways)]
            await asyncio.wait([stopped, *keepers], return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_set():
                stopped.cancel()
                ended = [keeper.done() for keeper in keepers].index(True)
                return self._gateways[ended].exit_code
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
            if self._reservation is not None:
                self._reservation.close()
            shutil.rmtree(self._directory, ignore_errors=True)
            if self._announce is not None:
                self._announce.unlink(missing_ok=True)

    async def _stop(self) -> None:
        # all at once: whoever drained later would still be sent new connections
        drain_s = self._config.server.drain_s + WORKER_GRACE_S
        await asyncio.gather(*(gateway.stop(drain_s) for gateway in self._gateways))
        await asyncio.gather(*(worker.stop(WORKER_GRACE_S) for worker in self._workers.values()))

    async def _ask(self, number: int, word: str) -> dict[str, Any]:
        """Ask a gateway process; an empty answer means that it cannot tell."""
        path = runtime.control_socket(self._directory, number)
        answer: dict[str, Any] = json.loads(await control.ask(path, word, within_s=_TELL_S) or "{}")
        return answer

    async def _ask_first_ready(self) -> dict[str, Any]:
        """Return the first answer of a gateway process that is ready; when one is, the server is."""
        asking = [asyncio.create_task(self._ask(i, "status")) for i in range(len(self._gateways))]
        try:
            for next_answer in asyncio.as_completed(asking):
                answer = await next_answer
                if answer.get("ready"):
                    return answer
            return {}
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)

    async def _ready(self) -> bool:
        return bool(await self._ask_first_ready())

    async def _status(self) -> ServerStatus:
        counting = asyncio.gather(*(self._counted(number) for number in range(len(self._gateways))))
        ready, counted = await asyncio.gather(self._ready(), counting)
        children = [*self._gateways, *self._workers.values()]
        return ServerStatus(
            ready=ready,
            counted=dict(zip((gateway.name for gateway in self._gateways), counted, strict=True)),
            restarts={child.name: child.restarts for child in children},
            running={child.name: child.pid is not None for child in children},
        )

    async def _counted(self, number: int) -> Counted:
        answer = await self._ask(number, "metrics")
        said = (answer["pid"], answer["exposition"]) if answer else None
        # taken in as it comes, not when all are there: what comes later is newer
        return self._totals.counted(self._gateways[number].name, said)

    async def _keep_announced(self) -> None:
        """Tell when the server is ready for the first time, and from then on keep the announce file true."""
        announced: dict[str, Any] = {}
        while True:
            gateway = await self._ask_first_ready()
            if gateway or announced:
                facts = {
                    "address": gateway.get("address", announced.get("address")),
                    "metrics": self._port.address,
                    "pid": os.getpid(),
                    "gateway_pid": self._gateways[0].pid,
                    "gateway_pids": [gateway.pid for gateway in self._gateways],
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
