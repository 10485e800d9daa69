"""What training is held to, measured: ``python -m bench.training``."""
