"""How a remote model is reached: TLS, metadata and secrets, names, and connections that die silently."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from gateway.config import ConfigError, load
from gateway.members import channel
from gateway.members.oip import OipMember, learn
from gateway.values import Answer, Failure, Question
from protos import oip
from protos.errors import Cause
from protos.rpc import handlers
from protos.service import Method
from protos.tensor import Tensor, TensorSpec
from tests.certificates import Authority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from gateway.config.schema import Oip

m = oip.messages
SECRET = "Bearer s3cr3t-value"


@dataclass
class Host:
    """A server of the protocol that remembers the metadata of its calls."""

    metadata: list[dict[str, Any]] = field(default_factory=list)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    hang: bool = False

    def methods(self) -> dict[str, Method]:
        return {
            "ModelReady": Method(m.ModelReadyRequest, self.model_ready),
            "ModelMetadata": Method(m.ModelMetadataRequest, self.model_metadata),
            "ModelInfer": Method(m.ModelInferRequest, self.model_infer),
        }

    async def model_ready(self, _request: Any, context: Any) -> Any:
        self.metadata.append(context.metadata)
        return m.ModelReadyResponse(ready=True)

    async def model_metadata(self, request: Any, _context: Any) -> Any:
        spec = TensorSpec("x", "FP32", (-1, 2))
        return oip.model_metadata(request.name, ["1"], "test", [spec], [spec])

    async def model_infer(self, request: Any, context: Any) -> Any:
        self.metadata.append(context.metadata)
        self.began.set()
        if self.hang:
            await asyncio.Event().wait()
        response = m.ModelInferResponse(model_version="1")
        oip.write_outputs(response, oip.read_inputs(request))
        return response


@asynccontextmanager
async def hosting(host: Host, credentials: grpc.ServerCredentials | None = None) -> AsyncIterator[int]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([handlers(oip.SERVICE, host.methods())])
    address = "localhost:0"
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


def read(folder: Path, section: str) -> Oip:
    path = folder / "accord.yaml"
    path.write_text(f"models:\n  there:\n    oip: {section}\n")
    backend = load(path)[0].models["there"].oip
    assert backend is not None
    return backend


@asynccontextmanager
async def reaching(backend: Oip) -> AsyncIterator[OipMember]:
    changed = asyncio.Event()
    member = OipMember.remote("there", backend, on_change=changed.set)
    member.start()
    try:
        async with asyncio.timeout(10):
            while not member.ready:
                await changed.wait()
                changed.clear()
        yield member
    finally:
        await member.close()


async def until(condition: Callable[[], bool], within_s: float = 10) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - another side sets the pace
            await asyncio.sleep(0.02)


def question(within_s: float = 5.0, **more: Any) -> Question:
    x = Tensor.from_array(np.ones((1, 2), np.float32))
    deadline = asyncio.get_running_loop().time() + within_s
    return Question(inputs={"x": x}, outputs=("x",), deadline=deadline, **more)


def serving(authority: Authority, *, name: str = "localhost", mutual: bool = False) -> grpc.ServerCredentials:
    own = authority.sign(name)
    pair = [(own.key.read_bytes(), own.cert.read_bytes())]
    return grpc.ssl_server_credentials(pair, authority.cert.read_bytes() if mutual else None, mutual)


async def test_a_name_over_tls_is_reached_at_every_address(tmp_path: Path) -> None:
    """A certificate is checked for the name of the target, not for the address behind it."""
    async with hosting(Host(), serving(Authority(tmp_path))) as port:
        backend = read(tmp_path, f'{{targets: ["dns:///localhost:{port}"], tls: {{ca: authority.pem}}}}')
        async with reaching(backend) as member:
            assert isinstance(await member.ask(question()), Answer)


async def test_a_server_whose_authority_is_unknown_is_never_asked(tmp_path: Path) -> None:
    """The control of the above: another authority, or the system's, is not enough."""
    Authority(tmp_path, "stranger")
    async with hosting(Host(), serving(Authority(tmp_path))) as port:
        for tls in ("{ca: stranger.pem}", "{}"):
            backend = read(tmp_path, f"{{targets: ['localhost:{port}'], tls: {tls}}}")
            assert await learn("there", backend, within_s=1.0) is None


