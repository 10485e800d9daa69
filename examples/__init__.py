"""Real models on real data: how they are made, and a demonstration that serves them."""

from __future__ import annotations

__all__ = ["ExampleError"]


class ExampleError(Exception):
    """Something an example needs is missing or wrong. Expected: the message is for people."""
