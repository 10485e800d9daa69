"""Measures what training is held to: ``python -m bench.training``, or ``make bench-train``.

From raw sentences: the demonstration from nothing, joint and individual models of three seeds, every variant,
the tests that show what no figure does. An hour and a half on two cores; what is done is kept in the output
folder.
``--docs`` writes the table and the pictures into docs/training.md.

Exit codes: 0 measured, 1 something failed, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from accord.commands.progress import Shown
from bench import ROOT, BenchFailed, machine
from bench.show import claim_line
from bench.training import pages
from bench.training.claims import BAG, INDIVIDUAL, JOINT, Found, aims
from bench.training.stages import Stages
from training.errors import TrainingError
from training.evaluate import report as reports
from training.evaluate.findings import Role
from training.evaluate.runs import gather, simple
from training.evaluate.study import compare_models
from training.files import written
from training.loop import Stopped
from training.run import Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.training.claims import Aim

OUT = ROOT / "build" / "bench-train"
SEEDS = 3
_LIBRARIES = ("torch", "onnxruntime", "transformers")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, report and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.training", description="Measure what training is held to."
    )
    parser.add_argument("--out", type=Path, default=OUT, help="runs, reports and plots (build/bench-train)")
    parser.add_argument(
        "--seeds", type=int, choices=range(1, 10), default=SEEDS, help="models of each mode (3)"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--docs", action="store_true", help="write the report into docs/training.md")
    options = parser.parse_args(arguments)
    console = Console(stderr=True, highlight=False)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        with Shown() as shown:
            found = _measured(options.out.resolve(), options.seeds, shown)
        made = aims(found)
        report = json.dumps(_report(found, made), indent=1) + "\n"
        written(options.out / "report.json", report)
        if options.docs:
            pages.write(found, made, options.out, _how(found))
    except (KeyboardInterrupt, Stopped):
        console.print("stopped; the next call goes on behind what is done")
        return 130
    except (BenchFailed, TrainingError, OSError) as error:
        console.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
        return 1
    if options.json:
        sys.stdout.write(report)
    else:
        for aim in made:
            Console(highlight=False).print(claim_line(aim.claim), soft_wrap=True)
    return 0


def _measured(out: Path, seeds: int, shown: Shown) -> Found:
    stages = Stages(out, tell=shown.tell, report=shown.report)
    chains = {"train-demo": stages.demo(), "train-smoke": stages.smoke()}
    folders = stages.seeds(seeds)
    facts, costs = stages.variants()
    untaught, proofs = stages.untaught(), stages.proofs()
    shown.tell("comparing on the test rows")
    first, several = gather([folders[0], untaught]), gather(folders)
    named = {model.name: model for model in first.models}
    # variants are of one seed, and compared with that
    trained = [model for model in several.models if model.role in (Role.JOINT, Role.INDIVIDUAL)]
    found = Found(
        seeds=compare_models(several.dataset, [*trained, *simple(several)]),
        cpu_s={mode: _cpu_s(folders, mode) for mode in (JOINT, INDIVIDUAL)},
        variants=compare_models(first.dataset, first.models, cascades=first.cascades),
        taught=compare_models(first.dataset, [named[untaught.name], named[BAG]]),
        facts=facts,
        costs=costs,
        chains=chains,
        proofs=proofs,
    )
    for name, evaluated, study in (("seeds", several, found.seeds), ("variants", first, found.variants)):
        title = f"Training, {name}"
        report = reports.Report(
            title=title,
            study=study,
            card=evaluated.dataset.card,
            histories=evaluated.histories,
            notes=evaluated.notes,
        )
        reports.write(report, out / name)
    return found


def _cpu_s(folders: Sequence[Path], mode: str) -> list[float]:
    runs = [Run.read(folder) for folder in folders if folder.name.startswith(mode)]
    return [run.metrics["seconds"]["fitted_cpu"] for run in runs]


def _how(found: Found) -> str:
    facts = machine.facts()
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    others = " and ".join(f"{chain.others:.0%}" for chain in found.chains.values())
    return (
        f"`make bench-train` on {facts['cpu']}, {facts['cpus']} CPUs; Python {facts['python']}, {libraries}. "
        f"While the chains were timed, other work took {others} of the CPUs. Brackets: 95 % intervals of the "
        "test rows, or the least and the greatest of the seeds."
    )


def _report(found: Found, made: Sequence[Aim]) -> dict[str, Any]:
    return {
        "command": "python -m bench.training",
        "machine": machine.facts(),
        "claims": [asdict(aim) | {"holds": aim.claim.holds, "reached": aim.reached} for aim in made],
        "cpu_s": found.cpu_s,
        "chains": {name: asdict(chain) for name, chain in found.chains.items()},
        "variants": found.facts,
        "costs": {name: [asdict(each) for each in rounds] for name, rounds in found.costs.items()},
        "proofs": [asdict(proof) for proof in found.proofs],
    }


if __name__ == "__main__":
    sys.exit(main())
