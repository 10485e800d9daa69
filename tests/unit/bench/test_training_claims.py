"""What training is held to: the right figures, the right way round, and a page that says them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench import BenchFailed
from bench.training import pages
from bench.training.claims import Chain, Found, Proof, aims
from tests.unit.training.scored import some
from tests.unit.training.test_study import dataset, model, noisy
from training.data.dataset import Kind
from training.evaluate import confidence, plots
from training.evaluate.baselines import LINEAR, VADER
from training.evaluate.findings import Cost, Role
from training.evaluate.study import compare_models

if TYPE_CHECKING:
    from pathlib import Path

    from training.evaluate.drawing import Picture

ROWS = 600


def facts(bytes_: int, ms_1: float, ms_8: float, labels: int = 0) -> dict[str, Any]:
    invariance = {"same": not labels, "labels": labels, "compared": 288, "worst": 0.01}
    return {"bytes": bytes_, "ms_1": ms_1, "ms_8": ms_8, "invariance": invariance}


@pytest.fixture(scope="module")
def found() -> Found:
    scores, labels, _ = some(Kind.CLASSIFY, rows=ROWS)
    rows = dataset({"polarity": labels, "domain": labels})

    def made(name: str, role: Role, worse: float, cost: Cost | None = None) -> Any:
        return model(name, role, cost, polarity=noisy(scores, worse), domain=noisy(scores, 2 * worse, seed=8))

    seeds = [
        made("joint", Role.JOINT, 0),
        made("individual", Role.INDIVIDUAL, 0.2),
        made(LINEAR, Role.BASELINE, 1),
        made(VADER, Role.BASELINE, 3),
    ]
    variants = [
        made("joint-0", Role.JOINT, 0, Cost(90, 8, 4)),
        made("int8", Role.VARIANT, 0.1, Cost(24, 4, 2)),
        *(
            made(name, Role.VARIANT, 1.2, Cost(9, 0.1, 0.01))
            for name in ("int8-dynamic", "layers-int8", "cnn", "bag")
        ),
    ]
    untaught = made("bag-untaught", Role.VARIANT, 3)
    return Found(
        seeds=compare_models(rows, seeds, draws=50),
        cpu_s={"joint": [100.0, 110.0], "individual": [400.0, 330.0]},
        variants=compare_models(rows, variants, draws=50, cascades=[("bag", "int8")]),
        taught=compare_models(rows, [untaught, variants[-1]], draws=50),
        facts={
            "fp32": facts(90, 8, 4) | {"parity": 3e-6},
            "int8": facts(24, 4, 2),
            "int8-dynamic": facts(23, 4, 2, labels=13),
            "layers-int8": facts(8, 1, 0.5),
            "cnn": facts(16, 0.1, 0.1),
            "bag": facts(25, 0.1, 0.01),
        },
        costs={
            name: [Cost(1, 4 * ms_1, 4 * ms_8), Cost(1, ms_1, ms_8)]
            for name, ms_1, ms_8 in (
                ("fp32", 8, 4),
                ("int8", 4, 2),
                ("int8-dynamic", 4, 2),
                ("layers-int8", 1, 0.5),
                ("cnn", 0.1, 0.1),
                ("bag", 0.1, 0.01),
            )
        },
        chains={"train-demo": Chain(minutes=8, others=0), "train-smoke": Chain(minutes=4, others=0)},
        proofs=[Proof(shows="it resumes", passed=1, tests=2)],
    )


def by_text(found: Found) -> dict[str, Any]:
    return {aim.claim.text: aim for aim in aims(found)}


def test_what_is_lost_is_positive_and_what_is_gained_too(found: Found) -> None:
    """By the accuracies themselves, whichever model was the reference."""
    told = by_text(found)

    def accuracy(study: Any, name: str) -> float:
        return 100 * float(study.tasks[0].values[name]["accuracy"].estimate)

    lost = told["bag: lost at polarity"].claim.found
    assert lost.median == pytest.approx(accuracy(found.variants, "joint-0") - accuracy(found.variants, "bag"))
    assert lost.low <= lost.median <= lost.high
    assert lost.median > 0
    over = told[f"polarity: joint less {LINEAR}"].claim.found
    assert over.median == pytest.approx(accuracy(found.seeds, "joint") - accuracy(found.seeds, LINEAR))
    taught = told["bag: more than one without a teacher at polarity"].claim.found
    assert taught.median == pytest.approx(
        accuracy(found.taught, "bag") - accuracy(found.taught, "bag-untaught")
    )
    assert taught.low <= taught.median <= taught.high


def test_the_worst_task_is_the_one_that_is_told(found: Found) -> None:
    told = by_text(found)
    gains = [-100 * task.differences["individual"]["accuracy"].estimate for task in found.seeds.tasks]
    worst = told["joint less individual models, 2 seeds: the task that loses most"].claim.found
    assert worst.median == pytest.approx(min(gains))
    mean = told["joint less individual models, 2 seeds: mean of the tasks"].claim.found
    assert mean.median == pytest.approx(np.mean(gains))
    lost = [-100 * task.differences["int8"]["accuracy"].estimate for task in found.variants.tasks]
    assert told["int8: the task that loses most"].claim.found.median == pytest.approx(max(lost))


def test_costs_are_divided_the_right_way(found: Found) -> None:
    told = by_text(found)
    cost = told["CPU time of the joint fit"].claim
    assert (cost.found.low, cost.found.median, cost.found.high) == pytest.approx(
        (0.25, 0.29167, 1 / 3), abs=1e-4
    )
    assert cost.holds
    assert told["int8: a row alone"].claim.found.median == 2
    assert told["int8: file"].claim.found.median == 90 / 24
    assert told["bag: a row in eight"].claim.found.median == pytest.approx(400)
    assert told["bag: a row in eight"].claim.holds
    assert told["bag: a row in eight"].reached is False


def test_a_claim_that_does_not_hold_is_not_said_to(found: Found) -> None:
    """A slow chain, a test that fails, labels that differ, a model that was not flagged."""
    told = by_text(found)
    assert told["`make train-smoke`, all installed"].claim.holds is False
    assert told["it resumes: tests that pass"].claim.holds is False
    assert told["int8-dynamic: flagged as dependent on the batch"].claim.holds
    spoilt = {**found.facts, "int8": facts(24, 4, 2, labels=3), "int8-dynamic": facts(23, 4, 2)}
    told = by_text(replace(found, facts=spoilt, proofs=[Proof(shows="it resumes", passed=0, tests=0)]))
    assert told["int8: labels that differ alone and in a batch"].claim.holds is False
    assert told["int8-dynamic: flagged as dependent on the batch"].claim.holds is False
    assert told["it resumes: tests that pass"].claim.holds is False, "no test ran"


def test_the_cascade_of_the_claim_is_that_of_the_bag_before_the_8_bits(found: Found) -> None:
    (cascade,) = (each for each in found.variants.cascades if each.task == "polarity")
    told = by_text(found)
    assert told["bag before int8: rows that the latter is spared"].claim.found.median == 100 * cascade.share
    lost = told["bag before int8: lost at polarity"].claim.found
    assert lost.median == pytest.approx(-100 * cascade.difference.estimate)


def test_a_cascade_that_was_not_tried_is_not_left_out(found: Found) -> None:
    told = by_text(replace(found, variants=replace(found.variants, cascades=())))
    assert told["bag before int8: lost at polarity"].claim.holds is None


def test_the_page_is_renewed_whole_or_not_at_all(found: Found, tmp_path: Path) -> None:
    """With every picture that it shows, as the evaluation names them."""
    page, out = tmp_path / "page.md", tmp_path / "out"
    empty = "".join(
        f"<!-- {name}: begin -->\n<!-- {name}: end -->\n" for name in ("claims", "models", "variants")
    )
    page.write_text(empty)
    with pytest.raises(BenchFailed, match="has no seeds/figures"):
        pages.write(found, aims(found), out, "how", page)
    assert page.read_text() == empty
    for name, study in (("seeds", found.seeds), ("variants", found.variants)):
        for task in study.tasks:
            drawn = [plots.differences(study, task), plots.pareto(study, task)]
            keep(out / name, [each for each in drawn if each is not None])
        keep(out / name, [confidence.cascade(each, plots.colours(study.models)) for each in study.cascades])
        keep(out / name, [confidence.reliability_of(each, "red") for each in study.calibrations])
    (out / "seeds" / "figures" / "loss-polarity.png").write_bytes(b"curves need a history")
    pages.write(found, aims(found), out, "how", page)
    assert "train-smoke" in page.read_text()
    assert {path.name for path in tmp_path.glob("*.png")} == set(pages.PICTURES.values())


def keep(folder: Path, pictures: list[Picture]) -> None:
    """Write pictures as a report does."""
    for picture in pictures:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        (folder / "figures" / f"{picture.name}.png").write_bytes(picture.png)


def test_tables_hold_every_claim_model_and_variant(found: Found) -> None:
    made = aims(found)
    lines = pages.claims(made).splitlines()
    assert len(lines) == 2 + len(made)
    slow = next(line for line in lines if "train-smoke" in line)
    assert slow.split("|")[2:6] == [" at most 3 minutes ", " 1.5 ", " 4.00 ", " **no** "]
    assert "individual" in pages.models(found.seeds)
    table = pages.variants(found)
    assert "**no**: 13 of 288 labels" in table
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == list(found.facts)
