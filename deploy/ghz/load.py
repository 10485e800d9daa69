"""Loads a server with ghz and demands that every call succeeds: ``python -m deploy.ghz.load``.

Run it from the repository root, after ``make models``; ``make load`` does both. It starts the demo server on free
ports, or takes a running one by ``--address``, runs each ``deploy/ghz/*.json`` and leaves ghz's reports and
``summary.json`` in ``build/load/``.

Exit codes: 0 every planned call was made and is OK; 1 a call failed, or the server did; 2 wrong usage or no models;
3 ghz is missing and cannot be built; 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from deploy.ghz import report, tool
from deploy.ghz.loss import Loss, NoVictim, lose_one
from deploy.ghz.payload import ENSEMBLE, write_payload
from deploy.ghz.result import Run, summarise
from deploy.ghz.server import Server, ServerFailed, serving

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

CONFIGS = Path("deploy/ghz")
FOLDER = Path("build/load")
DATA = Path("build/data/digits.npz")

EXIT_FAILED, EXIT_USAGE, EXIT_NO_GHZ, EXIT_INTERRUPTED = 1, 2, 3, 130

#: The run in which ``--kill`` strikes: the one at a steady rate, so that the loss falls into the middle of it.
STRUCK = "steady"
#: The worker is killed after this share of its calls.
_STRIKE_AT = 0.2
_RUN_WITHIN_S = 300.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the load test that the command line asks for and return the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    configs = options.config or sorted(CONFIGS.glob("*.json"))
    plans = {path: json.loads(path.read_bytes()) for path in configs}
    if options.kill and options.address:
        parser.error("--kill needs a server that is started here; leave out --address")
    if options.kill and STRUCK not in {plan["name"] for plan in plans.values()}:
        parser.error(f"--kill strikes in the run {STRUCK!r}, which is not among the configurations")
    console = Console(stderr=True)
    try:
        write_payload(FOLDER, DATA)
        if not tool.is_pinned(tool.GHZ):
            with console.status(f"building ghz {tool.VERSION} with Go, about a minute"):
                tool.build()
        with _server(options) as server:
            address = options.address or server.address
            return _load(plans, server if options.kill else None, address, options, console)
    except OSError as error:
        console.print(f"[red]error:[/] {error}; run this from the repository root, after: make models", **_PLAIN)
        return EXIT_USAGE
    except tool.GhzMissing as error:
        console.print(f"[red]error:[/] {error}", **_PLAIN)
        return EXIT_NO_GHZ
    except (ServerFailed, tool.GhzFailed, NoVictim) as error:
        console.print(f"[red]error:[/] {error}", **_PLAIN)
        return EXIT_FAILED
    except KeyboardInterrupt:
        console.print("interrupted")
        return EXIT_INTERRUPTED
