"""What a loaded model goes through before it serves: it is warmed up, timed, and looked into."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from workers.model.independence import examine
from workers.model.pace import measure
from workers.model.warmup import warm_up

if TYPE_CHECKING:
    from workers.model.session import Session

__all__ = ["make_ready"]

_log = logging.getLogger(__name__)


def make_ready(session: Session) -> None:
    """Get a model ready to serve.

    Raises:
        ModelError: If it cannot be warmed up.
    """
    warm_up(session)
    row_s = measure(session)
    examine(session)
    facts = {"model": session.spec.name, "run_us": round(row_s * 1e6), "steady": session.pace.steady}
    _log.info("model ready", extra=facts)
