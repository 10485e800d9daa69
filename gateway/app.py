"""A gateway process: builds everything from a configuration, serves, drains.

``python -m gateway.app CONFIG --runtime DIR`` is started by ``accord serve``, once or several times; inside a
program, use :class:`Gateway`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import signal
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import control, runtime
from gateway.check import prove
from gateway.config import Config, ConfigError, load
from gateway.edge.admission import Admission
from gateway.edge.ask import Asker
from gateway.edge.coalesce import Coalescer
from gateway.edge.listeners import Listeners
from gateway.engine.catalog import Catalog
from gateway.engine.engine import Engine
from gateway.members.endpoints import Endpoints
from gateway.members.inprocess import InProcessMember
from gateway.members.loading import Loading
from gateway.members.oip import OipMember
from gateway.observe.metrics import Metrics
from gateway.observe.statistics import Ledger
from gateway.siblings import Siblings
from protos import logs, oip
from workers.model import interface, repository
from workers.model.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from gateway.config.schema import InProcess, Worker
    from gateway.edge.services.repository import Loadable
    from gateway.members.member import Backend
    from protos.model import ModelSpec

__all__ = ["Gateway", "main"]

_log = logging.getLogger(__name__)

#: How long another process may take to act on what was decided, in seconds.
ADOPT_S = 5.0


class Gateway:
    """Everything that one gateway process serves with.

    Args:
        config: The configuration.
        directory: The runtime directory, where local workers listen.
        log_format: The form of the log's lines, to be told to clients that ask.
        siblings: The gateway processes that serve the same; default: none.
    """

    def __init__(
        self, config: Config, directory: Path, *, log_format: str = "text", siblings: Siblings | None = None
    ) -> None:
        self._config = config
        self._directory = directory
        self._siblings = siblings or Siblings(directory)
        self._metrics = Metrics()
        self._ledger = Ledger()
        self._changed = asyncio.Event()
        self._members = _members(config, directory, self._changed.set)
        self._catalog = Catalog(config, self._members)
        self._coalescer = Coalescer(
            Engine(self._members),
            self._metrics,
            self._ledger,
            max_linger_s=config.server.max_linger_s,
            max_bytes=config.server.max_batch_bytes,
        )
        self._admission = Admission(
            max_in_flight=config.server.max_in_flight,
            max_request_bytes=config.server.max_request_bytes,
            max_bytes_in_flight=config.server.max_bytes_in_flight,
        )
        asker = Asker(
            catalog=self._catalog,
            admission=self._admission,
            coalescer=self._coalescer,
        )
        self._log = oip.LogService(log_format=log_format, on_change=self._publish)
        loadable = _loadable(config, self._members)
        #: What all processes ask, and another of them may have loaded.
        self._shared = [
            member
            for name, member in self._members.items()
            if name in loadable and isinstance(member, OipMember)
        ]
        self._listeners = Listeners(
            config.server,
            asker,
            metrics=self._metrics,
            ledger=self._ledger,
            loadable=loadable,
            log=self._log,
            siblings=self._siblings,
            publish=self._publish,
        )
        self._follower: asyncio.Task[None] | None = None
        self.address = ""

    async def start(self) -> None:
        """Listen and begin to watch the members.

        Raises:
            OSError: If the address cannot be bound.
        """
        self._log_problems()
        self._adopt()
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

    def answers(self) -> Mapping[str, Callable[[], Awaitable[bytes]]]:
        """Return what the parent and the siblings may ask, by word."""
        return {
            "status": self._tell_status,
            "metrics": self._tell_metrics,
            "statistics": self._tell_statistics,
            "adopt": self._tell_adopted,
        }

    async def _tell_status(self) -> bytes:
        ready = self._catalog.server_ready() and not self._admission.draining
        return json.dumps({"address": self.address, "ready": ready}).encode()

    async def _tell_metrics(self) -> bytes:
        self._metrics.in_flight(self._admission.in_flight)
        for name, member in self._members.items():
            self._metrics.replicas_ready(name, member.replicas_ready)
        return json.dumps({"pid": os.getpid(), "exposition": self._metrics.exposition()}).encode()

    async def _tell_statistics(self) -> bytes:
        response = oip.statistics_response(self._ledger.entries())
        return bytes(response.SerializeToString())

    async def _tell_adopted(self) -> bytes:
        self._adopt()
        # what was loaded there serves here only when it is known here
        await asyncio.gather(*(member.refresh() for member in self._shared))
        self._compile()
        self._listeners.show_health()
        return b""

    async def _publish(self) -> None:
        """Let what was decided here hold in every process, those to come included."""
        config = self._config
        out = tuple(name for name in (*config.ensembles, *config.models) if self._catalog.is_out(name))
        # first for those that start, then for those that run: none can miss both
        runtime.write_decisions(runtime.Decisions(out=out, log=asdict(self._log.settings)), self._directory)
        await self._siblings.ask("adopt", within_s=ADOPT_S)

    def _adopt(self) -> None:
        """Take over what was decided."""
        decisions = runtime.read_decisions(self._directory)
        for name in (*self._config.ensembles, *self._config.models):
            (self._catalog.take_out if name in decisions.out else self._catalog.take_in)(name)
        if decisions.log:
            self._log.adopt(oip.LogSettings(**decisions.log))
        self._listeners.show_health()

    async def _follow(self) -> None:
        """Keep plans and health up to date with the members."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            self._compile()
            self._listeners.show_health()

    def _compile(self) -> None:
        try:
            if self._catalog.refresh():
                self._log_problems()
        except Exception:  # noqa: BLE001 - a plug-in's bug must not end the watch
            _log.exception("a plan could not be compiled; the former ones are served")

    def _log_problems(self) -> None:
        for problem in self._catalog.problems:
            seat = "" if problem.seat is None else f" member {problem.seat}"
            _log.error("ensemble %s%s: %s", problem.ensemble, seat, problem.message)


