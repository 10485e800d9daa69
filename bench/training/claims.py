"""What training is held to, and what was found: from figures to claims, without I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.figures import Spread, ratios, spread
from bench.report import Claim
from training.evaluate.baselines import LINEAR, VADER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from training.evaluate.compare import Interval
    from training.evaluate.findings import Cost, Study

__all__ = ["Aim", "Chain", "Found", "Proof", "aims"]

#: Names that studies give models: of seeds, of simple ones, of variants.
JOINT, INDIVIDUAL = "joint", "individual"
FP32, INT8, DYNAMIC = "fp32", "int8", "int8-dynamic"
LAYERS, CNN, BAG, UNTAUGHT = "layers-int8", "cnn", "bag", "bag-untaught"
#: The task that students are judged by.
TASK = "polarity"
#: A third, as people write it.
_THIRD = 0.34


@dataclass(frozen=True, slots=True)
class Aim:
    """A claim, and what one would like to reach beyond it.

    Args:
        claim: The claim.
        reach: The better bound; None if there is none.
    """

    claim: Claim
    reach: float | None = None

    @property
    def reached(self) -> bool | None:
        """Whether the better bound is kept too; None if there is none, or nothing was measured."""
        if self.reach is None or self.claim.found is None:
            return None
        median = self.claim.found.median
        return median >= self.reach if self.claim.at_least else median <= self.reach


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A whole chain, from raw data to served models.

    Args:
        minutes: How long it took.
        others: Share of all CPU time that other work took meanwhile.
    """

    minutes: float
    others: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Tests that show a property.

    Args:
        shows: Which.
        passed: How many of them passed.
        tests: How many there are.
    """

    shows: str
    passed: int
    tests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was measured.

    Args:
        seeds: Joint models of several seeds beside individual ones and simple ones.
        cpu_s: By mode, the CPU seconds of each seed's fits.
        variants: One joint model beside what was made of it.
        taught: The student beside the same without a teacher, which is the reference.
        facts: By name, what was measured of each variant.
        costs: By name, what each variant costs, round by round.
        chains: By name, whole chains.
        proofs: What tests show.
    """

    seeds: Study
    cpu_s: Mapping[str, Sequence[float]]
    variants: Study
    taught: Study
    facts: Mapping[str, Mapping[str, Any]]
    costs: Mapping[str, Sequence[Cost]]
    chains: Mapping[str, Chain]
    proofs: Sequence[Proof]


def aims(found: Found) -> tuple[Aim, ...]:
    """Return every claim with what was found."""
    return (
        *_seeds(found),
        *_quantised(found),
        *_students(found),
        *_cascade(found),
        *_chains(found),
        *_proofs(found),
    )


def _seeds(found: Found) -> Iterator[Aim]:
    study, count = found.seeds, len(found.cpu_s[JOINT])
    mean = study.means.get(INDIVIDUAL)
    # what individual models have less than the joint one is what the joint one gains
    worst = min(_by_task(study, INDIVIDUAL), key=_median, default=None)
    what = f"joint less individual models, {count} seeds"
    yield _aim(f"{what}: mean of the tasks", -1, "points", _points(-mean) if mean else None)
    yield _aim(f"{what}: the task that loses most", -1, "points", worst)
    share = spread(ratios(found.cpu_s[JOINT], found.cpu_s[INDIVIDUAL]))
    yield _at_most("CPU time of the joint fit", _THIRD, "of the individual ones'", share)
    for name, bound, reach in ((LINEAR, 6, 8), (VADER, 14, 16)):
        yield _aim(f"{TASK}: joint less {name}", bound, "points", _lost(study, name, TASK), reach)


