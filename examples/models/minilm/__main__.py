"""Makes MiniLM as text models: ``minilm`` in fp32 from its weights, ``minilm-int8`` with int8 weights."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

from rich.console import Console

from examples import ExampleError
from examples.models.minilm.export import MODELS, made_by, make
from examples.models.repository import is_current
from training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Make what is not up to date and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m examples.models.minilm", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("build/models"), help="model repository (%(default)s)"
    )
    parser.add_argument(
        "--downloads",
        type=Path,
        default=Path("build/downloads"),
        help="archives from the registry (%(default)s)",
    )
    parser.add_argument("--force", action="store_true", help="make again what is up to date")
    options = parser.parse_args(arguments)
    console = Console(stderr=True, highlight=False)
    started = time.perf_counter()
    stale = [name for name in MODELS if options.force or not is_current(options.out, name, made_by())]
    try:
        for name in stale:
            with console.status(f"{name}: 80 MB of weights are fetched the first time"):
                make(name, options.out, options.downloads)
    except (ExampleError, TrainingError, OSError, BadZipFile, KeyError) as error:
        console.print(f"[red]error:[/] {error}", soft_wrap=True)
        return 1
    kept, elapsed_s = len(MODELS) - len(stale), time.perf_counter() - started
    console.print(f"{len(stale)} models made, {kept} up to date, in {elapsed_s:.1f} s: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
