"""Looking for better alphas: short runs from the same start, with other weights, judged on validation.

A candidate is judged by the mean over tasks of its validation loss over that of the configured alphas, so
that no task's unit counts. Configured alphas are the first candidate, and stay unless another is better. A
task that no judging row has a label of does not count.

Sources: V. Kurin et al., "In Defense of the Unitary Scalarization for Deep Multi-Task Learning", NeurIPS
2022; D. Xin et al., "Do Current Multi-Task Optimization Methods in Deep Learning Even Help?", NeurIPS 2022.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from training.objectives import Balance
from training.optimizer import clip, optimizer, set_factor
from training.schedule import factor
from training.step import Stepper

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from training.config import Config
    from training.prepare import Prepared

__all__ = ["JUDGING", "Candidate", "candidates", "search", "short_run"]

_STEPS = 150
#: Rows that candidates are judged on.
JUDGING = 512
#: Standard deviation of the logarithm of a weight: two thirds lie within half and double.
_SPREAD = 0.7


@dataclass(frozen=True, slots=True)
class Candidate:
    """Alphas that were tried.

    Args:
        alphas: By task, in their order.
        losses: On validation.
        score: Mean over tasks of loss over that of the configured alphas; less is better.
    """

    alphas: tuple[float, ...]
    losses: tuple[float, ...]
    score: float


def candidates(alphas: Sequence[float], count: int, seed: int) -> list[tuple[float, ...]]:
    """Return alphas to try: the configured ones, and others around them with the same sum.

    Example:
        >>> found = candidates([1.0, 0.5], 3, seed=0)
        >>> found[0], [round(sum(each), 6) for each in found]
        ((1.0, 0.5), [1.5, 1.5, 1.5])
    """
    generator = np.random.default_rng([seed, 2])
    made = [tuple(map(float, alphas))]
    for _ in range(count - 1):
        drawn = np.asarray(alphas) * np.exp(generator.normal(0.0, _SPREAD, len(alphas)))
        made.append(tuple((drawn * sum(alphas) / drawn.sum()).tolist()))
    return made


def short_run(per_epoch: int) -> int:
    """Return the steps of a short run: a quarter of an epoch, if that is not too long.

    Example:
        >>> short_run(2), short_run(100), short_run(10_000)
        (1, 25, 150)
    """
    return max(1, min(_STEPS, per_epoch // 4))


def search(
    config: Config, alphas: Sequence[float], made: Prepared, *, report: Callable[[int, int], None]
) -> list[Candidate]:
    """Try alphas, best first; the model is left as it was.

    Args:
        config: The configuration; ``train.balance.search`` says how many.
        alphas: The configured ones.
        made: Model, batches, order, losses.
        report: Told after each run how many of how many are done.
    """
    wanted, model = config.train, made.model
    start = {name: value.clone() for name, value in model.state_dict().items()}
    rows = np.random.default_rng([wanted.seed, 3]).permutation(made.validation)[:JUDGING]
    wrapped = made.wrapped()
    tried: list[tuple[tuple[float, ...], tuple[float, ...]]] = []
    for each in candidates(alphas, wanted.balance.search, wanted.seed):
        model.load_state_dict(start)
        _short_run(config, each, made, wrapped)
        tried.append((each, tuple(made.answer(rows)[1].values())))
        report(len(tried), wanted.balance.search)
    model.load_state_dict(start)
    return _judged(tried, [bool(labels.known[rows].any()) for labels in made.losses.targets.values()])


def _short_run(config: Config, alphas: Sequence[float], made: Prepared, wrapped: Any) -> None:
    wanted, accelerator = config.train, made.accelerator
    made.model.train()
    rule: Any = accelerator.prepare_optimizer(optimizer(made.model, wanted.optimizer))
    balance = Balance("fixed", alphas).to(accelerator.device)
    stepper = Stepper(accelerator, wrapped, made.feed, made.losses, balance, accumulate=wanted.accumulate)
    steps = short_run(made.order.per_epoch)
    for step in range(steps):
        set_factor(rule, factor(step, steps, warmup=wanted.warmup, decay=wanted.schedule))
        stepper.gradient(made.order.at(step))
        if wanted.clip is not None:
            clip(accelerator, rule, made.model.parameters(), wanted.clip)
        rule.step()
        rule.zero_grad()


def _judged(
    tried: Sequence[tuple[tuple[float, ...], tuple[float, ...]]], labelled: Sequence[bool]
) -> list[Candidate]:
    first = np.asarray(tried[0][1])[np.asarray(labelled)]
    judged = []
    with np.errstate(all="ignore"):
        for alphas, losses in tried:
            here = np.asarray(losses)[np.asarray(labelled)]
            score = float((here / first).mean()) if np.isfinite(here).all() else np.nan
            judged.append(Candidate(alphas, losses, score))
    # a candidate whose loss is no number is no candidate
    return sorted(judged, key=lambda one: one.score if np.isfinite(one.score) else np.inf)
