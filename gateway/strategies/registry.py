"""Finding strategies: by entry point, built-in and foreign ones alike.

A distribution offers a strategy with one line of its ``pyproject.toml``::

    [project.entry-points."accord.strategies"]
    my_merge = "my_package.my_module:MyMerge"
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from gateway.strategies.base import Strategy, StrategyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic_core import ErrorDetails

__all__ = ["GROUP", "build", "kinds", "load"]

#: The entry-point group that strategies are found by.
GROUP = "accord.strategies"


def kinds() -> tuple[str, ...]:
    """Return the kinds of all installed strategies, sorted.

    Example:
        >>> "mean" in kinds()
        True
    """
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


def load(kind: str) -> type[Strategy]:
    """Return the class of a strategy.

    Raises:
        StrategyError: If the kind is unknown or offered twice, cannot be imported, or is no strategy of
            that kind.
    """
    points = {point.value: point for point in entry_points(group=GROUP, name=kind)}
    if not points:
        known = kinds()
        raise StrategyError(f"unknown strategy {kind!r}{_hint(kind, known)}; known are {', '.join(known)}")
    if len(points) > 1:
        offers = " and ".join(sorted(f"{value} ({_owner(point)})" for value, point in points.items()))
        raise StrategyError(f"strategy {kind!r} is offered twice: {offers}; uninstall or rename one")
    ((value, point),) = points.items()
    try:
        found = point.load()
    except (ImportError, AttributeError) as error:
        raise StrategyError(f"strategy {kind!r} of {_owner(point)} cannot be loaded: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Strategy)):
        raise StrategyError(f"strategy {kind!r} of {_owner(point)}: {value} is not a Strategy class")
    if found.kind != kind:
        raise StrategyError(
            f"strategy {kind!r} of {_owner(point)}: {value} calls itself {found.kind!r}; both must agree"
        )
    return found


def build(kind: str, options: Mapping[str, Any]) -> Strategy:
    """Return a strategy with validated options.

    Args:
        kind: Its kind.
        options: What stands beside ``kind`` in the config.

    Raises:
        StrategyError: As :func:`load`; also for each option that is unknown or wrong, with what it should be.

    Example:
        >>> build("trimmed_mean", {"trim": 0.25}).options.trim
        0.25
        >>> build("trimmed_mean", {"trimm": 0.25})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        gateway.strategies.base.StrategyError: trimmed_mean has no option 'trimm' (did you mean 'trim'?); ...
    """
    strategy = load(kind)
    try:
        return strategy(strategy.Options.model_validate(dict(options)))
    except ValidationError as error:
        problems = [_problem(strategy, details) for details in error.errors(include_url=False)]
        raise StrategyError("; ".join(problems)) from None


def _problem(strategy: type[Strategy], details: ErrorDetails) -> str:
    """Say in one sentence which option is wrong, why, and what it should be."""
    fields = strategy.Options.model_fields
    option = str(details["loc"][0]) if details["loc"] else ""
    if details["type"] == "extra_forbidden":
        known = ", ".join(sorted(fields)) or "none"
        return f"{strategy.kind} has no option {option!r}{_hint(option, fields)}; it has {known}"
    message = details["msg"][:1].lower() + details["msg"][1:]
    if not option:
        return f"options of {strategy.kind}: {message}"
    meaning = fields[option].description if option in fields else None
    said = "" if details["type"] == "missing" else f" (got {details['input']!r})"
    return f"option {option!r} of {strategy.kind}: {message}{said}" + (
        f"; it is {meaning}" if meaning else ""
    )


def _hint(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), 1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "an unknown distribution"
