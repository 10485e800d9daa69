"""The typed service: the choice of members, permitted overrides, the full report."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import TYPE_CHECKING

from accord.v1 import ensemble_pb2 as pb
from gateway.edge.convert import from_infer, to_infer, to_infer_stream, to_quorum
from gateway.engine.plan import Call, Merge, seats_of
from protos.service import Method, ServerStream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from contextlib import AbstractContextManager

    from gateway.edge.accounts import Accounts
    from gateway.edge.ask import Asker
    from gateway.engine.plan import Plan, Seat
    from gateway.values import Reply
    from protos.service import CallContext, Rpc
    from protos.tensor import TensorSpec

__all__ = ["EnsembleService"]


class EnsembleService:
    """Serves ``accord.v1.EnsembleService``.

    Args:
        asker: Answers queries.
        accounts: Counts them.
    """

    def __init__(self, asker: Asker, accounts: Accounts) -> None:
        self._asker = asker
        self._accounts = accounts
        self._catalog = asker.catalog

    def methods(self) -> dict[str, Rpc]:
        """Return the methods by name."""
        return {
            "Infer": Method(pb.InferRequest, self.infer),
            "InferStream": ServerStream(pb.InferRequest, self.infer_stream),
            "ListEnsembles": Method(pb.ListEnsemblesRequest, self.list_ensembles),
            "DescribeEnsemble": Method(pb.DescribeEnsembleRequest, self.describe_ensemble),
        }

    async def infer(self, request: pb.InferRequest, context: CallContext) -> pb.InferResponse:
        """Answer one request."""
        room = self._asker.admission.receive(context.request_bytes)
        with self._account("Infer", request, context) as answered, room:
            query = from_infer(request)
            plan, reply = await self._asker.ask(query, context)
            response = to_infer(plan, query, reply)
            answered(plan, reply)
            return response

    async def infer_stream(
        self, request: pb.InferRequest, context: CallContext
    ) -> AsyncGenerator[pb.InferStreamResponse, None]:
        """Answer one request as its members arrive; the last answer is final."""
        room = self._asker.admission.receive(context.request_bytes)
        with self._account("InferStream", request, context) as answered, room:
            query = from_infer(request)
            async with aclosing(self._asker.stream(query, context)) as replies:
                async for plan, reply in replies:
                    yield to_infer_stream(plan, query, reply)
                    if reply.final:
                        answered(plan, reply)

    async def list_ensembles(
        self, _request: pb.ListEnsemblesRequest, _context: CallContext
    ) -> pb.ListEnsemblesResponse:
        """List ensembles, then exposed models."""
        return pb.ListEnsemblesResponse(ensembles=[self._summary(plan) for plan in self._catalog.plans()])

    async def describe_ensemble(
        self, request: pb.DescribeEnsembleRequest, _context: CallContext
    ) -> pb.DescribeEnsembleResponse:
        """Describe one ensemble or exposed model."""
        plan = self._catalog.plan(request.ensemble, request.version)
        ensemble = self._catalog.config.ensembles.get(plan.name)
        return pb.DescribeEnsembleResponse(
            name=plan.name,
            version=plan.version,
            strategy=plan.kind,
            options_json=json.dumps(ensemble.strategy.options) if ensemble else "",
            inputs=_tensors(plan.inputs),
            outputs=_tensors(plan.outputs),
            members=self._members(plan),
            quorum=to_quorum(ensemble.quorum) if ensemble and ensemble.quorum else None,
            deadline_s=plan.deadline_s,
            overrides=ensemble.overrides if ensemble else (),
            ready=self._catalog.ready(plan),
        )

    def _account(
        self, method: str, request: pb.InferRequest, context: CallContext
    ) -> AbstractContextManager[Callable[[Plan, Reply], None]]:
        return self._accounts.request(
            method, context, name=request.ensemble, version=request.version, own_id=request.id
        )

    def _summary(self, plan: Plan) -> pb.EnsembleSummary:
        members = self._members(plan)
        return pb.EnsembleSummary(
            name=plan.name,
            version=plan.version,
            strategy=plan.kind,
            ready=self._catalog.ready(plan),
            members=len(members),
            members_ready=sum(member.ready for member in members),
        )

    def _members(self, plan: Plan) -> list[pb.MemberDescription]:
        """Describe those that count, then those that only feed others; a model has no members."""
        if not plan.kind:
            return []
        above = plan.upstream.seats if plan.upstream else ()
        problems: list[str] = []
        for seat in above:  # each after those that it reads
            problems.append(self._problem(seat, above, problems))
        feeders = [seat for seat in above if not seat.counts]
        return [
            pb.MemberDescription(
                seat=seat.name,
                model=seat.target,
                weight=seat.weight,
                required=seat.required,
                timeout_s=seat.timeout_s or 0.0,
                ready=not (problem := self._problem(seat, above, problems)),
                problem=problem,
                feeder=not seat.counts,
                reads=[above[i].name for i in _read_by(seat, above)],
            )
            for seat in (*plan.merge.seats, *feeders)
        ]

    def _problem(self, seat: Seat, above: Sequence[Seat], problems: Sequence[str]) -> str:
        """Return why a member cannot be asked now, or nothing; ``problems`` are those of what it reads."""
        if seat.problem:
            return seat.problem
        if isinstance(seat.source, Merge):
            if not self._catalog.ready(self._catalog.plan(seat.target)):
                return "its quorum cannot be reached now"
        elif not self._catalog.model_ready(seat.target):
            return "its model is not ready"
        lost = next((above[i].name for i in _read_by(seat, above) if problems[i]), "")
        return f"it reads {lost!r}, which is not ready" if lost else ""


def _read_by(seat: Seat, above: Sequence[Seat]) -> list[int]:
    """Return the upstream seats that a member reads; of an ensemble, those outside that its members read."""
    inside, found, seen = [seat], dict[int, None](), set[int]()
    while inside:
        source = inside.pop().source
        below = [inner.source for inner in seats_of(source)] if isinstance(source, Merge) else [source]
        for i in (feed.seat for call in below if isinstance(call, Call) for feed in call.feeds):
            if not above[i].name.startswith(f"{seat.name}/"):
                found[i] = None
            elif i not in seen:
                seen.add(i)
                inside.append(above[i])
    return list(found)


def _tensors(specs: Sequence[TensorSpec]) -> list[pb.TensorDescription]:
    return [
        pb.TensorDescription(
            name=s.name, datatype=s.datatype, shape=s.shape, labels=s.labels, optional=s.optional
        )
        for s in specs
    ]
