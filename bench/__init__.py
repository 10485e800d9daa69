"""Measured claims: what the gateway costs, in latency and in throughput (``python -m bench``)."""

from __future__ import annotations

__all__ = ["BenchFailed"]


class BenchFailed(Exception):  # noqa: N818 - what happened, as its message tells
    """Nothing can be measured, or what was measured is no right answer. The message is for people."""
