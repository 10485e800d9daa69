"""Turns requests into batches: those that may ride together do, each gets its own rows back."""

from gateway.edge.coalesce.coalescer import Coalescer

__all__ = ["Coalescer"]
