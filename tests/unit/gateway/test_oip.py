"""How a server's answers and failures become values: by cause, never by text."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from gateway.members.endpoints import Endpoints
from gateway.members.oip import OipMember
from gateway.members.server import by_number
from gateway.values import Answer, Failure, Question
from protos import oip
from protos.errors import AccordError, Cause, Reason
from protos.rpc import handlers
from protos.service import Method
from protos.tensor import Tensor, TensorSpec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

m = oip.messages
X = Tensor.from_array(np.ones((1, 2), np.float32))


class Server:
    """A real server of the protocol whose ModelInfer does what the test says."""

    def __init__(self, infer: Callable[[Any], Any], *, config: bool = True) -> None:
        self.infer = infer
        self.config = config
        self.ready = True
        self.optional = self.silent = False
        self.without: set[str] = set()
        self.cancelled = asyncio.Event()
        self.meanwhile: Callable[[], Awaitable[Any]] | None = None

    def methods(self) -> dict[str, Method]:
        found = {
            "ModelReady": Method(m.ModelReadyRequest, self.model_ready),
            "ModelMetadata": Method(m.ModelMetadataRequest, self.model_metadata),
            "ModelInfer": Method(m.ModelInferRequest, self.model_infer),
            "ModelConfig": Method(m.ModelConfigRequest, self.model_config),
            "ServerReady": Method(m.ServerReadyRequest, self.server_ready),
        }
        without = self.without | (set() if self.config else {"ModelConfig"})
        return {name: method for name, method in found.items() if name not in without}

    async def server_ready(self, _request: Any, _context: Any) -> Any:
        return m.ServerReadyResponse(ready=self.ready)

    async def model_ready(self, _request: Any, _context: Any) -> Any:
        return m.ModelReadyResponse(ready=self.ready)

    async def model_metadata(self, request: Any, _context: Any) -> Any:
        if self.meanwhile is not None:
            await self.meanwhile()
        if self.silent:
            return oip.model_metadata(request.name, [], "test", [], [])
        spec = TensorSpec("x", "FP32", (-1, 2))
        return oip.model_metadata(request.name, ["2", "10"], "test", [spec], [spec])

    async def model_config(self, _request: Any, _context: Any) -> Any:
        config = oip.model_config.ModelConfig(max_batch_size=8)
        config.input.add(name="x", optional=self.optional)
        return m.ModelConfigResponse(config=config)

    async def model_infer(self, request: Any, _context: Any) -> Any:
        try:
            return await self.infer(request)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


@asynccontextmanager
async def asking(server: Server, *, local: bool = True, version: str = "") -> AsyncIterator[OipMember]:
    grpc_server = grpc.aio.server()
    grpc_server.add_generic_rpc_handlers([handlers(oip.SERVICE, server.methods())])
    port = grpc_server.add_insecure_port("127.0.0.1:0")
    await grpc_server.start()
    changed = asyncio.Event()
    member = OipMember(
        name="here",
        model="there",
        endpoints=Endpoints([f"127.0.0.1:{port}"]),
        local=local,
        version=version,
        on_change=changed.set,
    )
    member.start()
    try:
        while not member.ready:
            await changed.wait()
            changed.clear()
        yield member
    finally:
        await member.close()
        await grpc_server.stop(None)


def question(within_s: float = 5.0) -> Question:
    deadline = asyncio.get_running_loop().time() + within_s
    return Question(inputs={"x": X}, outputs=("x",), deadline=deadline, id="7")


async def echo(request: Any) -> Any:
    response = m.ModelInferResponse(model_name=request.model_name, model_version="10")
    oip.write_parameters(response.parameters, {"accord_queue_us": 1000, "accord_compute_us": 2000})
    oip.write_outputs(response, oip.read_inputs(request))
    return response


def refusing(reason: Reason) -> Any:
    async def refuse(_request: Any) -> Any:
        raise AccordError(reason, "no")

    return refuse


async def test_an_answer_carries_outputs_version_and_times() -> None:
    """What a worker reports of itself reaches the report."""
    async with asking(Server(echo)) as member:
        answer = await member.ask(question())
    assert isinstance(answer, Answer)
    assert answer.outputs["x"].array().tolist() == [[1.0, 1.0]]
    assert (answer.version, answer.queue_s, answer.compute_s) == ("10", 0.001, 0.002)


async def test_a_member_learns_what_the_model_is_when_it_is_ready() -> None:
    """Metadata gives the tensors and the highest version; ModelConfig the batch limit."""
    async with asking(Server(echo)) as member:
        assert member.spec is not None
        assert (member.spec.name, member.spec.version, member.spec.max_rows) == ("here", "10", 8)
        assert member.spec.inputs == (TensorSpec("x", "FP32", (-1, 2)),)


async def test_without_model_config_the_shapes_tell_whether_it_batches() -> None:
    """A server that has no ModelConfig, like KServe's, is served all the same."""
    async with asking(Server(echo, config=False)) as member:
        assert member.spec is not None
        assert member.spec.max_rows == 256


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        (Reason.SHAPE_MISMATCH, Cause.MEMBER_REJECTED_INPUT),
        (Reason.INPUT_REJECTED, Cause.MEMBER_REJECTED_INPUT),
        (Reason.MODEL_NOT_FOUND, Cause.MEMBER_NOT_FOUND),
        (Reason.AUTH_MISSING, Cause.MEMBER_FORBIDDEN),
        (Reason.MODEL_FORBIDDEN, Cause.MEMBER_FORBIDDEN),
        (Reason.QUEUE_FULL, Cause.MEMBER_RESOURCE_EXHAUSTED),
        (Reason.DEVICE_OOM, Cause.DEVICE_OOM),
        (Reason.MODEL_NOT_READY, Cause.MEMBER_NOT_READY),
        (Reason.SHUTTING_DOWN, Cause.MEMBER_NOT_READY),
        (Reason.DEADLINE_IN_QUEUE, Cause.MEMBER_TIMEOUT),
        (Reason.UNSUPPORTED, Cause.MEMBER_UNSUPPORTED),
        (Reason.INTERNAL, Cause.MEMBER_INTERNAL),
    ],
)
async def test_a_status_becomes_a_cause(reason: Reason, cause: Cause) -> None:
    """The status and reason of a server decide, not its words."""
    async with asking(Server(refusing(reason))) as member:
        assert await member.ask(question()) == Failure(cause)


