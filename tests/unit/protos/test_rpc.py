"""The join to grpc.aio: whatever a service does, a client gets a precise status and no inside knowledge."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from accord.v1 import ensemble_pb2 as pb
from accord.v1 import errors_pb2
from protos.errors import AccordError, Cause, Outcome, Reason
from protos.rpc import handlers
from protos.service import CallContext, Method, Received, ServerStream, Stream
from tests.serving import decode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Serve = "Callable[[Any, CallContext], Awaitable[Any]]"
PATH = "/test.Service/Ask"


@asynccontextmanager
async def serving(serve: Any) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        [handlers("test.Service", {"Ask": Method(pb.InferRequest, serve)}, unsupported={"Other": "not here"})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)


async def failure(serve: Any, data: bytes = b"", path: str = PATH) -> Any:
    async with serving(serve) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(path)(data, timeout=5)
        return decode(caught.value)


async def answer(request: pb.InferRequest, _context: CallContext) -> pb.InferResponse:
    return pb.InferResponse(id=request.id)


async def test_a_valid_request_reaches_the_service_and_its_answer_returns() -> None:
    """Bytes in, message to the service, bytes out."""
    async with serving(answer) as channel:
        data = await channel.unary_unary(PATH)(pb.InferRequest(id="7").SerializeToString())
    assert pb.InferResponse.FromString(data).id == "7"


async def test_bytes_that_are_no_message_are_the_callers_fault() -> None:
    """GRPC's own deserialiser would answer UNKNOWN with exception text."""
    failed = await failure(answer, b"\xff\xff")
    assert (failed.code, failed.info.reason) == ("INVALID_ARGUMENT", "MALFORMED_REQUEST")


