"""Serves the example models, asks them over gRPC, breaks one, and shows what came of it: ``python -m examples.demo``."""