async def test_a_reply_that_breaks_the_protocol_is_a_failure() -> None:
    """Bytes that do not fit their shape never reach a merge."""

    async def garbage(_request: Any) -> Any:
        response = m.ModelInferResponse()
        response.outputs.add(name="x", datatype="FP32", shape=[1, 2])
        response.raw_output_contents.append(b"123")
        return response

    async with asking(Server(garbage)) as member:
        assert await member.ask(question()) == Failure(Cause.WORKER_PROTOCOL_ERROR)


async def test_no_answer_in_time_is_a_timeout_and_ends_the_call_at_the_server() -> None:
    """The remaining budget travels as the RPC's deadline."""

    async def never(_request: Any) -> Any:
        await asyncio.Event().wait()

    server = Server(never)
    async with asking(server) as member:
        assert await member.ask(question(within_s=0.1)) == Failure(Cause.MEMBER_TIMEOUT)
        await asyncio.wait_for(server.cancelled.wait(), 5)


async def test_a_cancelled_ask_ends_the_call_at_the_server() -> None:
    """A loser costs the backend nothing more."""
    began = asyncio.Event()

    async def never(_request: Any) -> Any:
        began.set()
        await asyncio.Event().wait()

    server = Server(never)
    async with asking(server) as member:
        task = asyncio.create_task(member.ask(question()))
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.cancelled.wait(), 5)


