"""Trains the example models and exports them to a model repository: ``python -m examples.models``."""
