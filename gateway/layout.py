"""Which worker processes there are to be, and on which devices, as the models' own configs say.

``python -m gateway.layout CONFIG`` prints it as JSON. It is a process of its own because the parent process
may not read a ``config.pbtxt``: what it takes to read one imports gRPC.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.config import load
from gateway.runtime import spread
from workers.model import repository
from workers.model.errors import ModelError
from workers.model.runtime.devices import available_gpus
from workers.model.runtime.instances import PlacementError, placements

if TYPE_CHECKING:
    from gateway.config.schema import Config, Worker
    from gateway.runtime import Layout

__all__ = ["layout"]

_log = logging.getLogger(__name__)


def layout(config: Config, gpus: int) -> Layout:
    """Return the device of every worker process, by model.

    A model whose files cannot be read, or whose groups cannot be placed, gets one process: it says why.

    Args:
        config: The configuration.
        gpus: How many GPUs there are.
    """
    return {
        name: spread(_devices(name, model.worker, gpus), model.worker.instances)
        for name, model in config.models.items()
        if model.worker is not None
    }


def _devices(name: str, worker: Worker, gpus: int) -> list[str]:
    try:
        files = repository.find(worker.repository, worker.model or name, worker.version)
        return [placement.text for placement in placements(files.config.message, gpus)]
    except (ModelError, PlacementError) as error:
        _log.error("model %s: %s", name, error)
        return [""]


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    sys.stdout.write(json.dumps(layout(load(Path(sys.argv[1]), os.environ)[0], available_gpus())))
