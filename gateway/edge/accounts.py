"""Counts every request and logs those that fail, however they came and whichever service they asked."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from protos.errors import AccordError, Reason, internal_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.edge.ask import Asker
    from gateway.observe.metrics import Metrics
    from protos.service import CallContext

__all__ = ["Accounts"]

_log = logging.getLogger(__name__)


class Accounts:
    """What became of each request.

    Args:
        asker: Knows what is served, and makes ids for requests that have none.
        metrics: Where they are counted; label values are names that we serve, never others.
        clock: Source of monotonic time.
    """

    def __init__(
        self, asker: Asker, metrics: Metrics, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._asker = asker
        self._metrics = metrics
        self._clock = clock

    @contextmanager
    def request(self, method: str, name: str, own_id: str, context: CallContext) -> Iterator[None]:
        """Account for one request while it is answered in the body.

        Args:
            method: What was called.
            name: The model or ensemble that it names.
            own_id: The id that it carries; may be empty.
            context: The call that brings it.

        Raises:
            AccordError: What the body raises, with the request's id; INTERNAL for anything that is none.
        """
        code, reason = "OK", ""
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):
            code, reason = "CANCELLED", "CLIENT_CANCELLED"
            raise
        except Exception as error:  # noqa: BLE001 - counted and named here, answered by the caller
            told = error if isinstance(error, AccordError) else internal_error()
            code, reason = told.reason.code.name, told.reason.name
            told.metadata.setdefault("request_id", self._asker.request_id(own_id, context)[:128])
            self._report(name, context, told, None if told is error else error)
            raise told from None
        finally:
            known = name if self._asker.catalog.serves(name) else ""
            self._metrics.request(known, method, code, reason, self._clock() - context.arrived)

    def _report(self, name: str, context: CallContext, told: AccordError, bug: Exception | None) -> None:
        level = logging.ERROR if told.reason is Reason.INTERNAL else logging.INFO
        facts = {"model": name[:128], "reason": told.reason.name, "peer": context.peer, **told.metadata}
        _log.log(level, "request failed: %s", told.message[:512], extra=facts, exc_info=bug)
