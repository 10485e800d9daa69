"""Real foreign servers, each in an environment of its own, and the fan-out that one would write by hand.

They are installed on first use into ``build/peers`` from ``requirements/peers/*.lock``. Tests hold the
gateway against Triton, MLServer and KServe, and the benchmark measures beside all of them. What is named
``*_onnx.py``, ``*_mean.py`` or ``*_backend/model.py`` runs inside the foreign environments; everything else
runs in ours.
"""

from __future__ import annotations

from bench import BenchFailed

__all__ = ["NotInstalled", "PeerFailed"]


class PeerFailed(BenchFailed):
    """A foreign server does not start. The message is for people and quotes the server's log."""


class NotInstalled(PeerFailed):
    """A foreign server's environment cannot be created, as without a package registry."""
