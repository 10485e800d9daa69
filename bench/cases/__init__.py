"""What can be measured, case by case: ``python -m bench CASE ...``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from pathlib import Path

    from bench.report import Outcome
    from bench.rounds import Bench

__all__ = ["CASES", "QUICK_CASES", "Case", "case"]

#: In the order in which they are run and shown; each is a module beside this one.
CASES = (
    "tiny",
    "linger",
    "payload",
    "members",
    "demo",
    "padding",
    "added",
    "peers",
    "connections",
    "memory",
    "startup",
    "profile",
    "copies",
)
#: Those that need neither h2load nor downloads, and tell in a minute whether the bench works.
QUICK_CASES = ("tiny", "linger", "payload", "members", "memory", "startup")


class Case(Protocol):
    """The module of a case."""

    TEXT: str

    def measure(self, bench: Bench) -> Outcome:
        """Measure it."""

    def plot(self, outcome: Outcome, path: Path, caption: str) -> None:
        """Draw what was found, as a PNG."""


def case(name: str) -> Case:
    """Return a case's module."""
    return cast("Case", import_module(f"bench.cases.{name}"))
