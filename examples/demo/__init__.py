"""Serves the example models, asks them, breaks one and shows what happens: ``python -m examples.demo``."""
