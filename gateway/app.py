"""The gateway process: builds everything from a configuration, serves, drains.

``python -m gateway.app CONFIG --runtime DIR`` is started by ``accord serve``; inside a program, use
:class:`Gateway`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import runtime
from gateway.check import prove
from gateway.config import Config, ConfigError, load
from gateway.edge.admission import Admission
from gateway.edge.ask import Asker
from gateway.edge.coalesce import Coalescer
from gateway.edge.listeners import Listeners
from gateway.engine.catalog import Catalog
from gateway.engine.engine import Engine
from gateway.members.endpoints import Endpoints
from gateway.members.loading import Loading
from gateway.members.oip import OipMember
from gateway.observe.metrics import Metrics
from gateway.observe.statistics import Ledger
from protos import logs
from workers.model import interface, repository
from workers.model.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.config.schema import Worker
    from protos.model import ModelSpec

__all__ = ["Gateway", "main"]

_log = logging.getLogger(__name__)


class Gateway:
    """Everything that one gateway process serves with.

    Args:
        config: The configuration.
        directory: The runtime directory, where local workers listen.
        log_format: The form of the log's lines, to be told to clients that ask.
    """

    def __init__(self, config: Config, directory: Path, *, log_format: str = "text") -> None:
        self._config = config
        self._metrics = Metrics()
        self._changed = asyncio.Event()
        self._members = _members(config, directory, self._changed.set)
        self._catalog = Catalog(config, self._members)
        self._coalescer = Coalescer(Engine(self._members))
        self._admission = Admission(
            max_in_flight=config.server.max_in_flight,
            max_request_bytes=config.server.max_request_bytes,
            max_bytes_in_flight=config.server.max_bytes_in_flight,
        )
        asker = Asker(
            catalog=self._catalog,
            admission=self._admission,
            coalescer=self._coalescer,
            metrics=self._metrics,
        )
        self._listeners = Listeners(
            config.server,
            asker,
            metrics=self._metrics,
            ledger=Ledger(),
            loadable={
                name: Loading(self._members[name])
                for name, model in config.models.items()
                if model.worker and model.worker.poll_s is None
            },
            log_format=log_format,
        )
        self._follower: asyncio.Task[None] | None = None
        self.address = ""

    async def start(self) -> None:
        """Listen and begin to watch the members.

        Raises:
            OSError: If the address cannot be bound.
        """
        self._log_problems()
        self.address, *admin = await self._listeners.start()
        _log.info("gateway listens", extra={"address": self.address, "admin": "".join(admin)})
        for member in self._members.values():
            member.start()
        self._follower = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Drain and close: new calls are refused, those in flight finish, then members are let go."""
        await self._listeners.stop(self._config.server.drain_s)
        await self._coalescer.drain()
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)
        for member in self._members.values():
            await member.close()

    def status(self) -> dict[str, object]:
        """Return address, readiness and metrics, for the parent process."""
        self._metrics.in_flight(self._admission.in_flight)
        for name, member in self._members.items():
            self._metrics.replicas_ready(name, member.replicas_ready)
        return {
            "address": self.address,
            "ready": self._catalog.server_ready() and not self._admission.draining,
            "metrics": self._metrics.exposition(),
        }

    async def _follow(self) -> None:
        """Keep plans and health up to date with the members."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                if self._catalog.refresh():
                    self._log_problems()
            except Exception:  # noqa: BLE001 - a plug-in's bug must not end the watch
                _log.exception("a plan could not be compiled; the former ones are served")
            self._listeners.show_health()

    def _log_problems(self) -> None:
        for problem in self._catalog.problems:
            seat = "" if problem.seat is None else f" member {problem.seat}"
            _log.error("ensemble %s%s: %s", problem.ensemble, seat, problem.message)


def _members(config: Config, directory: Path, on_change: Callable[[], None]) -> dict[str, OipMember]:
    lanes: dict[str, dict[str, Path]] = {}
    for instance in runtime.instances(runtime.read_layout(directory), directory):
        lanes.setdefault(instance.model, {})[instance.target] = instance.lane
    members = {}
    for name, model in config.models.items():
        if model.worker is not None:
            declared, labels = _read_files(name, model.worker)
            members[name] = OipMember(
                name=name,
                model=model.worker.model or name,
                version=model.worker.version,
                endpoints=Endpoints([*lanes[name]]),
                local=True,
                lanes=lanes[name],
                declared=declared,
                labels=labels,
                on_change=on_change,
            )
        elif model.oip is not None:
            members[name] = OipMember.remote(name, model.oip, on_change=on_change)
    return members


def _read_files(name: str, worker: Worker) -> tuple[ModelSpec | None, Mapping[str, tuple[str, ...]]]:
    """Return what a local model's files say of it without loading it, and its labels."""
    try:
        files = repository.find(worker.repository, worker.model or name, worker.version)
        return interface.declared(files), files.labels
    except ModelError as error:
        # the worker says the same and keeps trying; the gateway serves the others
        _log.error("model %s cannot be served: %s", name, error)
        return None, {}


def _load(path: Path) -> Config:
    """Read a configuration and refuse what the models' own files prove impossible, before any is loaded.

    Raises:
        ConfigError: With every complaint.
    """
    config, document = load(path, os.environ)
    workers = {name: model.worker for name, model in config.models.items()}
    declared = {name: _read_files(name, worker)[0] if worker else None for name, worker in workers.items()}
    complaints = prove(config, document, declared)
    if complaints:
        raise ConfigError(complaints)
    return config


async def _serve(config: Config, directory: Path, log_format: str) -> None:
    gateway = Gateway(config, directory, log_format=log_format)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(1)  # the second signal does not wait
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)

    async def tell(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(json.dumps(gateway.status()).encode())
        writer.close()

    await gateway.start()
    control = await asyncio.start_unix_server(tell, runtime.control_socket(directory))
    await stop.wait()
    await gateway.stop()
    control.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the gateway process; exit codes: 0 after a drain, 2 bad configuration, 4 cannot listen."""
    parser = argparse.ArgumentParser(prog="gateway.app", description=main.__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--runtime", type=Path, required=True, help="directory of the workers' sockets")
    parser.add_argument("--log-format", choices=("json", "text"), default="text")
    options = parser.parse_args(arguments)
    logs.configure(options.log_format)
    try:
        config = _load(options.config)
        asyncio.run(_serve(config, options.runtime, options.log_format))
    except ConfigError as error:
        _log.error("%s", error)
        return 2
    except OSError as error:
        _log.error("%s", error)
        return 4
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