async def test_a_dead_backend_is_not_asked_again_until_it_is_ready() -> None:
    """The first call finds the connection broken; the next ones fail at once, without an attempt."""
    server = Server(echo)
    async with asking(server) as member:
        assert isinstance(await member.ask(question()), Answer)
        server.ready = False
        server.infer = refusing(Reason.MODEL_NOT_READY)
        assert await member.ask(question()) == Failure(Cause.MEMBER_NOT_READY)
        assert not member.ready
        assert await member.ask(question()) == Failure(Cause.MEMBER_NOT_READY, attempts=0)
        server.ready, server.infer = True, echo
        async with asyncio.timeout(5):
            while not member.ready:  # noqa: ASYNC110 - the prober of a real connection sets the pace
                await asyncio.sleep(0.01)
        assert isinstance(await member.ask(question()), Answer)


@pytest.mark.parametrize(("reason", "again"), [(Reason.SHAPE_MISMATCH, True), (Reason.INPUT_REJECTED, False)])
async def test_a_model_that_refuses_what_was_checked_is_described_again(reason: Reason, again: bool) -> None:
    """Other shapes than we know of: it has changed. Other values: it has not."""
    async with asking(Server(refusing(reason))) as member:
        assert await member.ask(question()) == Failure(Cause.MEMBER_REJECTED_INPUT)
        assert member.servers[0].stale is again
        await member.refresh()
        assert not member.servers[0].stale


async def test_what_an_answer_shows_while_a_model_is_described_is_not_lost() -> None:
    """The description may be of before, so there will be another."""
    server = Server(refusing(Reason.SHAPE_MISMATCH))
    async with asking(server) as member:
        server.meanwhile = lambda: member.ask(question())
        await member.refresh()
        assert member.servers[0].stale


async def test_a_version_that_is_gone_takes_no_replica_from_the_others() -> None:
    """Its caller is told; everyone else is served on, by the same replica."""

    async def retired(request: Any) -> Any:
        if request.model_version == "2":
            raise AccordError(Reason.MODEL_NOT_READY, "no longer in the repository")
        return await echo(request)

    async with asking(Server(retired)) as member:
        named = replace(question(), version="2")
        assert await member.ask(named) == Failure(Cause.MEMBER_NOT_READY)
        assert isinstance(await member.ask(question()), Answer)


@pytest.mark.parametrize(
    ("local", "cause"), [(True, Cause.WORKER_CRASHED), (False, Cause.BACKEND_UNREACHABLE)]
)
async def test_a_broken_connection_is_a_crash_only_of_our_own_workers(local: bool, cause: Cause) -> None:
    """For a remote server the network may be at fault as well."""
    began = asyncio.Event()

    async def hang(_request: Any) -> Any:
        began.set()
        await asyncio.Event().wait()

    grpc_server = grpc.aio.server()
    server = Server(hang)
    grpc_server.add_generic_rpc_handlers([handlers(oip.SERVICE, server.methods())])
    port = grpc_server.add_insecure_port("127.0.0.1:0")
    await grpc_server.start()
    changed = asyncio.Event()
    member = OipMember(
        name="here",
        model="there",
        endpoints=Endpoints([f"127.0.0.1:{port}"]),
        local=local,
        on_change=changed.set,
    )
    member.start()
    while not member.ready:
        await changed.wait()
        changed.clear()
    task = asyncio.create_task(member.ask(question()))
    await began.wait()
    await grpc_server.stop(None)
    assert await task == Failure(cause)
    await member.close()


async def test_everything_a_question_carries_reaches_the_server() -> None:
    """The time left in microseconds, the priority as tritonclient types it, parameters and the id."""
    seen: list[Any] = []

    async def look(request: Any) -> Any:
        seen.append(request)
        return await echo(request)

    async with asking(Server(look)) as member:
        await member.ask(replace(question(2.0), priority=3, parameters={"heat": 0.5, "top": 7, "on": True}))
        await member.ask(question(2.0))
    full, plain = (request.parameters for request in seen)
    assert 1_000_000 < full["timeout"].int64_param <= 2_000_000
    assert full["priority"].WhichOneof("parameter_choice") == "uint64_param"
    assert full["priority"].uint64_param == 3
    assert (full["heat"].double_param, full["top"].int64_param, full["on"].bool_param) == (0.5, 7, True)
    assert list(plain) == ["timeout"]
    assert seen[0].id == "7"


