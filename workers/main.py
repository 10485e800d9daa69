"""The worker process: load one model, warm it up, listen, drain on a signal.

``python -m workers.main --repository models --model digits --address 127.0.0.1:0``

The order matters. Nothing listens before the model is warm: a refused connection means "not yet". Then the
bound address is the one line on standard output; logs go to standard error. The first SIGTERM or SIGINT
drains, the second ends the process at once.

Exit codes: 0 after a drain, 2 wrong usage, 3 the model cannot be served, 4 the address cannot be bound.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from protos import logs
from protos.address import Address, AddressError
from protos.oip import REPOSITORY_EXTENSIONS, LogService
from workers.control import Control
from workers.hosting import host
from workers.lane import Lane
from workers.model.errors import ModelError
from workers.model.runtime.instances import Placement, PlacementError
from workers.model.runtime.providers import AUTO, PROVIDERS
from workers.model.runtime.threads import ThreadsError, available_cpus, intra_op_threads
from workers.service import Service
from workers.servicer import Server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workers.lifecycle import Lifecycle


__all__ = ["main"]

_log = logging.getLogger("workers")

EXIT_MODEL = 3
EXIT_ADDRESS = 4


def main(argv: Sequence[str] | None = None) -> int:
    """Run a worker until it is told to stop; return the process's exit code."""
    args = _parser().parse_args(argv)
    logs.configure(args.log_format)
    try:
        asyncio.run(_serve(args))
    except ModelError:
        return EXIT_MODEL
    except AddressError as error:
        _log.error("cannot listen", extra={"cause": str(error)})
        return EXIT_ADDRESS
    return 0


async def _serve(args: argparse.Namespace) -> None:
    model = host(
        args.repository,
        args.model,
        args.version,
        wanted=args.providers,
        threads=args.threads,
        placement=args.device,
        require_digests=args.require_digests,
        max_queued=args.max_queued,
    )
    try:
        await model.refresh()
    except ModelError:
        if not model.ready:
            raise
    stopping = _on_first_signal()
    control = Control(model) if args.control == "explicit" else None
    service = Service(model, extensions=REPOSITORY_EXTENSIONS if control else ())
    server = Server(service, LogService(log_format=args.log_format), control, model.name, args.address)
    # the lane first: who finds the worker ready over gRPC then finds it too
    lane = Lane(service, args.lane) if args.lane else None
    await server.start()
    model.watch(lambda: server.show_health(ready=model.ready))
    facts = {"model": model.name, "versions": model.versions, "address": server.address.text}
    _log.info("serving", extra=facts)
    if not args.address.is_local:
        _log.warning("reachable from other hosts, without encryption or authentication", extra=facts)
    sys.stdout.write(f"{server.address.text}\n")
    sys.stdout.flush()
    polling = asyncio.create_task(_poll(model, args.poll_s)) if args.control == "poll" else None
    await stopping.wait()
    if polling is not None:
        polling.cancel()
    _log.info("draining", extra={"drain_s": args.drain_s})
    await asyncio.gather(server.stop(args.drain_s), *([lane.stop(args.drain_s)] if lane else []))
    _log.info("stopped")


async def _poll(model: Lifecycle, every_s: float) -> None:
    """Look again and again what the repository holds."""
    while True:
        await asyncio.sleep(every_s)
        try:
            with suppress(ModelError):  # it is in the log, and what was served is served on
                await model.refresh()
        except Exception:  # noqa: BLE001 - the watch must outlive any surprise
            _log.exception("looking for changed files failed")


def _on_first_signal() -> asyncio.Event:
    """Return an event that the first SIGTERM or SIGINT sets; the second then has its default effect."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)

    def first() -> None:
        event.set()
        for number in signals:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in signals:
        loop.add_signal_handler(number, first)
    return event


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="accord worker", description="Serve one ONNX model over gRPC.")
    parser.add_argument("--repository", type=Path, required=True, help="model repository (Triton's layout)")
    parser.add_argument("--model", required=True, help="name of the model to serve")
    parser.add_argument(
        "--version",
        default="",
        help="version to serve (default: those that version_policy allows, else the highest)",
    )
    parser.add_argument(
        "--address", type=_address, default="127.0.0.1:0", help="host:port (port 0: any) or unix:PATH"
    )
    parser.add_argument(
        "--lane",
        type=_socket,
        default=None,
        help="path of a socket for a gateway on this host (default: none)",
    )
    parser.add_argument(
        "--providers",
        type=_providers,
        default=AUTO,
        help="execution providers in order of preference (default: as config.pbtxt says, else cuda,cpu)",
    )
    parser.add_argument(
        "--device", type=_placement, default=None, help="cpu or gpu:N (default: as instance_group says)"
    )
    parser.add_argument("--require-digests", action="store_true", help="refuse a version without SHA256SUMS")
    parser.add_argument(
        "--threads",
        type=_threads,
        default="auto",
        help="auto: all CPUs of this process; auto/K: one of K workers that share them; or a number",
    )
    parser.add_argument(
        "--control",
        choices=["none", "poll", "explicit"],
        default="none",
        help="when it is loaded again: never, when its files change, or when a call asks (default: none)",
    )
    parser.add_argument(
        "--poll-s", type=_period, default=15.0, help="how often to look for changed files (default: 15)"
    )
    parser.add_argument(
        "--max-queued", type=_at_least_zero, default=128, help="requests that may wait (default: 128)"
    )
    parser.add_argument(
        "--drain-s",
        type=_seconds,
        default=30.0,
        help="longest time to finish requests at shutdown (default: 30)",
    )
    parser.add_argument("--log-format", choices=["text", "json"], default="text")
    return parser


def _address(text: str) -> Address:
    try:
        return Address.parse(text)
    except AddressError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _socket(text: str) -> Path:
    path = _address(f"unix:{text}").socket_path
    assert path is not None  # noqa: S101 - it is one, by its prefix
    return path


def _providers(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in PROVIDERS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is unknown; use some of {', '.join(PROVIDERS)}")
    return names


def _placement(text: str) -> Placement:
    try:
        return Placement.parse(text)
    except PlacementError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _threads(text: str) -> str:
    try:
        intra_op_threads(text, available_cpus())
    except ThreadsError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 up")
    return value


def _period(text: str) -> float:
    value = _seconds(text)
    if value < 0.1:
        raise argparse.ArgumentTypeError(f"{text!r} is too short; use 0.1 or more")
    return value


def _at_least_zero(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 up")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
