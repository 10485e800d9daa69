"""Counts every request that comes, and logs those that fail, whichever service they asked.

A request is answered when its answer is made, not before: an answer that cannot be put as its caller wants it
is a failure.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from gateway.edge.propagation import MAX_SHOWN_ID
from protos.errors import AccordError, Reason, internal_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.edge.ask import Asker
    from gateway.engine.plan import Plan
    from gateway.observe.metrics import Metrics
    from gateway.observe.statistics import Ledger
    from gateway.values import Reply
    from protos.service import CallContext

__all__ = ["Accounts"]

_log = logging.getLogger(__name__)


class Accounts:
    """What became of each request.

    Args:
        asker: Knows what is served, and makes ids for requests that have none.
        metrics: Where they are counted; label values are names that we serve, never others.
        ledger: Where those of what is served are recorded for the protocol's statistics.
        clock: Source of monotonic time, the same as the calls'.
    """

    def __init__(
        self, asker: Asker, metrics: Metrics, ledger: Ledger, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._asker = asker
        self._metrics = metrics
        self._ledger = ledger
        self._clock = clock

    @contextmanager
    def request(
        self, method: str, context: CallContext, *, name: str, version: str, own_id: str
    ) -> Iterator[Callable[[Plan, Reply], None]]:
        """Account for one request while it is answered in the body.

        Args:
            method: What was called.
            context: The call that brings it.
            name: The model or ensemble that it names.
            version: The version that it names; may be empty.
            own_id: The id that it carries; may be empty.

        Yields:
            What is to be told the plan and the final reply, once the answer is made.

        Raises:
            AccordError: What the body raises, with the request's id; INTERNAL for anything that is none.
        """
        code, reason = "OK", ""
        try:
            yield partial(self._answered, context)
        except (asyncio.CancelledError, GeneratorExit):
            code, reason = "CANCELLED", "CLIENT_CANCELLED"
            raise
        except Exception as error:  # noqa: BLE001 - counted and named here, answered by the caller
            told = error if isinstance(error, AccordError) else internal_error()
            code, reason = told.reason.code.name, told.reason.name
            told.metadata.setdefault("request_id", self._asker.request_id(own_id, context)[:MAX_SHOWN_ID])
            self._report(name, context, told, None if told is error else error)
            raise told from None
        finally:
            elapsed_s = self._clock() - context.arrived
            if reason:
                self._failed(name, version, elapsed_s)
            known = name if self._asker.catalog.serves(name) else ""
            self._metrics.request(known, method, code, reason, elapsed_s)

    def _answered(self, context: CallContext, plan: Plan, reply: Reply) -> None:
        (rider,) = reply.riders
        rows = rider.rows.stop - rider.rows.start
        elapsed_s = self._clock() - context.arrived
        self._ledger.answered(plan.name, plan.version, rows, elapsed_s, reply.report)

    def _failed(self, name: str, version: str, elapsed_s: float) -> None:
        with suppress(AccordError):  # of what is not served, nothing is recorded
            plan = self._asker.catalog.plan(name, version)
            self._ledger.failed(plan.name, plan.version, elapsed_s)

    def _report(self, name: str, context: CallContext, told: AccordError, bug: Exception | None) -> None:
        level = logging.ERROR if told.reason is Reason.INTERNAL else logging.INFO
        facts = {"model": name[:128], "reason": told.reason.name, "peer": context.peer, **told.metadata}
        _log.log(level, "request failed: %s", told.message[:512], extra=facts, exc_info=bug)
