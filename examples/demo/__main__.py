"""Serves the example models, asks them over gRPC, breaks one, and shows what came of it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from accord.client import CallError, Client
from examples import ExampleError
from examples.demo.plot import save_plot
from examples.demo.promises import promises
from examples.demo.server import serve
from examples.demo.show import as_json, show
from examples.demo.studies import Studies, study_digits, study_reviews, study_sentiment

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIGS = Path(__file__).parents[1]
#: Where the configs look for models, and where ``examples.models`` puts the rows it held out.
MODELS, DATA = CONFIGS.parent / "build" / "models", CONFIGS.parent / "build" / "data"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration; return 0 only if every promise was kept."""
    options = _options(arguments)
    console = Console(stderr=options.json)
    started = time.perf_counter()
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        studies = _study(options, console)
    except (ExampleError, CallError, OSError) as error:
        console.print("[bold red]error:[/]", str(error), markup=True, highlight=False, soft_wrap=True)
        return 1
    kept = promises(studies)
    elapsed_s = time.perf_counter() - started
    report = {**as_json(studies, kept), "elapsed_s": round(elapsed_s, 1)}
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    (options.out / "report.json").write_text(text, "utf-8")
    compared = [study.comparison for study in (studies.digits, studies.reviews, studies.sentiment)]
    save_plot(options.out / "accuracy.png", compared)
    if options.json:
        sys.stdout.write(text)
    else:
        show(console, studies, kept)
        console.print(f"{elapsed_s:.0f} s; report and plot are in {options.out}", highlight=False)
    return 0 if all(promise.kept for promise in kept) else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("build/demo"), help="report, plot and logs (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser.parse_args(arguments)


def _study(options: argparse.Namespace, console: Console) -> Studies:
    with console.status("") as status:
        status.update("starting five digit models and a gateway")
        with serve(CONFIGS / "digits.yaml", options.out) as server, Client(server.address) as client:
            console.print(f"digits served in {server.started_s:.1f} s", highlight=False)
            status.update("asking for held-out digits, then killing a worker under load")
            digits = study_digits(client, server, MODELS, DATA)
        status.update("starting six text models and a gateway")
        with serve(CONFIGS / "reviews.yaml", options.out) as server, Client(server.address) as client:
            console.print(f"reviews served in {server.started_s:.1f} s", highlight=False)
            status.update("asking for held-out sentences, three tasks in each call")
            reviews = study_reviews(client, MODELS, DATA)
        status.update("starting a sentence encoder, four models that read it or each other, and a gateway")
        example = CONFIGS / "sentiment.yaml"
        with serve(example, options.out) as server, Client(server.address) as client:
            console.print(f"sentiment served in {server.started_s:.1f} s", highlight=False)
            status.update("asking for held-out sentences through a graph, then checking wrong graphs")
            sentiment = study_sentiment(client, example, MODELS, DATA, options.out)
    return Studies(digits, reviews, sentiment)


if __name__ == "__main__":
    sys.exit(main())