@pytest.mark.parametrize(
    "bug", [ValueError("secret /path"), KeyError("secret"), asyncio.CancelledError("secret"), StopIteration()]
)
async def test_a_bug_is_internal_and_its_text_stays_here(
    bug: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """Odd exceptions, a CancelledError of our own making included, end in INTERNAL with a fixed text."""

    async def broken(_request: Any, _context: CallContext) -> Any:
        raise bug

    started = time.monotonic()
    failed = await failure(broken)
    assert (failed.code, failed.info.reason) == ("INTERNAL", "INTERNAL")
    assert "secret" not in failed.message
    # without the wrapper a stray CancelledError sends no status: the client would wait its whole 5 s
    assert time.monotonic() - started < 2
    assert "handler" in caplog.text


async def test_without_the_wrapper_a_stray_cancellation_leaves_the_client_waiting() -> None:
    """Negative control: plain grpc.aio sends no status for it (grpc/grpc#29248)."""

    async def broken(_data: bytes, _context: Any) -> bytes:
        raise asyncio.CancelledError

    class Bare(grpc.GenericRpcHandler):
        def service(self, _details: grpc.HandlerCallDetails) -> Any:
            return grpc.unary_unary_rpc_method_handler(broken)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers([Bare()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(PATH)(b"", timeout=0.5)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await server.stop(None)


@pytest.mark.parametrize("how", ["cancel", "deadline"])
async def test_a_client_that_leaves_cancels_the_service_quietly(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Cancellation travels down as task cancellation, and is no error of ours to log."""
    began, ended = asyncio.Event(), asyncio.Event()

    async def long(_request: Any, _context: CallContext) -> Any:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with serving(long) as channel:
        call = channel.unary_unary(PATH)(b"", timeout=0.2 if how == "deadline" else 5)
        await began.wait()
        if how == "cancel":
            call.cancel()
        await asyncio.wait_for(ended.wait(), 5)
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            await call
    assert "handler" not in caplog.text


async def test_the_rpc_deadline_arrives_as_an_absolute_instant() -> None:
    """With a timeout the context holds its end; without one it holds none."""
    seen: list[CallContext] = []

    async def note(_request: Any, context: CallContext) -> Any:
        seen.append(context)
        return pb.InferResponse()

    async with serving(note) as channel:
        await channel.unary_unary(PATH)(b"", timeout=5)
        await channel.unary_unary(PATH)(b"")
    assert seen[0].deadline is not None
    # gRPC rounds the timeout up to what its header can express
    assert 4 < seen[0].deadline - seen[0].arrived < 5.1
    assert seen[1].deadline is None


async def test_a_known_method_that_is_not_offered_says_unsupported() -> None:
    """A client learns that the server knows the method and does not have it."""
    failed = await failure(answer, path="/test.Service/Other")
    assert (failed.code, failed.info.reason, failed.message) == ("UNIMPLEMENTED", "UNSUPPORTED", "not here")


async def test_however_many_members_fail_the_trailers_stay_small() -> None:
    """Sixty-four failed members with long names still fit; what was left out is counted."""
    members = [
        errors_pb2.MemberError(
            seat=f"{'s' * 60}{i}",
            model="m" * 120,
            outcome=Outcome.FAILED.number,
            cause=Cause.MEMBER_TIMEOUT.number,
            message=Cause.MEMBER_TIMEOUT.text,
        )
        for i in range(64)
    ]

    async def lost(_request: Any, _context: CallContext) -> Any:
        raise AccordError(Reason.QUORUM_NOT_MET, "ü" * 5000, field="x" * 100, members=members)

    failed = await failure(lost)
    assert failed.info.reason == "QUORUM_NOT_MET"
    assert 0 < len(failed.members) < 64
    assert int(failed.info.metadata["members_omitted"]) == 64 - len(failed.members)
    assert failed.trailer_bytes < 6 * 1024
    assert failed.retry


@asynccontextmanager
async def streaming(method: Any) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([handlers("test.Service", {"Ask": method})])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)


async def counting(request: pb.InferRequest, _context: CallContext) -> AsyncIterator[pb.InferResponse]:
    for i in range(3):
        yield pb.InferResponse(id=f"{request.id}{i}")
    if request.id == "bad":
        raise AccordError(Reason.QUORUM_NOT_MET, "too few")
    if request.id == "bug":
        raise ValueError("secret")


@pytest.mark.parametrize(
    ("name", "code"), [("good", None), ("bad", "UNAVAILABLE"), ("bug", "INTERNAL"), ("", "INVALID_ARGUMENT")]
)
async def test_a_stream_of_answers_ends_with_what_the_service_says(name: str, code: str | None) -> None:
    """What was said before an error reaches the client, then the precise status."""
    data = pb.InferRequest(id=name).SerializeToString() if name else b"\xff\xff"
    seen: list[str] = []
    async with streaming(ServerStream(pb.InferRequest, counting)) as channel:
        call = channel.unary_stream(PATH)(data, timeout=5)
        try:
            while (answered := await call.read()) is not grpc.aio.EOF:
                seen.append(pb.InferResponse.FromString(answered).id)
        except grpc.aio.AioRpcError as error:
            failed = decode(error)
            assert (failed.code, "secret" in failed.message) == (code, False)
        else:
            assert code is None
    assert seen == ([f"{name}{i}" for i in range(3)] if name else [])


async def test_a_malformed_message_of_a_stream_is_the_services_to_judge() -> None:
    """The stream goes on; the service sees an error in the message's place."""

    async def judge(received: AsyncIterator[Received], _context: CallContext) -> AsyncIterator[Any]:
        async for message in received:
            told = message.error.reason.name if message.error else message.request.id
            yield pb.InferResponse(id=f"{told} {message.context.request_bytes}")

    async with streaming(Stream(pb.InferRequest, judge)) as channel:
        sent = [pb.InferRequest(id="a").SerializeToString(), b"\xff\xff", b""]
        call = channel.stream_stream(PATH)(iter(sent), timeout=5)
        told = [pb.InferResponse.FromString(data).id async for data in call]
    assert told == ["a 3", "MALFORMED_REQUEST 2", " 0"]


async def test_a_client_that_leaves_a_stream_ends_its_service_quietly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The generator is closed, whether it was about to answer or to wait."""
    ended = asyncio.Event()

    async def endless(_request: Any, _context: CallContext) -> AsyncIterator[Any]:
        try:
            while True:
                yield pb.InferResponse(id="x" * 1000)
                await asyncio.sleep(0)
        finally:
            ended.set()

    async with streaming(ServerStream(pb.InferRequest, endless)) as channel:
        call = channel.unary_stream(PATH)(b"", timeout=5)
        await call.read()
        call.cancel()
        await asyncio.wait_for(ended.wait(), 5)
    assert "handler" not in caplog.text
