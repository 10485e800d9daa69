"""Makes memray watch the gateway's process from its first moment; Python imports this file by its name.

It lies on ``PYTHONPATH`` only while the bench starts a server. The parent and the workers are left alone.
"""

import atexit
import os
import sys

if "gateway.app" in sys.orig_argv:
    sys.path.append(os.environ["BENCH_MEMRAY_PACKAGES"])  # last, so that it hides nothing of ours
    import memray

    tracker = memray.Tracker(os.environ["BENCH_MEMRAY_FILE"])
    tracker.__enter__()
    atexit.register(tracker.__exit__, None, None, None)