async def test_the_models_own_parameters_come_back() -> None:
    """Times of ours and what Triton reserves are no part of them."""

    async def talk(request: Any) -> Any:
        response = await echo(request)
        oip.write_parameters(response.parameters, {"confident": True, "triton_final_response": True})
        return response

    async with asking(Server(talk)) as member:
        answer = await member.ask(question())
    assert isinstance(answer, Answer)
    assert answer.parameters == {"confident": True}
    assert answer.queue_s == 0.001


@pytest.mark.parametrize(("answered", "usable"), [("10", True), ("", True), ("11", False)])
async def test_an_answer_of_another_version_than_the_pinned_one_is_not_used(
    answered: str, usable: bool
) -> None:
    """A server that has no versions answers none, which is no contradiction."""
    asked: list[str] = []

    async def versioned(request: Any) -> Any:
        asked.append(request.model_version)
        response = await echo(request)
        response.model_version = answered
        return response

    async with asking(Server(versioned), version="10") as member:
        answer = await member.ask(question())
        assert member.spec is not None
        assert member.spec.version == "10"
    assert asked == ["10"]
    if usable:
        assert isinstance(answer, Answer)
        assert answer.version == "10"
    else:
        assert answer == Failure(Cause.MEMBER_BAD_OUTPUT)


async def test_a_reply_that_is_no_message_is_a_failure() -> None:
    """Where the bytes cannot be parsed, gRPC hands over nothing."""

    class Bytes:
        def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
            return b"\xff\xff\xff"

    async def garbage(_request: Any) -> Any:
        return Bytes()

    async with asking(Server(garbage)) as member:
        assert await member.ask(question()) == Failure(Cause.WORKER_PROTOCOL_ERROR)


async def test_optional_inputs_and_the_config_are_kept() -> None:
    """What only Triton's ModelConfig tells is read from it, and the message is there for whoever asks us."""
    async with asking(Server(echo)) as member:
        assert member.spec is not None
        assert member.spec.config.max_batch_size == 8
        assert not member.spec.inputs[0].optional
    server = Server(echo)
    server.optional = True
    async with asking(server) as member:
        assert member.spec is not None
        assert member.spec.inputs[0].optional
        hash(member.spec)
    async with asking(Server(echo, config=False)) as member:
        assert member.spec is not None
        assert member.spec.config is None


async def test_a_server_that_cannot_tell_of_models_is_asked_for_itself() -> None:
    """Without ModelReady, the server's own readiness counts."""
    server = Server(echo)
    server.without = {"ModelReady"}
    async with asking(server) as member:
        assert isinstance(await member.ask(question()), Answer)


async def test_a_model_without_tensors_is_not_served(caplog: pytest.LogCaptureFixture) -> None:
    """Some servers describe nothing by default; requests could only be refused, so the log says why."""
    server = Server(echo)
    server.silent = True
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5), asking(server):
            pass
    assert "does not say what tensors" in caplog.text


@pytest.mark.parametrize("told_us", [-1, 2**63 - 1])
async def test_a_time_that_a_call_cannot_have_taken_is_not_believed(told_us: int) -> None:
    """It would spoil the sums of the statistics for good."""

    async def boast(request: Any) -> Any:
        response = await echo(request)
        response.parameters["accord_compute_us"].int64_param = told_us
        return response

    async with asking(Server(boast)) as member:
        answer = await member.ask(question())
    assert isinstance(answer, Answer)
    assert (answer.queue_s, answer.compute_s) == (0.001, None)


async def test_a_long_version_is_cut() -> None:
    """It is told to clients, and a server may say anything."""

    async def boast(request: Any) -> Any:
        response = await echo(request)
        response.model_version = "9" * 100_000
        return response

    async with asking(Server(boast)) as member:
        answer = await member.ask(question())
    assert isinstance(answer, Answer)
    assert answer.version == "9" * 64


@pytest.mark.parametrize("odd", ["²", "9" * 5000])
def test_versions_that_python_cannot_count_are_ordered_like_any(odd: str) -> None:
    """A server's versions are its words: no number is made of them."""
    assert max(["10", odd, "9"], key=by_number) == ("10" if odd == "²" else odd)
