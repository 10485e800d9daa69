"""ModelStreamInfer: answers in order, errors in the stream, a few requests at once."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest

from protos.errors import MAX_MESSAGE_BYTES, AccordError, Reason
from protos.oip import messages, stream_infer
from protos.oip.stream import AT_ONCE
from protos.service import CallContext, Received

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CONTEXT = CallContext(arrived=0.0)
STRICT = CallContext(arrived=0.0, metadata={"triton_grpc_error": "true"})


async def requests(*ids: str) -> AsyncIterator[Received]:
    for name in ids:
        if name == "malformed":
            yield Received(CONTEXT, error=AccordError(Reason.MALFORMED_REQUEST, "no message"))
        else:
            yield Received(CONTEXT, request=messages.ModelInferRequest(id=name, model_name="m"))


async def answer(request: Any, _context: CallContext) -> Any:
    if request.id == "refused":
        raise AccordError(Reason.QUEUE_FULL, "full")
    if request.id == "bug":
        raise ValueError("secret")
    return messages.ModelInferResponse(id=request.id, model_name="m")


async def test_answers_come_in_the_order_of_requests_that_run_at_once() -> None:
    """The first request ends last, and is still answered first."""
    began: list[str] = []
    last = asyncio.Event()

    async def slow_first(request: Any, context: CallContext) -> Any:
        began.append(request.id)
        if request.id == "a":
            await last.wait()
        if request.id == "c":
            last.set()
        return await answer(request, context)

    answers = [a async for a in stream_infer(requests("a", "b", "c"), CONTEXT, slow_first)]
    assert [a.infer_response.id for a in answers] == ["a", "b", "c"]
    assert all(a.infer_response.parameters["triton_final_response"].bool_param for a in answers)
    assert began == ["a", "b", "c"]


async def test_a_failed_request_is_told_in_the_stream_by_a_code_and_the_stream_goes_on() -> None:
    """Text for people, reason and status number for programs; a bug's text stays here."""
    sent = ["a", "refused", "malformed", "bug", "b"]
    answers = [a async for a in stream_infer(requests(*sent), CONTEXT, answer)]
    told = [(a.infer_response.id, a.infer_response.parameters["accord_reason"].string_param) for a in answers]
    assert told == [
        ("a", ""),
        ("refused", "QUEUE_FULL"),
        ("", "MALFORMED_REQUEST"),
        ("bug", "INTERNAL"),
        ("b", ""),
    ]
    assert answers[1].infer_response.parameters["accord_code"].int64_param == 8
    assert [bool(a.error_message) for a in answers] == [False, True, True, True, False]
    assert "secret" not in answers[3].error_message


async def test_the_text_of_an_error_is_as_short_as_in_a_status() -> None:
    """A message may quote what a member says of itself, and that may be long."""

    async def wordy(_request: Any, _context: CallContext) -> Any:
        raise AccordError(Reason.INPUT_UNKNOWN, "n" * 100_000)

    (told,) = [a async for a in stream_infer(requests("a"), CONTEXT, wordy)]
    assert told.error_message == "n" * MAX_MESSAGE_BYTES


@pytest.mark.parametrize("fault", ["refused", "malformed"])
async def test_who_asks_for_statuses_gets_the_first_error_as_the_calls(fault: str) -> None:
    """Answers before it are delivered."""
    stream = stream_infer(requests("a", fault, "b"), STRICT, answer)
    assert (await anext(stream)).infer_response.id == "a"
    with pytest.raises(AccordError):
        await anext(stream)
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_what_failed_behind_the_first_error_leaves_no_complaint() -> None:
    """A client that sends many bad requests at once cannot fill the log with tracebacks."""
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, told: complaints.append(told))
    others = asyncio.Event()

    async def first_is_last(request: Any, _context: CallContext) -> Any:
        if request.id == "first":
            await others.wait()
            await asyncio.sleep(0)
        others.set()
        raise AccordError(Reason.QUEUE_FULL, "full")

    with pytest.raises(AccordError):
        async for _ in stream_infer(requests("first", *"abcdef"), STRICT, first_is_last):
            pass
    gc.collect()
    assert complaints == []


async def test_only_a_few_requests_are_under_way_at_once() -> None:
    """A client that sends without reading does not fill the memory."""
    under_way, most, release = 0, 0, asyncio.Event()

    async def held(request: Any, context: CallContext) -> Any:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        if most == AT_ONCE:
            release.set()
        await release.wait()
        under_way -= 1
        return await answer(request, context)

    ids = [str(i) for i in range(4 * AT_ONCE)]
    answers = [a async for a in stream_infer(requests(*ids), CONTEXT, held)]
    assert [a.infer_response.id for a in answers] == ids
    assert most == AT_ONCE


async def test_closing_the_stream_cancels_and_awaits_what_is_under_way() -> None:
    """Nothing is left running when the client has gone."""
    ended: list[str] = []
    others = asyncio.Barrier(3)

    async def endless(request: Any, context: CallContext) -> Any:
        await others.wait()
        if request.id == "a":
            return await answer(request, context)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(request.id)

    stream = stream_infer(requests("a", "b", "c"), CONTEXT, endless)
    assert (await anext(stream)).infer_response.id == "a"
    await stream.aclose()
    assert sorted(ended) == ["b", "c"]
