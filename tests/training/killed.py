"""A run in a process of its own, to be killed: ``python -m tests.training.killed OUT [--resume] [--two]``."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.training.rows import config, sentences
from training.loop import train

if __name__ == "__main__":
    dataset = sentences(64)
    processes = 2 if "--two" in sys.argv else 1
    wanted = config(
        dataset, epochs=30, batch=16, checkpoint_every=7, balance={"kind": "uw"}, processes=processes
    )
    train(
        wanted,
        dataset,
        Path(sys.argv[1]),
        resume="--resume" in sys.argv,
        report=lambda progress: print(progress.phase, progress.done, flush=True),  # noqa: T201 - the test reads it
    )
