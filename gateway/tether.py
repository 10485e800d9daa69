"""Runs a module so that it cannot outlive the process that started it, however that one dies.

``python -m gateway.tether MODULE ARGUMENT ...`` ties the process twice and then runs the module as main:

- the kernel sends SIGKILL when the parent dies (``PR_SET_PDEATHSIG``, prctl(2));
- standard input is a pipe from the parent, and its end means that the parent is gone. This covers the
  moment before the first tie holds.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys
import threading

_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _watch_stdin() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Tie this process to its parent, then become the module named in the arguments."""
    _die_with_parent()
    threading.Thread(target=_watch_stdin, name="tether", daemon=True).start()
    module = sys.argv[1]
    sys.argv = sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
