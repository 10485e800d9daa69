"""Figures and differences as people read them: shares in per cent, differences in points, with intervals."""

from __future__ import annotations

from math import isfinite

from training.evaluate.compare import Interval  # noqa: TC001 - the examples use it
from training.evaluate.metrics import METRICS

__all__ = ["claim", "points", "range_of", "tone", "value"]


def value(estimate: float, metric: str) -> str:
    """Return a figure.

    Example:
        >>> value(0.7541, "accuracy"), value(0.7919, "pearson"), value(float("nan"), "auc")
        ('75.4 %', '0.792', 'undefined')
    """
    if not isfinite(estimate):
        return "undefined"
    return f"{100 * estimate:.1f} %" if METRICS[metric].share else f"{estimate:.3f}"


def range_of(found: Interval, metric: str, *, signed: bool = False) -> str:
    """Return where a figure lies; nothing if that is not known.

    Example:
        >>> range_of(Interval(0.02, -0.011, 0.05), "accuracy", signed=True)
        '-1.1 to +5.0'
    """
    if not isfinite(found.low):
        return ""
    factor, form = (100, ".1f") if METRICS[metric].share else (1, ".3f")
    sign = "+" if signed else ""
    return " to ".join(_number(factor * end, sign + form) for end in (found.low, found.high))


def points(found: Interval, metric: str) -> str:
    """Return a difference.

    Example:
        >>> points(Interval(-0.021, -0.03, -0.01), "accuracy")
        '-2.1'
    """
    if not isfinite(found.estimate):
        return "undefined"
    share = METRICS[metric].share
    return _number(100 * found.estimate if share else found.estimate, "+.1f" if share else "+.3f")


def tone(found: Interval, metric: str) -> str:
    """Return whether a difference is good or bad; nothing where its interval does not say."""
    if not found.excludes_zero:
        return ""
    return "good" if (found.estimate > 0) == METRICS[metric].higher else "bad"


def claim(first: str, second: str, found: Interval, metric: str, what: str, *, unit: str = "") -> str:
    """Return what may be said of a difference: it is claimed only where its interval excludes zero.

    Args:
        first: The model that the second was subtracted from.
        second: The second.
        found: The difference, first less second.
        metric: The metric.
        what: What it was measured on, such as a task.
        unit: What the difference is in; default: by the metric.

    Example:
        >>> claim("joint", "linear", Interval(0.083, 0.061, 0.102), "accuracy", "polarity")
        'polarity: joint is better than linear by 8.3 points of accuracy (6.1 to 10.2)'
        >>> claim("joint", "alone", Interval(-0.001, -0.02, 0.01), "pearson", "intensity")
        "intensity: joint and alone cannot be told apart (-0.001 Pearson's r, -0.020 to +0.010)"
    """
    about = METRICS[metric]
    unit = unit or (f"points of {about.title}" if about.share else about.title)
    if not found.excludes_zero:
        where = range_of(found, metric, signed=True) or "no interval"
        return f"{what}: {first} and {second} cannot be told apart ({points(found, metric)} {unit}, {where})"
    word = "better" if tone(found, metric) == "good" else "worse"
    size = found if found.estimate > 0 else -found
    by = points(size, metric).lstrip("+")
    return f"{what}: {first} is {word} than {second} by {by} {unit} ({range_of(size, metric)})"


def _number(number: float, form: str) -> str:
    text = format(number, form)
    # what rounds to zero has no sign
    return text.lstrip("+-") if float(text) == 0 else text
