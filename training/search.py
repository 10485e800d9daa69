"""Looking for better alphas: short runs from the same start, with other weights, judged on validation.

A candidate is judged by the mean over tasks of its validation loss over that of the configured alphas, so
that no task's unit counts. Configured alphas are the first candidate, and stay unless another is better.

Sources: V. Kurin et al., "In Defense of the Unitary Scalarization for Deep Multi-Task Learning", NeurIPS
2022; D. Xin et al., "Do Current Multi-Task Optimization Methods in Deep Learning Even Help?", NeurIPS 2022.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from training.answers import answer
from training.objectives import Balance
from training.optimizer import optimizer, set_factor
from training.schedule import factor
from training.step import Stepper

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from accelerate import Accelerator
    from numpy.typing import NDArray

    from training.config import Config
    from training.data.mix import Order
    from training.step import Losses

__all__ = ["Candidate", "candidates", "search"]

_STEPS = 150
_ROWS = 512
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


def search(
    config: Config,
    alphas: Sequence[float],
    *,
    accelerator: Accelerator,
    model: Any,
    feed: Any,
    order: Order,
    losses: Losses,
    validation: NDArray[np.int64],
    report: Callable[[int, int], None],
) -> list[Candidate]:
    """Try alphas, best first; the model is left as it was.

    Args:
        config: The configuration; ``train.balance.search`` says how many.
        alphas: The configured ones.
        accelerator: Device, arithmetic, processes.
        model: The model, on its device.
        feed: Makes batches.
        order: Which rows each step has.
        losses: Makes losses.
        validation: Rows that candidates are judged on; some are drawn.
        report: Told after each run how many of how many are done.
    """
    wanted = config.train
    steps = max(1, min(_STEPS, order.per_epoch // 4))
    start = {name: value.clone() for name, value in model.state_dict().items()}
    drawn = np.random.default_rng([wanted.seed, 3]).permutation(validation)[:_ROWS]
    prepared = accelerator.prepare_model(model)
    tried: list[tuple[tuple[float, ...], tuple[float, ...]]] = []
    for each in candidates(alphas, wanted.balance.search, wanted.seed):
        model.load_state_dict(start)
        model.train()
        rule: Any = accelerator.prepare_optimizer(optimizer(model, wanted.optimizer))
        balance = Balance("fixed", each).to(accelerator.device)
        stepper = Stepper(accelerator, prepared, feed, losses, balance, accumulate=wanted.accumulate)
        for step in range(steps):
            set_factor(rule, factor(step, steps, warmup=wanted.warmup, decay=wanted.schedule))
            stepper.gradient(order.at(step))
            if wanted.clip is not None:
                accelerator.clip_grad_norm_(model.parameters(), wanted.clip)
            rule.step()
            rule.zero_grad()
        found = answer(model, feed, drawn, losses.targets, accelerator, hubers=losses.hubers)[1]
        tried.append((each, tuple(found.values())))
        report(len(tried), wanted.balance.search)
    model.load_state_dict(start)
    first = np.asarray(tried[0][1])
    judged = [Candidate(each, found, float(np.nanmean(np.asarray(found) / first))) for each, found in tried]
    # a candidate whose loss is no number is no candidate
    return sorted(judged, key=lambda one: one.score if np.isfinite(one.score) else np.inf)
