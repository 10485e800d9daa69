"""The edge on grpc.aio: what goes over the wire besides messages."""

from __future__ import annotations

import asyncio
import stat
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from gateway.edge.aio import COMPRESSIONS, GrpcEdge
from protos import oip
from protos.address import Address
from protos.errors import AccordError, Reason
from protos.health import Health
from protos.service import CallContext, Method

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

#: What compresses well.
ZEROS = bytes(1_000_000)


REQUEST = oip.messages.ModelInferRequest(id="r", raw_input_contents=[ZEROS]).SerializeToString()


async def answer(request: Any, _context: CallContext) -> Any:
    return oip.messages.ModelInferResponse(id=request.id, raw_output_contents=request.raw_input_contents)


@asynccontextmanager
async def serving(address: str = "127.0.0.1:0", **options: Any) -> AsyncIterator[str]:
    methods = {"ModelInfer": Method(oip.messages.ModelInferRequest, answer)}
    edge = GrpcEdge({oip.SERVICE: methods}, Health([]), reflection_enabled=False, **options)
    yield (await edge.start(Address.parse(address))).text
    await edge.stop(0)


@asynccontextmanager
async def metered(address: str) -> AsyncIterator[tuple[str, list[int]]]:
    """Relay to an address and note how many bytes come back."""
    host, _, port = address.rpartition(":")
    sizes: list[int] = []

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: list[int]) -> None:
        while data := await reader.read(65536):
            note.append(len(data))
            writer.write(data)
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection(host, int(port))
        await asyncio.gather(copy(reader, forth, []), copy(back, writer, sizes))

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", sizes


async def ask(address: str, **options: Any) -> Any:
    async with grpc.aio.insecure_channel(address) as channel:
        method = channel.unary_unary(f"/{oip.SERVICE}/ModelInfer")
        return oip.messages.ModelInferResponse.FromString(await method(REQUEST, timeout=10, **options))


@pytest.mark.parametrize("compression", COMPRESSIONS)
async def test_answers_are_compressed_as_configured(compression: str) -> None:
    """A megabyte of zeros is a few kilobytes on the wire; without compression it is a megabyte."""
    async with serving(compression=compression) as address, metered(address) as (relay, sizes):
        assert (await ask(relay)).raw_output_contents[0] == ZEROS
    assert (sum(sizes) < 20_000) == (compression != "none")


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_requests_may_be_compressed_in_each_way(compression: grpc.Compression) -> None:
    """Whatever the server's own answers are."""
    async with serving() as address:
        assert (await ask(address, compression=compression)).raw_output_contents[0] == ZEROS


async def test_a_socket_is_its_owners_alone(tmp_path: Path) -> None:
    """From the moment it is there, whatever the process's own mask."""
    async with serving(f"unix:{tmp_path}/s"):
        assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600


async def test_a_guard_is_asked_before_a_request_is_read() -> None:
    """Bytes that are no message get no other answer than who may not call."""

    def nobody(_context: CallContext) -> None:
        raise AccordError(Reason.AUTH_MISSING, "no")

    async with serving(guard=nobody) as address, grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(f"/{oip.SERVICE}/ModelInfer")(b"\xff\xff", timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_an_address_that_cannot_be_bound_is_named() -> None:
    """The operator learns which."""
    async with serving() as address:
        with pytest.raises(OSError, match=f"cannot listen on {address}"):
            async with serving(address):
                raise AssertionError("two servers on one address")
