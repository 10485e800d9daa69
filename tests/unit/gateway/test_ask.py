"""One request's way through the edge: what members get of it, and what comes back."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gateway.edge.admission import Admission
from gateway.edge.ask import Asker, Query
from gateway.edge.coalesce import Coalescer
from gateway.engine.catalog import Catalog
from gateway.engine.engine import Engine
from gateway.engine.override import Overrides
from gateway.observe.metrics import Metrics
from gateway.observe.statistics import Ledger
from protos.errors import AccordError, Cause
from protos.service import CallContext
from protos.tensor import Tensor, TensorSpec
from tests.clock import run
from tests.fakes import NEVER, FakeMember, Turn, adds, config, ensemble, fakes, late, lost, seats, spec

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from gateway.values import Question, Reply

MEAN = {"e": ensemble({"model": "a"}, {"model": "b"}, quorum=1)}
TASKS = {"e": ensemble({"model": "a"}, {"model": "b"}, kind="tasks")}


def asker_of(members: dict[str, FakeMember], ensembles: dict[str, Any], **server: Any) -> Asker:
    return Asker(
        catalog=Catalog(config(ensembles, members, **server), members),
        admission=Admission(max_in_flight=2, max_request_bytes=1000, max_bytes_in_flight=10**6),
        coalescer=coalescer_of(Engine(members)),
        fresh_id=lambda: "fresh",
    )


def coalescer_of(engine: Engine) -> Coalescer:
    return Coalescer(engine, Metrics(), Ledger(), max_linger_s=0.005, max_bytes=10**6)


def query(**changes: Any) -> Query:
    x = Tensor.from_array(np.array([[1.0]], np.float32))
    return Query(**({"name": "e", "inputs": {"x": x}} | changes))


def ended(asker: Asker, main: Coroutine[Any, Any, Any]) -> Any:
    """Run a request to the end of everything that it started."""

    async def whole() -> Any:
        try:
            return await main
        finally:
            await asker._coalescer.drain()
            assert asker.admission.in_flight == 0

    return run(whole())


def asked(members: dict[str, FakeMember], asker: Asker, request: Query, **call: Any) -> list[Question]:
    """Send one request; return what its members were asked."""
    ended(asker, asker.ask(request, CallContext(0.0, **call)))
    return [asked.question for member in members.values() for asked in member.asked]


async def replies_of(asker: Asker, request: Query) -> list[Reply]:
    return [reply async for _, reply in asker.stream(request, CallContext(0.0))]


# --- what members get ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("timeout_s", "rpc_deadline", "left_s"), [(None, None, 29.95), (2.0, None, 1.95), (2.0, 1.0, 0.95)]
)
def test_members_get_the_time_that_remains(
    timeout_s: float | None, rpc_deadline: float | None, left_s: float
) -> None:
    """The shortest of all budgets, less what the way home takes."""
    members = fakes(a=late(0.1), b=late(0.1))
    got = asked(members, asker_of(members, MEAN), query(timeout_s=timeout_s), deadline=rpc_deadline)
    assert [question.deadline for question in got] == pytest.approx([left_s] * 2)


def test_members_get_parameters_priority_id_and_metadata() -> None:
    """Each call carries what the request and its call brought along."""
    members = fakes(a=late(0.1), b=late(0.1))
    asker = asker_of(members, MEAN, pass_metadata=["x-tenant"])
    metadata = {"traceparent": "t", "x-tenant": "red", "authorization": "secret"}
    request = query(id="seven", priority=3, parameters={"temperature": 0.5})
    for question in asked(members, asker, request, metadata=metadata):
        assert (question.id, question.priority) == ("seven", 3)
        assert question.parameters == {"temperature": 0.5}
        assert question.metadata == (("x-request-id", "seven"), ("traceparent", "t"), ("x-tenant", "red"))


def test_a_request_without_an_id_gets_one_for_members_and_errors() -> None:
    """The same fresh id goes down and comes back in the error, so that the logs can be joined."""
    members = fakes(a=lost(Cause.MEMBER_INTERNAL), b=lost(Cause.MEMBER_INTERNAL))
    asker = asker_of(members, MEAN)
    with pytest.raises(AccordError) as caught:
        asked(members, asker, query())
    assert members["a"].asked[0].question.id == "fresh"
    assert caught.value.metadata["request_id"] == "fresh"


def test_an_id_of_the_call_serves_where_the_request_has_none() -> None:
    """What a proxy in front of us calls the request, members call it too."""
    members = fakes(a=late(0.1), b=late(0.1))
    got = asked(members, asker_of(members, MEAN), query(), metadata={"x-request-id": "proxy"})
    assert {question.id for question in got} == {"proxy"}


@pytest.mark.parametrize("request_id", ["seven", "i" * 1000])
def test_an_error_before_anyone_was_asked_names_the_request_too(request_id: str) -> None:
    """Long ids are cut there: trailers are small."""
    asker = asker_of(fakes(a=late(0.1), b=late(0.1)), MEAN)
    with pytest.raises(AccordError) as caught:
        ended(asker, asker.ask(query(id=request_id, name="nope"), CallContext(0.0)))
    assert caught.value.metadata["request_id"] == request_id[:128]


def test_only_what_the_wanted_outputs_need_is_asked() -> None:
    """The other tasks are not asked, and inputs are still those of the whole."""
    members = fakes(a=late(0.1), b=late(NEVER))
    asker = asker_of(members, TASKS)
    _, reply = ended(asker, asker.ask(query(wanted=("a.y",)), CallContext(0.0)))
    assert list(reply.outputs) == ["a.y"]
    assert members["b"].asked == []


def test_the_plan_for_some_outputs_is_made_once() -> None:
    """Whatever their order; plans that requests thought of push no others out."""
    members = fakes(a=late(0.1), b=late(0.1), c=late(0.1))
    catalog = asker_of(members, {"e": ensemble(*seats("a", "b", "c"), kind="tasks")}).catalog
    plan = catalog.plan("e")
    cut = catalog.wanting(plan, ("a.y", "b.y"))
    assert catalog.wanting(plan, ("b.y", "a.y")) is cut
    assert catalog.wanting(plan, ()) is plan
    own = replace(plan, deadline_s=1.0)
    assert catalog.wanting(own, ("a.y", "b.y")).deadline_s == 1.0
    before = catalog._cut.cache_info().currsize
    for budget in range(3):
        catalog.wanting(replace(plan, deadline_s=2.0 + budget), ("a.y",))
    assert catalog._cut.cache_info().currsize == before


def test_equal_overrides_give_one_plan() -> None:
    """So that their requests can ride together; different ones do not."""
    members = fakes(a=late(0.1), b=late(0.1))
    catalog = asker_of(members, {"e": ensemble(*seats("a", "b"), overrides=["weights"])}).catalog
    plan = catalog.plan("e")
    first, again, other = (
        catalog.overridden(plan, Overrides(weights={"a": weight})) for weight in (2.0, 2.0, 3.0)
    )
    assert first is again
    assert first is not other


# --- optional inputs -----------------------------------------------------------------------------------

X, MASK = TensorSpec("x", "FP32", (-1, 1)), TensorSpec("mask", "FP32", (-1, 1), optional=True)


def choosy(*inputs: TensorSpec) -> FakeMember:
    return FakeMember(spec("m", inputs=inputs), Turn(says=adds(1.0)))


def column(*values: float) -> Tensor:
    return Tensor.from_array(np.array(values, np.float32).reshape(-1, 1))


def test_members_get_only_the_inputs_that_are_there() -> None:
    """An optional input that is left out is left out for everyone; one that is sent goes to who takes it."""
    members = {"a": choosy(MASK, X), "b": choosy(X)}
    asker = asker_of(members, MEAN)
    got = asked(members, asker, query(inputs={"x": column(1.0)}))
    assert [sorted(question.inputs) for question in got] == [["x"], ["x"]]
    got = asked(members, asker, query(inputs={"x": column(1.0), "mask": column(0.0)}))
    assert [sorted(question.inputs) for question in got[1::2]] == [["mask", "x"], ["x"]]


def test_an_input_that_one_member_needs_is_needed() -> None:
    """Optional for the other or not: the request must carry it, and is told so by name."""
    members = {"a": choosy(X, MASK), "b": choosy(X, replace(MASK, optional=False))}
    asker = asker_of(members, MEAN)
    with pytest.raises(AccordError) as caught:
        ended(asker, asker.ask(query(), CallContext(0.0)))
    assert caught.value.reason.name == "INPUT_MISSING"
    assert "'mask'" in caught.value.message


def test_rows_are_counted_by_the_inputs_that_are_there() -> None:
    """The first input of the model is left out, and the batch has as many rows as the second."""
    members = {"a": choosy(MASK, X), "b": choosy(MASK, X)}
    asker = asker_of(members, MEAN)
    _, reply = ended(asker, asker.ask(query(inputs={"x": column(1.0, 2.0, 3.0)}), CallContext(0.0)))
    assert reply.outputs["y"].array().ravel().tolist() == [2.0, 3.0, 4.0]


# --- streams -------------------------------------------------------------------------------------------


def test_a_stream_ends_with_what_a_plain_request_gets() -> None:
    """Interim replies come first, the last is final."""
    members = fakes(a=late(0.1, 1.0), b=late(0.2, 3.0))
    asker = asker_of(members, MEAN)
    replies = ended(asker, replies_of(asker, query()))
    assert [(reply.final, reply.report.used) for reply in replies] == [(False, 1), (True, 2)]
    _, plain = ended(asker, asker.ask(query(), CallContext(0.0)))
    assert replies[-1].outputs["y"].raw == plain.outputs["y"].raw


def test_a_stream_that_fails_at_last_raises_after_what_it_yielded() -> None:
    """The failure takes the place of the final reply, and names the request."""
    members = fakes(a=late(0.1), b=lost(Cause.WORKER_CRASHED, 0.2))
    asker = asker_of(members, {"e": ensemble(*seats("a", "b"))})
    got: list[bool] = []

    async def main() -> None:
        async for _, reply in asker.stream(query(), CallContext(0.0)):
            got.append(reply.final)

    with pytest.raises(AccordError) as caught:
        ended(asker, main())
    assert got == [False]
    assert (caught.value.reason.name, caught.value.metadata["request_id"]) == ("QUORUM_NOT_MET", "fresh")


def test_a_slow_reader_gets_the_newest_interim_reply_and_the_final_one() -> None:
    """What it did not take in time is overtaken; the final one waits for it."""
    members = {name: FakeMember(spec(name), late(0.1 * (i + 1))) for i, name in enumerate("abcdfg")}
    asker = asker_of(members, {"e": ensemble(*seats(*members), quorum=1)})
    used: list[int] = []

    async def main() -> None:
        async with aclosing(asker.stream(query(), CallContext(0.0))) as replies:
            async for _, reply in replies:
                used.append(reply.report.used)
                await asyncio.sleep(0.35 if len(used) == 1 else 5.0)

    ended(asker, main())
    assert used == [1, 4, 6]


@pytest.mark.parametrize("how", ["closed", "cancelled"])
def test_a_caller_who_goes_away_ends_the_work(how: str) -> None:
    """Members are told to stop at once, and the place is given back."""
    members = fakes(a=late(0.1), b=late(NEVER))
    asker = asker_of(members, MEAN)

    async def main() -> None:
        if how == "closed":
            async with aclosing(asker.stream(query(), CallContext(0.0))) as replies:
                await anext(replies)
        else:
            reading = asyncio.create_task(replies_of(asker, query()))
            await asyncio.sleep(0.2)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    ended(asker, main())
    (call,) = members["b"].asked
    assert call.cancelled
    assert call.ended is not None
    assert call.ended < 1.0


def test_an_engine_that_breaks_ends_the_stream() -> None:
    """Nobody waits for a reply that will not come."""

    class Broken(Engine):
        async def run(self, batch: Any, deliver: Any) -> None:
            raise RuntimeError("a bug")

    members = fakes(a=late(0.1), b=late(0.1))
    asker = asker_of(members, MEAN)
    asker._coalescer = coalescer_of(Broken(members))
    with pytest.raises(RuntimeError):
        ended(asker, replies_of(asker, query()))
    with pytest.raises(RuntimeError):
        ended(asker, asker.ask(query(), CallContext(0.0)))
