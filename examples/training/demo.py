"""``make train-demo``: from raw sentences to a served ensemble, and the proof that it answers as trained.

Trains one model of three tasks, makes it smaller (eight bits, students), exports all into a model repository,
serves them as the members of an ensemble ``polarity``, sends the test rows through gRPC, and holds every
member's figures against those that were measured when it was made. A difference ends it with exit code 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from accord.client import CallError, Client
from accord.commands.progress import Shown
from examples import ExampleError
from examples.demo.asking import ask_all
from examples.demo.server import serve
from protos.document import ConfigError
from training import loop
from training.compress.opened import open_run
from training.compress.variant import VARIANTS, Variant, read
from training.compress.variants import compress
from training.config import load
from training.data import Kind, Part, Texts
from training.data.load import load as load_data
from training.errors import TrainingError
from training.evaluate.metrics import main_metric, measure
from training.export.interface import scores_of
from training.export.run import export_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from training.compress.opened import Opened

CONFIG = Path(__file__).parent / "reviews.yaml"
ENSEMBLE = "polarity"
#: Rows of one call.
BATCH = 32
#: Characters of a line, where there is no terminal that has a width.
WIDTH = 140
#: How far a served figure may be from the trained one: a row or two in which classes tie.
FIGURES = 1e-3

_LINES = """server: {{address: "127.0.0.1:8001", metrics: "127.0.0.1:8002"}}
models:
{models}
ensembles:
  {ensemble}:
    version: "1"
    strategy: {{kind: soft_vote, output: {ensemble}.probabilities}}
    deadline_s: 60.0
    members: [{members}]
"""


@dataclass(frozen=True, slots=True)
class Member:
    """A served variant.

    Args:
        name: The model's name.
        variant: What was measured when it was made.
    """

    name: str
    variant: Variant


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m examples.training.demo", description=__doc__)
    parser.add_argument("--config", type=Path, default=CONFIG, help="the training (%(default)s)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("build/train-demo"),
        help="logs and the served configuration (%(default)s)",
    )
    options = parser.parse_args(arguments)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    try:
        return _run(options.config, options.out, console)
    except (ConfigError, TrainingError, ExampleError, CallError, OSError) as error:
        console.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
        return 1
    except (KeyboardInterrupt, loop.Stopped):
        console.print("stopped; the next call goes on behind what is done")
        return 130


def _run(file: Path, out: Path, console: Console) -> int:
    config, _ = load(file)
    if config.export is None:
        raise ExampleError(f"{file} has no section export: say where the models go")
    with _timed(console, "data"):
        dataset = load_data(config)
    with _timed(console, "trained"), Shown(console) as shown:
        loop.train(config, dataset, config.out, resume=True, measure=measure, report=shown.report)
    run, *more = open_run(config.out, config)
    if more:
        raise ExampleError(f"{file} trains a model for each task, and one is served here: say mode: joint")
    with _timed(console, "compressed"), Shown(console) as shown:
        compress(run.config, run.dataset, run.model, run.folder, tell=shown.tell, report=shown.report)
    with _timed(console, "exported"):
        written = dict(export_all(run))
    members = [Member(path.parent.name, read(run.folder, variant)) for variant, path in written.items()]
    out.mkdir(parents=True, exist_ok=True)
    served = out / "served.yaml"
    served.write_text(_served(config.export.repository.resolve(), [member.name for member in members]))
    with serve(served, out) as server, Client(server.address, timeout_s=60.0) as client:
        console.print(f"accord serve {served}: ready after {server.started_s:.1f} s")
        with _timed(console, "asked"):
            agrees = _compared(client, run, members, console)
    console.print(
        "served as trained" if agrees else "[red]served figures differ from those of the training[/]"
    )
    return 0 if agrees else 1


def _served(repository: Path, names: Sequence[str]) -> str:
    models = "\n".join(f"  {name}: {{worker: {{repository: {repository}, threads: 1}}}}" for name in names)
    members = ", ".join(f"{{model: {name}}}" for name in names)
    return _LINES.format(models=models, members=members, ensemble=ENSEMBLE)


def _compared(client: Client, run: Opened, members: Sequence[Member], console: Console) -> bool:
    """Ask the ensemble and each member for the test rows; tell whether all figures are as they were."""
    dataset, rows = run.dataset, run.dataset.rows(Part.TEST)
    assert isinstance(dataset.inputs, Texts)  # noqa: S101 - open_run read what was served
    texts = np.array([[dataset.inputs.texts[row].encode()] for row in rows.tolist()], object)
    together = ask_all(client, ENSEMBLE, {"text": texts}, batch=BATCH)
    metrics = {task: main_metric(labels.kind) for task, labels in dataset.labels.items()}
    table = Table(
        "model",
        "MB",
        "ms a row",
        *(f"{task}, {metric}" for task, metric in metrics.items()),
        "largest difference",
    )
    agrees = True
    for member in members:
        answers = ask_all(client, member.name, {"text": texts}, batch=BATCH).outputs
        own = dict(together.members[member.name])
        inside = f"{ENSEMBLE}.probabilities"
        # what the ensemble was told by its member is what the member says by itself
        agrees &= bool(np.allclose(own[inside], answers[inside], rtol=0, atol=1e-5))
        scores = scores_of(answers, member.variant.heads)
        cells = []
        for task, metric in metrics.items():
            trained = member.variant.facts["metrics"]["test"][task][metric]
            served = measure(scores[task], dataset.labels[task].take(rows))[metric]
            agrees &= abs(trained - served) <= FIGURES
            cells.append(f"{trained:.4f} trained\n{served:.4f} served")
        facts = member.variant.facts
        apart = _apart(run, member.variant, scores, len(rows))
        table.add_row(
            member.name, f"{facts['bytes'] / 1e6:.1f}", f"{facts['ms_8']:.3f}", *cells, f"{apart:.1g}"
        )
    merged = np.log(np.clip(together.outputs[f"{ENSEMBLE}.probabilities"].astype(np.float64), 1e-12, 1))
    accuracy = measure(merged, dataset.labels[ENSEMBLE].take(rows))["accuracy"]
    blank = [""] * (len(metrics) - 1)
    table.add_row(f"ensemble {ENSEMBLE}", "", "", f"{accuracy:.4f} served", *blank, "")
    console.print(table)
    return agrees


def _apart(run: Opened, variant: Variant, scores: Mapping[str, Any], count: int) -> float:
    """Return how far any probability or number is from what was kept when the variant was made."""
    worst = 0.0
    with np.load(run.folder / VARIANTS / variant.name / "predictions.npz") as kept:
        for head in variant.heads:
            then, now = kept[head.task][-count:], scores[head.task]
            if head.kind is Kind.CLASSIFY:
                then, now = np.exp(then), np.exp(now)
            worst = max(worst, float(np.abs(then - now).max()))
    return worst


@contextmanager
def _timed(console: Console, what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    console.print(f"{what} in {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    sys.exit(main())
