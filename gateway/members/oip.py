"""Asks a model over the Open Inference Protocol: our own workers, or any other server.

Rules:

- A failed call is a :class:`Failure` whose cause ``gateway.members.causes`` finds; foreign words stay here.
- A call that fails on its connection, or finds the model not ready, takes the replica out until its probe
  finds it ready again.
- The time left travels twice: as the RPC's deadline, and as the ``timeout`` parameter for the server's queue.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import grpc

from gateway.members.causes import CallFailed
from gateway.members.channel import CallMetadata, Credentials, open_channel
from gateway.members.endpoints import Endpoint, Endpoints, look_up
from gateway.members.forms import answer_of, head_of
from gateway.members.lane import Lane
from gateway.members.pool import Pool, Replica
from gateway.members.server import Server, by_number
from gateway.policies.backoff import Backoff
from gateway.values import Answer, Failure, Question
from protos.errors import Cause
from protos.tensor import TensorFault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from gateway.config.schema import Oip
    from gateway.members.causes import Diagnosis
    from gateway.members.forms import Answered
    from protos.model import ModelSpec

__all__ = ["OipMember", "learn"]

_log = logging.getLogger(__name__)

#: How soon a replica that is not ready is probed again: our own workers at once, others ever less often.
_DOWN_LOCAL, _DOWN_REMOTE = Backoff(first_s=0.1, most_s=0.1), Backoff(first_s=0.1, most_s=1.0)
#: Longest version of a server, in characters; what an answer says beyond is cut.
_MAX_VERSION = 64
#: Reasons of a server of ours that we would have found ourselves, were the model still what it was.
_CHECKED = {"INPUT_MISSING", "INPUT_UNKNOWN", "DTYPE_MISMATCH", "SHAPE_MISMATCH"}
_STATUS = {code.value[0]: code.name for code in grpc.StatusCode}

#: Every how many probes a replica that is ready is asked again what the model is.
DESCRIBE_EVERY = 10


class OipMember:
    """A model behind one or more servers of the Open Inference Protocol.

    Args:
        name: The model's name in the configuration.
        model: Its name at the servers.
        version: The version to ask for; empty = the server's choice.
        endpoints: Where its replicas are.
        local: Whether the replicas are our own workers: a broken connection then means a crash.
        lanes: Where they listen for the lane, by address.
        credentials: Certificates; None = no TLS.
        metadata: Sent with every call.
        resolve_s: How often the endpoints are looked up, in seconds.
        declared: What its files say of it, before it was ever ready.
        labels: Class names by output, where the files have them; the protocol does not carry them.
        on_change: Called when readiness or the specification changes.
    """

    def __init__(
        self,
        *,
        name: str,
        model: str,
        version: str = "",
        endpoints: Endpoints,
        local: bool,
        lanes: Mapping[str, Path] | None = None,
        credentials: Credentials | None = None,
        metadata: CallMetadata | None = None,
        resolve_s: float = 5.0,
        declared: ModelSpec | None = None,
        labels: Mapping[str, tuple[str, ...]] | None = None,
        on_change: Callable[[], None],
    ) -> None:
        self.name = name
        self._model = model
        self._version = version
        self._local = local
        self._lanes = dict(lanes or {})
        self._credentials = credentials
        self._metadata = metadata or CallMetadata({}, {})
        self._spec = declared
        self._labels = dict(labels or {})
        self._on_change = on_change
        self._pool = Pool(
            name=name,
            endpoints=endpoints,
            connect=self._connect,
            probe=self._probe,
            renewed=credentials.renewed if credentials else lambda: False,
            resolve_s=resolve_s,
            down=_DOWN_LOCAL if local else _DOWN_REMOTE,
            on_change=on_change,
        )

    @classmethod
    def remote(
        cls,
        name: str,
        backend: Oip,
        *,
        resolve: Callable[[str, int], Awaitable[Sequence[str]]] = look_up,
        on_change: Callable[[], None],
    ) -> OipMember:
        """Return the member that a configuration describes."""
        return cls(
            name=name,
            model=backend.model or name,
            version=backend.version,
            endpoints=Endpoints(backend.targets, resolve),
            local=False,
            credentials=Credentials(backend.tls) if backend.tls else None,
            metadata=CallMetadata(backend.metadata, backend.secret_metadata),
            resolve_s=backend.resolve_s,
            on_change=on_change,
        )

    def start(self) -> None:
        """Begin to watch the replicas."""
        self._pool.start()

    async def close(self) -> None:
        """Stop watching and close the channels."""
        await self._pool.close()

    @property
    def ready(self) -> bool:
        """Whether a replica is ready."""
        return self._pool.ready

    @property
    def replicas_ready(self) -> int:
        """How many replicas are ready."""
        return self._pool.replicas_ready

    @property
    def servers(self) -> list[Server]:
        """The servers of its replicas."""
        return [replica.connection for replica in self._pool.replicas]

    async def refresh(self) -> None:
        """Probe every replica now, and learn what the model is."""
        for replica in self._pool.replicas:
            replica.connection.stale = True
        await self._pool.probe_all()

    @property
    def spec(self) -> ModelSpec | None:
        """What the model says of itself; None until its files or a server told."""
        return self._spec

    async def ask(self, question: Question) -> Answer | Failure:
        """Ask the least loaded replica once; see :class:`gateway.members.member.Member`."""
        left = question.deadline - time.monotonic()
        if left <= 0:
            return Failure(Cause.MEMBER_TIMEOUT, attempts=0)
        replica = self._pool.pick()
        if replica is None:
            return Failure(Cause.MEMBER_NOT_READY, attempts=0)
        wanted = question.version or self._version
        head = head_of(question, self._model, wanted, left, local=self._local)
        replica.in_flight += 1
        try:
            answered = await replica.connection.infer(question, head, left)
            return self._read(replica, question, answered, left)
        except CallFailed as failed:
            return self._failure(replica, question, failed)
        except (TensorFault, ValueError):
            address = replica.endpoint.address
            _log.exception("model %s at %s: the reply could not be understood", self.name, address)
            return Failure(Cause.WORKER_PROTOCOL_ERROR)
        finally:
            replica.in_flight -= 1

    def _read(
        self, replica: Replica[Server], question: Question, answered: Answered, within_s: float
    ) -> Answer | Failure:
        wanted = question.version or self._version
        version = answered.response.model_version[:_MAX_VERSION]
        # servers without versions, KServe's for one, leave it empty
        if wanted and version not in ("", wanted):
            address = replica.endpoint.address
            _log.warning("model %s at %s answered as version %r", self.name, address, version)
            return Failure(Cause.MEMBER_BAD_OUTPUT)
        server = replica.connection
        server.stale |= not wanted and server.spec is not None and version not in ("", server.spec.version)
        return answer_of(answered, version or wanted, wanted=question.outputs, within_s=within_s)

    def _failure(self, replica: Replica[Server], question: Question, failed: CallFailed) -> Failure:
        diagnosis = replica.connection.diagnose(failed)
        # one version that is gone says nothing of the others
        gone = bool(question.version) and diagnosis.cause in (Cause.MEMBER_NOT_READY, Cause.MEMBER_NOT_FOUND)
        replica.connection.stale |= gone or failed.reason in _CHECKED
        if diagnosis.out and not gone:
            self._pool.set_ready(replica, ready=False)
        cause = self._named(diagnosis)
        _log.warning(
            "model %s at %s failed: %s (%s %.64r) %.512r",
            self.name,
            replica.endpoint.address,
            cause.name,
            _STATUS.get(failed.code, failed.code),
            failed.reason,
            failed.text,
        )
        return Failure(cause)

    def _named(self, diagnosis: Diagnosis) -> Cause:
        """Name a broken connection by whose fault it is: of our own workers only a crash breaks one."""
        broken = self._local and diagnosis.cause is Cause.BACKEND_UNREACHABLE
        return Cause.WORKER_CRASHED if broken else diagnosis.cause

    def _connect(self, endpoint: Endpoint) -> Server:
        channel = open_channel(endpoint, self._credentials, local=self._local)
        path = self._lanes.get(endpoint.address)
        lane = Lane(path, self.name) if path else None
        return Server(channel, self._model, self._version, self._metadata, lane)

    async def _probe(self, replica: Replica[Server]) -> str:
        """Return what speaks against asking a replica; learn what the model is when nothing does."""
        self._metadata.refresh()
        try:
            if not await replica.connection.ready():
                return "the model is not ready"
            due = replica.probes % DESCRIBE_EVERY == 0
            if due or not replica.ready or replica.connection.stale:
                spec = await replica.connection.describe(self.name, self._labels)
                if not (spec.inputs and spec.outputs):
                    return "the server does not say what tensors the model takes and returns"
                self._learn()
            await replica.connection.join_lane(anew=not replica.ready)
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name} {error.details()!r:.512}"
        return ""

    def _learn(self) -> None:
        """Take over what the replicas say; where they differ, as during a rollout, the highest version."""
        specs = [replica.connection.spec for replica in self._pool.replicas if not replica.gone]
        known = [spec for spec in specs if spec is not None]
        newest = max(known, key=lambda spec: by_number(spec.version), default=self._spec)
        if newest != self._spec:
            self._spec = newest
            self._on_change()


async def learn(name: str, backend: Oip, within_s: float = 5.0) -> ModelSpec | None:
    """Ask a remote server what a model says of itself; None if it is not ready within the time."""
    changed = asyncio.Event()
    member = OipMember.remote(name, backend, on_change=changed.set)
    member.start()
    try:
        async with asyncio.timeout(within_s):
            while not member.ready:
                await changed.wait()
                changed.clear()
    except TimeoutError:
        return None
    finally:
        await member.close()
    return member.spec
