"""One request's way through the edge: look up, validate, admit, ask, hand back or raise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.edge.admission import Admission, deadline
from gateway.engine.override import Overrides
from gateway.values import Reply, Rider
from protos import oip
from protos.errors import AccordError, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.edge.coalesce import Coalescer
    from gateway.engine.catalog import Catalog
    from gateway.engine.plan import Plan
    from gateway.observe.metrics import Metrics
    from protos.rpc import CallContext
    from protos.tensor import Tensor

__all__ = ["Asker", "Query"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A request as values, whichever protocol brought it.

    Args:
        name: The ensemble or model.
        version: The version wanted; empty = the served one.
        id: The caller's id.
        inputs: Tensors by name, in request order.
        wanted: Outputs wanted; empty = all.
        overrides: What it changes.
        timeout_s: The budget it names; None = none.
        keep_members: Whether each member's own outputs are wanted.
    """

    name: str
    version: str = ""
    id: str = ""
    inputs: Mapping[str, Tensor]
    wanted: tuple[str, ...] = ()
    overrides: Overrides = field(default_factory=Overrides)
    timeout_s: float | None = None
    keep_members: bool = False


class Asker:
    """Answers queries.

    Args:
        catalog: What is served.
        admission: Who gets in.
        coalescer: Makes batches and asks the engine.
        metrics: Counts what happened.
    """

    def __init__(
        self, *, catalog: Catalog, admission: Admission, coalescer: Coalescer, metrics: Metrics
    ) -> None:
        self.catalog = catalog
        self.admission = admission
        self._coalescer = coalescer
        self._metrics = metrics

    def known(self, name: str, version: str) -> Plan:
        """Look up a plan of whose models something is known.

        Raises:
            AccordError: MODEL_NOT_FOUND, VERSION_NOT_FOUND or MODEL_NOT_READY.
        """
        plan = self.catalog.plan(name, version)
        if not plan.known:
            raise AccordError(
                Reason.MODEL_NOT_READY, f"model {name!r} is not ready", metadata={"model": name}
            )
        return plan

    async def ask(self, query: Query, context: CallContext) -> tuple[Plan, Reply]:
        """Answer one query.

        Returns:
            The plan that answered and its reply, which holds no error.

        Raises:
            AccordError: Any reason a caller can be told.
        """
        plan = self.catalog.overridden(self.known(query.name, query.version), query.overrides)
        until = deadline(
            context.arrived, cap_s=plan.deadline_s, rpc_deadline=context.deadline, timeout_s=query.timeout_s
        )
        rows = oip.check_inputs(
            query.inputs, plan.inputs, model=plan.name, batches=plan.batches, max_rows=plan.max_rows
        )
        oip.check_wanted(query.wanted, (spec.name for spec in plan.outputs), model=plan.name)
        rider = Rider(id=query.id, rows=slice(0, rows), arrived=context.arrived, deadline=until)
        with self.admission.admit(context.arrived, rider.closes_at):
            reply = await self._coalescer.ask(
                plan, query.inputs, n=rows, wanted=query.wanted, rider=rider, keep_members=query.keep_members
            )
        self._metrics.report(plan.name, reply.report)
        if reply.error is not None:
            raise reply.error
        return plan, reply
