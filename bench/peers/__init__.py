"""Real foreign servers of the protocol: Triton, MLServer and KServe, each in an environment of its own.

They are installed on first use into ``build/peers`` from ``requirements/peers/*.lock``. Tests hold the
gateway against them, and the benchmark measures beside them. ``mlserver_onnx.py``, ``kserve_onnx.py`` and
``onnx_backend/model.py`` run inside the foreign environments; everything else runs in ours.
"""

from __future__ import annotations

from bench import BenchFailed

__all__ = ["NotInstalled", "PeerFailed"]


class PeerFailed(BenchFailed):
    """A foreign server does not start. The message is for people and quotes the server's log."""


class NotInstalled(PeerFailed):
    """A foreign server's environment cannot be created, as without a package registry."""
