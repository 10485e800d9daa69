"""Writes what was found into docs/training.md: tables between markers, pictures beside the page."""

from __future__ import annotations

import shutil
from statistics import median
from typing import TYPE_CHECKING

from bench import ROOT, BenchFailed
from bench.report import short
from bench.show import HOLDS, between_markers, markdown
from training.evaluate.metrics import METRICS
from training.evaluate.words import range_of, value
from training.files import written

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bench.figures import Spread
    from bench.training.claims import Aim, Found
    from training.evaluate.findings import Study

__all__ = ["PAGE", "PICTURES", "claims", "models", "variants", "write"]

PAGE = ROOT / "docs" / "training.md"
#: Pictures of the two evaluations that the page shows, by what it calls them.
PICTURES: Mapping[str, str] = {
    "seeds/figures/difference-polarity.png": "training-differences.png",
    "seeds/figures/loss-polarity.png": "training-loss.png",
    "variants/figures/pareto-polarity.png": "training-pareto.png",
    "variants/figures/cascade-polarity-bag-int8.png": "training-cascade.png",
    "variants/figures/reliability-polarity-joint-0.png": "training-reliability.png",
}


def write(found: Found, made: Sequence[Aim], out: Path, how: str, page: Path = PAGE) -> None:
    """Renew the page.

    Args:
        found: What was measured.
        made: The claims of it.
        out: Holds the evaluations.
        how: On what it was measured, for people.
        page: The page; pictures are copied into its folder.

    Raises:
        BenchFailed: If the page lacks markers, or a picture was not drawn.
    """
    missing = [source for source in PICTURES if not (out / source).exists()]
    if missing:
        raise BenchFailed(f"{out} has no {', '.join(missing)}")
    text = page.read_text("utf-8")
    for name, section in (
        ("claims", f"{how}\n\n{claims(made)}"),
        ("models", models(found.seeds)),
        ("variants", variants(found)),
    ):
        text = between_markers(text, name, section)
    for source, name in PICTURES.items():
        shutil.copy(out / source, page.with_name(name))
    written(page, text)


def claims(made: Sequence[Aim]) -> str:
    """Return a table of all claims."""
    rows = []
    for aim in made:
        claim = aim.claim
        word = "at least" if claim.at_least else "at most"
        reach = "" if aim.reach is None else f"{aim.reach:g}"
        holds = f"{HOLDS[claim.holds]}, and reached" if claim.holds and aim.reached else HOLDS[claim.holds]
        rows.append(
            [claim.text, f"{word} {claim.bound:g} {claim.unit}".rstrip(), reach, _found(claim.found), holds]
        )
    return markdown(["claim", "must", "hoped for", "found", "holds"], rows, numbers=5)


def models(study: Study) -> str:
    """Return a table of models: the main metric of each task, with its interval."""
    columns = ["model", *(f"{task.task}, {METRICS[task.main].title}" for task in study.tasks)]
    rows = [[model.name, *_metrics(study, model.name)] for model in study.models]
    return markdown(columns, rows, numbers=1)


def variants(found: Found) -> str:
    """Return a table of variants: what each costs, how good it is, and whether rows are on their own."""
    study = found.variants
    columns = ["variant", "MB", "ms", *(f"{task.task}, {METRICS[task.main].title}" for task in study.tasks)]
    rows = []
    for name, about in found.facts.items():
        shown = name if any(model.name == name for model in study.models) else study.reference
        ms = (median(getattr(each, key) for each in found.costs[name]) for key in ("ms_1", "ms_8"))
        alone = about["invariance"]
        apart = f"**no**: {alone['labels']} of {alone['compared']} labels"
        rows.append(
            [
                name,
                f"{about['bytes'] / 1e6:.1f}",
                " / ".join(f"{each:.2g}" for each in ms),
                *_metrics(study, shown),
                "yes" if alone["same"] else apart,
            ]
        )
    return markdown([*columns, "a row alone as among others"], rows, numbers=1)


def _metrics(study: Study, name: str) -> list[str]:
    cells = []
    for task in study.tasks:
        found = task.values.get(name, {}).get(task.main)
        if found is None:
            cells.append("")
            continue
        where = range_of(found, task.main)
        cells.append(value(found.estimate, task.main) + (f" ({where})" if where else ""))
    return cells


def _found(found: Spread | None) -> str:
    if found is None:
        return ""
    if abs(found.median) < 0.01 and found.median:
        return f"{found.median:.1g}"
    low, middle, high = (short(each) for each in (found.low, found.median, found.high))
    return middle if low == high else f"{middle} ({low} to {high})"