def _members(config: Config, directory: Path, on_change: Callable[[], None]) -> dict[str, Backend]:
    lanes: dict[str, dict[str, Path]] = {}
    for instance in runtime.instances(runtime.read_layout(directory), directory):
        lanes.setdefault(instance.model, {})[instance.target] = instance.lane
    members: dict[str, Backend] = {}
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
        elif model.inprocess is not None:
            members[name] = InProcessMember(
                name=name,
                backend=model.inprocess,
                declared=_read_files(name, model.inprocess)[0],
                on_change=on_change,
            )
        elif model.oip is not None:
            members[name] = OipMember.remote(name, model.oip, on_change=on_change)
    return members


def _loadable(config: Config, members: Mapping[str, Backend]) -> dict[str, Loadable]:
    """Return the models that may be loaded and unloaded: all of ours but those that follow their files.

    Nor those in process where there are several: each process has its own, and a call reaches one.
    """
    found: dict[str, Loadable] = {}
    for name, member in members.items():
        worker = config.models[name].worker
        if isinstance(member, InProcessMember) and config.server.processes == 1:
            found[name] = member
        elif isinstance(member, OipMember) and worker is not None and worker.poll_s is None:
            found[name] = Loading(member)
    return found


def _read_files(
    name: str, local: Worker | InProcess
) -> tuple[ModelSpec | None, Mapping[str, tuple[str, ...]]]:
    """Return what a local model's files say of it without loading it, and its labels."""
    try:
        files = repository.find(local.repository, local.model or name, local.version)
        return interface.declared(files), files.labels
    except ModelError as error:
        # whoever hosts it says the same and keeps trying; the gateway serves the others
        _log.error("model %s cannot be served: %s", name, error)
        return None, {}


def _load(path: Path, directory: Path) -> Config:
    """Read a configuration and refuse what the models' own files prove impossible, before any is loaded.

    Raises:
        ConfigError: With every complaint.
    """
    config, document = load(path, os.environ, copy=runtime.config_copy(directory))
    locals_ = {name: model.local for name, model in config.models.items()}
    declared = {name: _read_files(name, local)[0] if local else None for name, local in locals_.items()}
    complaints = prove(config, document, declared)
    if complaints:
        raise ConfigError(complaints)
    return config


async def _serve(config: Config, siblings: Siblings, log_format: str) -> None:
    gateway = Gateway(config, siblings.directory, log_format=log_format, siblings=siblings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(1)  # the second signal does not wait
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)

    # before it starts: a decision that comes too late to be read then can be told
    asked = await control.listen(siblings.socket, gateway.answers())
    await gateway.start()
    # what lives as long as the process is not looked at again by every collection of garbage
    gc.freeze()
    await stop.wait()
    await gateway.stop()
    asked.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the gateway process; exit codes: 0 after a drain, 2 bad configuration, 4 cannot listen."""
    parser = argparse.ArgumentParser(prog="gateway.app", description=main.__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--runtime", type=Path, required=True, help="directory of the workers' sockets")
    parser.add_argument("--log-format", choices=("json", "text"), default="text")
    parser.add_argument("--address", help="where to listen, if not where the configuration says")
    parser.add_argument("--number", type=int, default=0, help="which of the gateway processes this is")
    parser.add_argument("--total", type=int, default=1, help="how many share the address")
    options = parser.parse_args(arguments)
    logs.configure(options.log_format)
    try:
        config = _load(options.config, options.runtime)
        if options.address:
            server = config.server.model_copy(update={"address": options.address})
            config = config.model_copy(update={"server": server})
        siblings = Siblings(options.runtime, options.number, options.total)
        asyncio.run(_serve(config, siblings, options.log_format))
    except ConfigError as error:
        _log.error("%s", error)
        return 2
    except OSError as error:
        _log.error("%s", error)
        return 4
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