def _quantised(found: Found) -> Iterator[Aim]:
    fp32 = found.facts[FP32]
    yield _at_most("fp32 as ONNX beside torch: largest difference", 1e-5, "", _one(fp32["parity"]))
    for name, faster, smaller in ((INT8, (1.3, 2), (2.5, 3.9)), (DYNAMIC, (1.8, 2.5), (3.8, None))):
        quick, small = _times(found, name, "ms_1"), _one(fp32["bytes"] / found.facts[name]["bytes"])
        yield _aim(f"{name}: a row alone", faster[0], "x as fast as fp32", quick, faster[1])
        yield _aim(f"{name}: file", smaller[0], "x smaller than fp32", small, smaller[1])
        most = max(_by_task(found.variants, name), key=_median, default=None)
        yield _at_most(f"{name}: the task that loses most", 1, "points", most)
    apart = found.facts[INT8]["invariance"]["labels"]
    yield _at_most(f"{INT8}: labels that differ alone and in a batch", 0, "rows", _one(apart))
    flagged = not found.facts[DYNAMIC]["invariance"]["same"]
    yield _aim(f"{DYNAMIC}: flagged as dependent on the batch", 1, "(1: yes)", _one(flagged))


def _students(found: Found) -> Iterator[Aim]:
    for name, faster, lost in (
        (LAYERS, (5, None), (2, 1.5)),
        (CNN, (30, 50), (4, 3)),
        (BAG, (300, 600), (5, 4)),
    ):
        quick = _times(found, name, "ms_8")
        yield _aim(f"{name}: a row in eight", faster[0], "x as fast as fp32", quick, faster[1])
        yield _at_most(
            f"{name}: lost at {TASK}", lost[0], "points", _lost(found.variants, name, TASK), lost[1]
        )
    gain = _lost(found.taught, BAG, TASK)
    yield _aim(
        f"{BAG}: more than one without a teacher at {TASK}", 3, "points", _turned(gain) if gain else None
    )


def _cascade(found: Found) -> Iterator[Aim]:
    wanted, what = (BAG, INT8, TASK), f"{BAG} before {INT8}"
    tried = [each for each in found.variants.cascades if (each.cheap, each.costly, each.task) == wanted]
    spared, lost = (_one(100 * tried[0].share), _points(-tried[0].difference)) if tried else (None, None)
    yield _aim(f"{what}: rows that the latter is spared", 50, "%", spared, 64)
    yield _at_most(f"{what}: lost at {TASK}", 0.5, "points", lost, 0)


def _chains(found: Found) -> Iterator[Aim]:
    for name, bound, reach in (("train-demo", 10, 6), ("train-smoke", 3, 1.5)):
        took = _one(found.chains[name].minutes)
        yield _at_most(f"`make {name}`, all installed", bound, "minutes", took, reach)


def _proofs(found: Found) -> Iterator[Aim]:
    for proof in found.proofs:
        text = f"{proof.shows}: tests that pass"
        yield _aim(text, max(1, proof.tests), f"of {proof.tests}", _one(proof.passed))


def _aim(text: str, bound: float, unit: str, found: Spread | None, reach: float | None = None) -> Aim:
    return Aim(Claim(text, bound, True, unit, found), reach)


def _at_most(text: str, bound: float, unit: str, found: Spread | None, reach: float | None = None) -> Aim:
    return Aim(Claim(text, bound, False, unit, found), reach)


def _lost(study: Study, name: str, task: str) -> Spread | None:
    """Return the points of the main metric that a model has less than the reference; None if not compared."""
    for each in study.tasks:
        if each.task == task and name in each.differences:
            return _points(-each.differences[name][each.main])
    return None


def _by_task(study: Study, name: str) -> list[Spread]:
    return [found for task in study.tasks if (found := _lost(study, name, task.task))]


def _times(found: Found, name: str, key: str) -> Spread:
    """Return how many times as fast as the trained model a variant is, over rounds."""
    base, own = ([getattr(each, key) for each in found.costs[variant]] for variant in (FP32, name))
    return spread(ratios(base, own))


def _median(found: Spread) -> float:
    return found.median


def _points(found: Interval) -> Spread:
    # a zero has no sign
    return Spread(*(100 * each + 0.0 for each in (found.estimate, found.low, found.high)))


def _turned(found: Spread) -> Spread:
    return Spread(-found.median, -found.high, -found.low)


def _one(value: float) -> Spread:
    return spread([float(value)])
