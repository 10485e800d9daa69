"""One request's way through the edge: look up, validate, admit, ask, hand back or raise."""

from __future__ import annotations

import random
import secrets
from contextlib import AbstractContextManager, aclosing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.edge.admission import Admission, deadline
from gateway.edge.propagation import MAX_SHOWN_ID, passed_on, request_id
from gateway.engine.override import Overrides
from gateway.values import Batch, Reply, Rider
from protos import oip
from protos.errors import AccordError, Reason

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Mapping

    from gateway.edge.coalesce import Coalescer
    from gateway.engine.catalog import Catalog
    from gateway.engine.plan import Plan
    from protos.service import CallContext
    from protos.tensor import Tensor

__all__ = ["Asker", "Query"]


#: Ids tell requests apart and guard nothing, so they need no system call each.
_random = random.Random(secrets.randbits(64))  # noqa: S311 - see above


def _random_id() -> str:
    return f"{_random.getrandbits(64):016x}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A request as values, whichever protocol brought it.

    Args:
        name: The ensemble or model.
        version: The version wanted; empty = the served one.
        id: The caller's own id; may be empty.
        inputs: Tensors by name, in request order.
        wanted: Outputs wanted; empty = all.
        classes: How many classes are wanted of those outputs that are wanted as classes.
        typed: Whether the answer's tensors are wanted as typed contents.
        overrides: What it changes.
        timeout_s: The budget it names; None = none.
        priority: Its rank in the members' queues, 1 = highest; 0 = none given.
        parameters: The caller's own parameters, for the models.
        keep_members: Whether each member's own outputs are wanted.
    """

    name: str
    version: str = ""
    id: str = ""
    inputs: Mapping[str, Tensor]
    wanted: tuple[str, ...] = ()
    classes: Mapping[str, int] = field(default_factory=dict)
    typed: bool = False
    overrides: Overrides = field(default_factory=Overrides)
    timeout_s: float | None = None
    priority: int = 0
    parameters: Mapping[str, oip.Parameter] = field(default_factory=dict)
    keep_members: bool = False


class Asker:
    """Answers queries.

    Args:
        catalog: What is served.
        admission: Who gets in.
        coalescer: Makes batches and asks the engine.
        fresh_id: Makes ids for requests that come without one.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        admission: Admission,
        coalescer: Coalescer,
        fresh_id: Callable[[], str] = _random_id,
    ) -> None:
        self.catalog = catalog
        self.admission = admission
        self._coalescer = coalescer
        self._fresh_id = fresh_id

    def known(self, name: str, version: str) -> Plan:
        """Look up a plan of whose models something is known.

        Raises:
            AccordError: MODEL_NOT_FOUND, VERSION_NOT_FOUND or MODEL_NOT_READY.
        """
        plan = self.catalog.plan(name, version)
        if not plan.known or self.catalog.is_out(name):
            raise AccordError(
                Reason.MODEL_NOT_READY, f"model {name!r} is not ready", metadata={"model": name}
            )
        return plan

    def request_id(self, own: str, context: CallContext) -> str:
        """Return the id of a request: its own, else its call's, else a fresh one."""
        return request_id(own, context.metadata or {}, self._fresh_id)

    async def ask(self, query: Query, context: CallContext) -> tuple[Plan, Reply]:
        """Answer one query.

        Returns:
            The plan that answered and its reply, which holds no error.

        Raises:
            AccordError: Any reason a caller can be told; it names the request's id.
        """
        known_as = self.request_id(query.id, context)
        with _named(known_as):
            plan, batch = self._batch(query, context, known_as, interim=False)
            with self._admitted(batch):
                reply = await self._coalescer.ask(batch)
            return plan, _told(reply)

    async def stream(self, query: Query, context: CallContext) -> AsyncGenerator[tuple[Plan, Reply], None]:
        """Answer one query with what there is whenever a member arrives; the last reply is final.

        Raises:
            AccordError: As :meth:`ask`, in place of the final reply.
        """
        known_as = self.request_id(query.id, context)
        with _named(known_as):
            plan, batch = self._batch(query, context, known_as, interim=True)
            with self._admitted(batch):
                async with aclosing(self._coalescer.stream(batch)) as replies:
                    async for reply in replies:
                        yield plan, _told(reply)

    def _batch(
        self, query: Query, context: CallContext, known_as: str, *, interim: bool
    ) -> tuple[Plan, Batch]:
        """Check a query against the plan that answers it, and put it into a batch of its own."""
        whole = self.catalog.overridden(self.known(query.name, query.version), query.overrides)
        rows = oip.check_inputs(
            query.inputs, whole.inputs, model=whole.name, batches=whole.batches, max_rows=whole.max_rows
        )
        oip.check_wanted(query.wanted, (spec.name for spec in whole.outputs), model=whole.name)
        able = self.catalog.lacking(whole, query.inputs)
        _check_possible(query, able)
        plan = self.catalog.wanting(able, query.wanted)
        rider = Rider(
            id=known_as,
            rows=slice(0, rows),
            arrived=context.arrived,
            deadline=deadline(
                context.arrived,
                cap_s=plan.deadline_s,
                rpc_deadline=context.deadline,
                timeout_s=query.timeout_s,
            ),
            interim=interim,
            priority=query.priority,
            metadata=passed_on(context.metadata or {}, known_as, self.catalog.config.server.pass_metadata),
        )
        return plan, Batch(
            route=plan,
            n=rows,
            inputs=query.inputs,
            wanted=query.wanted,
            parameters=query.parameters,
            riders=[rider],
            keep_members=query.keep_members,
        )

    def _admitted(self, batch: Batch) -> AbstractContextManager[None]:
        (rider,) = batch.riders
        return self.admission.admit(rider.arrived, rider.closes_at)


def _check_possible(query: Query, plan: Plan) -> None:
    """Refuse to be asked for an output that takes an input which the request lacks."""
    if not plan.spared:
        return
    possible = {spec.name for spec in plan.outputs}
    for i, name in enumerate(query.wanted):
        if name not in possible:
            absent = ", ".join(repr(each) for each in sorted(plan.spared.difference(query.inputs)))
            raise AccordError(
                Reason.INPUT_MISSING,
                f"output {name!r} needs an optional input that the request lacks: {absent}",
                field=f"outputs[{i}]",
                metadata={"model": plan.name},
            )


def _told(reply: Reply) -> Reply:
    if reply.error is not None:
        raise reply.error
    return reply


@contextmanager
def _named(known_as: str) -> Iterator[None]:
    """Have every error name the request."""
    try:
        yield
    except AccordError as error:
        error.metadata["request_id"] = known_as[:MAX_SHOWN_ID]
        raise
