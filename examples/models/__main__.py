"""Trains and exports the example models; what is up to date stays as it is."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from examples import ExampleError
from examples.models import heldout
from examples.models.repository import CARD_FILE, is_current, stamp, write_model
from training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The models of each family: known without importing what trains them, so that nothing to do takes no time.
FAMILIES = {
    "digits": ("digits-linear", "digits-svm", "digits-forest", "digits-boosting", "digits-mlp"),
    "reviews": (
        *("polarity-words", "polarity-chars", "polarity-bayes", "polarity-lexicon"),
        *("intensity", "domain"),
    ),
    "sentiment": ("sentiment-linear", "sentiment-mlp"),
    "stacking": ("sentiment-meta",),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the models that the command line asks for and return the exit status."""
    options = _options(arguments)
    console = Console(stderr=True)
    families = options.family or list(FAMILIES)
    started = time.perf_counter()
    try:
        made = [name for family in families for name in _make(family, options, console)]
    except (ExampleError, TrainingError, OSError) as error:
        console.print(f"[red]error:[/] {error}", highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; finished models stay")
        return 130
    elapsed_s = time.perf_counter() - started
    names = [name for family in families for name in FAMILIES[family]]
    if options.json:
        cards = {name: json.loads((options.out / name / CARD_FILE).read_bytes()) for name in names}
        report = {"out": str(options.out), "made": made, "elapsed_s": round(elapsed_s, 3), "models": cards}
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        kept = len(names) - len(made)
        console.print(
            f"{len(made)} models made, {kept} up to date, in {elapsed_s:.1f} s: {options.out}",
            highlight=False,
        )
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.models", description=__doc__)
    parser.add_argument("family", nargs="*", help=f"which to make: {', '.join(FAMILIES)}; default: all")
    parser.add_argument(
        "--out", type=Path, default=Path("build/models"), help="model repository (%(default)s)"
    )
    parser.add_argument("--data", type=Path, default=Path("build/data"), help="held-out rows (%(default)s)")
    parser.add_argument(
        "--downloads",
        type=Path,
        default=Path("build/downloads"),
        help="archives from the registry (%(default)s)",
    )
    parser.add_argument("--force", action="store_true", help="make again what is up to date")
    parser.add_argument("--json", action="store_true", help="print the models' cards as JSON")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.family if name not in FAMILIES]
    if unknown:
        parser.error(f"unknown family {unknown[0]!r}; choose from {', '.join(FAMILIES)}")
    return options


def _make(name: str, options: argparse.Namespace, console: Console) -> list[str]:
    """Make what is not up to date of one family and return the models made."""
    rows = options.data / f"{name}.npz"
    stale = [model for model in FAMILIES[name] if options.force or not is_current(options.out, model)]
    if not stale and heldout.stamp_of(rows) == stamp():
        return []
    columns = (TextColumn("{task.fields[family]:9}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.description}"), console=console) as progress:
        bar = progress.add_task("loading the data", total=len(stale) + 1, family=name)
        trainer: Any = importlib.import_module(f"examples.models.{name}")
        from examples.models.family import make  # noqa: PLC0415 - imports scikit-learn: only where something is made

        family = trainer.load(options.downloads, options.out)
        heldout.save(rows, stamp(), family.data.held_out)
        progress.advance(bar)
        for recipe in family.recipes:
            if recipe.name in stale:
                progress.update(bar, description=recipe.name)
                write_model(options.out, make(family, recipe))
                progress.advance(bar)
        progress.update(bar, description="done")
    return stale


if __name__ == "__main__":
    sys.exit(main())