async def test_the_server_name_can_be_given(tmp_path: Path) -> None:
    """A certificate for another name is refused until the configuration expects it."""
    async with hosting(Host(), serving(Authority(tmp_path), name="models.test")) as port:
        section = f"{{targets: ['localhost:{port}'], tls: {{ca: authority.pem%s}}}}"
        assert await learn("there", read(tmp_path, section % ""), within_s=1.0) is None
        assert await learn("there", read(tmp_path, section % ", server_name: models.test")) is not None


async def test_a_server_that_asks_for_a_certificate_gets_ours(tmp_path: Path) -> None:
    """Mutual TLS: with the certificate it answers, without it there is no connection."""
    authority = Authority(tmp_path)
    authority.sign("gateway")
    async with hosting(Host(), serving(authority, mutual=True)) as port:
        section = f"{{targets: ['localhost:{port}'], tls: {{ca: authority.pem%s}}}}"
        assert await learn("there", read(tmp_path, section % ""), within_s=1.0) is None
        pair = ", cert: gateway.pem, key: gateway.key"
        assert await learn("there", read(tmp_path, section % pair)) is not None


async def test_a_renewed_certificate_is_used_and_a_broken_one_is_not(tmp_path: Path) -> None:
    """Rotation needs no restart and fails no call; files that are half written change nothing."""
    authority, host = Authority(tmp_path), Host()
    first = authority.sign("gateway")
    async with hosting(host, serving(authority, mutual=True)) as port:
        tls = "{ca: authority.pem, cert: gateway.pem, key: gateway.key}"
        backend = read(tmp_path, f"{{targets: ['localhost:{port}'], resolve_s: 0.1, tls: {tls}}}")
        opened: list[str] = []
        open_channel = channel.open_channel

        def counted(*args: Any, **kwargs: Any) -> grpc.aio.Channel:
            opened.append("")
            return open_channel(*args, **kwargs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("gateway.members.oip.open_channel", counted)
            async with reaching(backend) as member:
                second = authority.sign("renewed")
                first.cert.write_bytes(second.cert.read_bytes())
                for _ in range(20):
                    await asyncio.sleep(0.02)
                    assert isinstance(await member.ask(question()), Answer)
                assert len(opened) == 1, "a certificate without its key is not used"
                first.key.write_bytes(second.key.read_bytes())
                while len(opened) < 2:
                    assert isinstance(await member.ask(question()), Answer)
                for _ in range(20):
                    await asyncio.sleep(0.02)
                    assert isinstance(await member.ask(question()), Answer)


async def test_metadata_and_secrets_go_with_every_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Probes and questions carry them; a secret is read again when its file changes, and never shown."""
    caplog.set_level(logging.DEBUG)
    token, host = tmp_path / "token", Host()
    token.write_text(f"{SECRET}\n")
    async with hosting(host) as port:
        targets = f"targets: ['localhost:{port}']"
        section = f"{{{targets}, metadata: {{x-team: vision}}, secret_metadata: {{authorization: token}}}}"
        backend = read(tmp_path, section)
        async with reaching(backend) as member:
            await member.ask(question(metadata=(("x-request-id", "7"),)))
            wanted = {"x-team": "vision", "authorization": SECRET}
            assert all(wanted.items() <= call.items() for call in host.metadata)
            assert host.metadata[-1]["x-request-id"] == "7"
            token.write_text("Bearer another")
            await until(lambda: host.metadata[-1]["authorization"] == "Bearer another")
            os.truncate(token, 0)
            await until(lambda: "holds no line of ASCII text" in caplog.text)
            assert isinstance(await member.ask(question()), Answer)
            assert host.metadata[-1]["authorization"] == "Bearer another"
            for shown in (caplog.text, repr(backend), repr(member._metadata), str(vars(member))):
                assert "s3cr3t" not in shown
                assert "another" not in shown
            assert repr(member._metadata) == "CallMetadata(x-team, authorization)"


@pytest.mark.parametrize(
    ("section", "path", "problem"),
    [
        ("{targets: []}", "", "targets needs at least 1"),
        ("{targets: [h]}", "targets[0]", "must be host:port, unix:PATH or dns:///host:port"),
        ("{targets: ['unix:']}", "targets[0]", "must be host:port"),
        ("{targets: ['dns:///h']}", "targets[0]", "must be host:port"),
        ("{targets: ['h:1'], tls: {ca: gone.pem}}", "tls.ca", "cannot be read"),
        ("{targets: ['h:1'], tls: {cert: real}}", "tls", "needs both cert and key"),
        ("{targets: ['h:1'], tls: {ca: real}}", "tls", "no certificate in PEM form"),
        ("{targets: ['h:1'], tls: {cert: real, key: real}}", "tls", "no certificate with its key"),
        (
            "{targets: ['h:1'], secret_metadata: {authorization: gone}}",
            "secret_metadata.authorization",
            "read",
        ),
        ("{targets: ['h:1'], metadata: {Team: a}}", "metadata.Team", "lower-case"),
        ("{targets: ['h:1'], metadata: {grpc-x: a}}", "metadata.grpc-x", "neither grpc-"),
        ("{targets: ['h:1'], metadata: {x-bin: a}}", "metadata.x-bin", "nor ...-bin"),
        ("{targets: ['h:1'], metadata: {a: b}, secret_metadata: {a: real}}", "", "in both metadata"),
    ],
)
def test_what_cannot_work_is_refused_with_line_and_path(
    tmp_path: Path, section: str, path: str, problem: str
) -> None:
    """A file that is missing, or a name that gRPC would refuse, is a complaint and not a failed call."""
    (tmp_path / "real").write_text("no certificate\n")
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, section)
    (complaint,) = caught.value.complaints
    assert complaint.line == 3
    assert complaint.path == f"models.there.oip.{path}".rstrip(".")
    assert problem in complaint.problem


class Relay:
    """A TCP relay that can fall silent: it keeps connections open and passes nothing on."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._accept, "localhost", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            self.speak()
            for writer in self._writers:
                writer.transport.abort()
            await asyncio.gather(*self._tasks)

    def silence(self) -> None:
        self._open.clear()

    def speak(self) -> None:
        self._open.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to_there = await asyncio.open_connection("localhost", self._port)
        self._writers += (writer, to_there)
        for source, target in ((reader, to_there), (there, writer)):
            task = asyncio.create_task(self._pass_on(source, target))
            self._tasks.add(task)

    async def _pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                await self._open.wait()
                target.write(data)
                await target.drain()
        target.close()


async def test_a_black_hole_is_left_and_found_again(tmp_path: Path) -> None:
    """A server that falls silent on a connection that still stands gets no call until it speaks again."""
    async with hosting(Host()) as port:
        relay = Relay(port)
        async with (
            relay.listening() as there,
            reaching(read(tmp_path, f"{{targets: ['localhost:{there}']}}")) as member,
        ):
            relay.silence()
            await until(lambda: not member.ready, within_s=5)
            assert await member.ask(question()) == Failure(Cause.MEMBER_NOT_READY, attempts=0)
            relay.speak()
            await until(lambda: member.ready, within_s=5)
            assert isinstance(await member.ask(question()), Answer)


@pytest.mark.parametrize("guarded", [True, False])
async def test_a_call_into_a_black_hole_ends_by_keepalive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    """An unanswered ping ends the connection and its calls; without pings they wait for their deadline."""
    if not guarded:
        monkeypatch.setattr(channel, "_KEEPALIVE", ())
    host = Host(hang=True)
    async with hosting(host) as port:
        relay = Relay(port)
        async with (
            relay.listening() as there,
            reaching(read(tmp_path, f"{{targets: ['localhost:{there}']}}")) as member,
        ):
            asked = asyncio.create_task(member.ask(question(within_s=20.0 if guarded else 5.0)))
            await host.began.wait()
            relay.silence()
            expected = Cause.BACKEND_UNREACHABLE if guarded else Cause.MEMBER_TIMEOUT
            assert await asked == Failure(expected)
            relay.speak()
