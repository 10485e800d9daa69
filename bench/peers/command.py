"""Becomes another program: ``python -m gateway.tether bench.peers.command PROGRAM ARGUMENT ...``.

The death signal that the tether asked the kernel for outlives the change (prctl(2), PR_SET_PDEATHSIG), so a
foreign program is tied to its parent without knowing it.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 - no shell is wanted
