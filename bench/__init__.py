"""Measured claims: what the gateway costs, beside an echo and beside others (``python -m bench``)."""

from __future__ import annotations

from pathlib import Path

__all__ = ["ROOT", "BenchFailed"]

ROOT = Path(__file__).parents[1]


class BenchFailed(Exception):  # noqa: N818 - what happened, as its message tells
    """Nothing can be measured, or what was measured is no right answer. The message is for people."""
