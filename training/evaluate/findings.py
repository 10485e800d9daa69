"""What is compared, and what is found, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from training.data.dataset import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from training.evaluate.calibration import Bin, Temperature
    from training.evaluate.cascade import Point
    from training.evaluate.compare import Interval

__all__ = ["Calibration", "Cascade", "Cost", "Model", "Role", "Scores", "Study", "TaskStudy"]


class Role(Enum):
    """What a model is in a comparison."""

    JOINT = "joint"
    INDIVIDUAL = "individual"
    VARIANT = "variant"
    BASELINE = "baseline"
    CHANCE = "chance"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a model costs.

    Args:
        bytes: Its size.
        ms_1: CPU milliseconds of a row, asked alone.
        ms_8: Of a row in a batch of eight.
    """

    bytes: int
    ms_1: float
    ms_8: float


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Raw scores of one task by one model.

    Args:
        validation: Of the validation rows, in their order.
        test: Of the test rows, in their order.
    """

    validation: NDArray[Any]
    test: NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """One model, or one made several times from other seeds, whose figures are then averaged.

    Args:
        name: Its name.
        role: What it is.
        scores: By task, one for each seed.
        cost: What it costs, if it was measured.
        independent: Whether a row's answer is the same alone and in a batch; None = not known.
    """

    name: str
    role: Role
    scores: Mapping[str, Sequence[Scores]]
    cost: Cost | None = None
    independent: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStudy:
    """One task.

    Args:
        task: Its name.
        kind: What is asked.
        rows: Labelled test rows.
        main: The metric that stands for the others.
        values: By model, each metric.
        differences: By model, each metric less the reference's on the same draws.
        undefined: By model, why a metric is undefined.
    """

    task: str
    kind: Kind
    rows: int
    main: str
    values: Mapping[str, Mapping[str, Interval]]
    differences: Mapping[str, Mapping[str, Interval]]
    undefined: Mapping[str, Mapping[str, str]]

    @property
    def metrics(self) -> list[str]:
        """The metrics to show, the main one first; where each row has one class, micro F1 is the accuracy."""
        twice = (self.main, "f1_micro") if self.kind is Kind.CLASSIFY else (self.main,)
        return [self.main, *(name for name in next(iter(self.values.values())) if name not in twice)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How sure and how right one model is at one task.

    Args:
        model: Its name.
        task: The task's.
        temperature: Fitted on validation.
        before: Expected calibration error on test.
        after: The same at the temperature.
        change: What the temperature changes, on the same draws.
        bins_before: Reliability on test.
        bins_after: The same at the temperature.
    """

    model: str
    task: str
    temperature: Temperature
    before: Interval
    after: Interval
    change: Interval
    bins_before: tuple[Bin, ...]
    bins_after: tuple[Bin, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cascade:
    """A cheap model before a costly one, at one task.

    Args:
        task: The task's name.
        cheap: The cheap model's.
        costly: The costly one's.
        curve: Thresholds, on validation; of many, some.
        chosen: The point that was chosen there.
        share: The share of test rows that the cheap model answers.
        accuracy: Of both together on test.
        difference: Less that of the costly one alone, on the same draws.
        ms: CPU milliseconds of a row in a batch of eight, by the share; NaN if not known.
    """

    task: str
    cheap: str
    costly: str
    curve: tuple[Point, ...]
    chosen: Point
    share: float
    accuracy: Interval
    difference: Interval
    ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """Everything that was found.

    Args:
        reference: The model that others are subtracted from.
        models: All of them, the reference first.
        tasks: By task.
        means: By model that answers every task, the mean over tasks of the main metrics, less the
            reference's.
        calibrations: Of the trained models.
        cascades: Cheap models before costly ones.
        draws: How often rows were drawn.
    """

    reference: str
    models: tuple[Model, ...]
    tasks: tuple[TaskStudy, ...]
    means: Mapping[str, Interval]
    calibrations: tuple[Calibration, ...] = ()
    cascades: tuple[Cascade, ...] = ()
    draws: int = 0
