"""Asks a model over the Open Inference Protocol: our own workers, or any other server.

Rules:

- Each replica has a channel of its own and a prober that asks ModelReady: the gateway needs no word from
  whoever starts and stops the servers.
- A failed call is a :class:`Failure`; status codes are translated by cause, never by text.
- A call that fails on its connection takes the replica out until the prober finds it ready again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from gateway.policies.balance import least_loaded
from gateway.values import Answer, Failure, Question
from protos import oip
from protos.errors import DOMAIN, Cause
from protos.model import DEFAULT_MAX_ROWS, ModelSpec, batches_by_shape
from protos.rpc import CHANNEL_OPTIONS
from protos.tensor import TensorFault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from google.protobuf.message import Message

    from gateway.config.schema import Oip

__all__ = ["OipMember", "learn"]

_log = logging.getLogger(__name__)

#: How often a replica is asked whether it is ready, in seconds: while it is not, and while it is.
PROBE_DOWN_S, PROBE_UP_S = 0.1, 1.0
PROBE_TIMEOUT_S = 2.0

_CAUSES = {
    grpc.StatusCode.INVALID_ARGUMENT: Cause.MEMBER_REJECTED_INPUT,
    grpc.StatusCode.OUT_OF_RANGE: Cause.MEMBER_REJECTED_INPUT,
    grpc.StatusCode.NOT_FOUND: Cause.MEMBER_NOT_FOUND,
    grpc.StatusCode.UNAUTHENTICATED: Cause.MEMBER_FORBIDDEN,
    grpc.StatusCode.PERMISSION_DENIED: Cause.MEMBER_FORBIDDEN,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Cause.MEMBER_RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED: Cause.MEMBER_TIMEOUT,
    grpc.StatusCode.UNIMPLEMENTED: Cause.MEMBER_UNSUPPORTED,
}
_REASONS = {
    "MODEL_NOT_READY": Cause.MEMBER_NOT_READY,
    "SHUTTING_DOWN": Cause.MEMBER_NOT_READY,
    "DEVICE_OOM": Cause.DEVICE_OOM,
}


@dataclass(slots=True, eq=False)
class _Replica:
    target: str
    channel: grpc.aio.Channel
    ready: bool = False
    in_flight: int = 0
    infer: grpc.aio.UnaryUnaryMultiCallable[Any, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.infer = self.method("ModelInfer", oip.messages.ModelInferResponse)

    def method(self, name: str, response: type[Message]) -> grpc.aio.UnaryUnaryMultiCallable[Any, Any]:
        return self.channel.unary_unary(
            f"/{oip.SERVICE}/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )


class OipMember:
    """A model behind one or more servers of the Open Inference Protocol.

    Args:
        name: The model's name in the configuration.
        model: Its name at the servers.
        version: The version to ask for; empty = the server's choice.
        targets: gRPC targets of its replicas: ``host:port`` or ``unix:PATH``.
        local: Whether the replicas are our own workers: a broken connection then means a crash.
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
        targets: Sequence[str],
        local: bool,
        declared: ModelSpec | None = None,
        labels: Mapping[str, tuple[str, ...]] | None = None,
        on_change: Callable[[], None],
    ) -> None:
        self.name = name
        self._model = model
        self._version = version
        self._broken = Cause.WORKER_CRASHED if local else Cause.BACKEND_UNREACHABLE
        self._spec = declared
        self._labels = dict(labels or {})
        self._on_change = on_change
        self._replicas = [_Replica(t, grpc.aio.insecure_channel(t, CHANNEL_OPTIONS)) for t in targets]
        self._turn = 0
        self._probers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to watch the replicas."""
        self._probers = [asyncio.create_task(self._watch(replica)) for replica in self._replicas]

    async def close(self) -> None:
        """Stop watching and close the channels."""
        for prober in self._probers:
            prober.cancel()
        await asyncio.gather(*self._probers, return_exceptions=True)
        for replica in self._replicas:
            await replica.channel.close()

    @property
    def ready(self) -> bool:
        """Whether a replica is ready."""
        return any(replica.ready for replica in self._replicas)

    @property
    def replicas_ready(self) -> int:
        """How many replicas are ready."""
        return sum(replica.ready for replica in self._replicas)

    @property
    def spec(self) -> ModelSpec | None:
        """What the model says of itself; None until its files or a server told."""
        return self._spec

    async def ask(self, question: Question) -> Answer | Failure:
        """Ask the least loaded replica once; see :class:`gateway.members.member.Member`."""
        left = question.deadline - time.monotonic()
        if left <= 0:
            return Failure(Cause.MEMBER_TIMEOUT, attempts=0)
        picked = least_loaded(
            [r.in_flight for r in self._replicas], [r.ready for r in self._replicas], self._turn
        )
        if picked is None:
            return Failure(Cause.MEMBER_NOT_READY, attempts=0)
        self._turn += 1
        replica = self._replicas[picked]
        request = oip.messages.ModelInferRequest(
            model_name=self._model, model_version=self._version, id=question.id
        )
        oip.write_inputs(request, question.inputs)
        for output in question.outputs:
            request.outputs.add(name=output)
        replica.in_flight += 1
        call = replica.infer(request, timeout=left)
        try:
            return _answer(await call)
        except grpc.aio.AioRpcError as error:
            return self._failure(replica, error)
        except (TensorFault, ValueError):
            _log.exception("model %s at %s: the reply could not be understood", self.name, replica.target)
            return Failure(Cause.WORKER_PROTOCOL_ERROR)
        finally:
            replica.in_flight -= 1
            # abandoned calls are not collected by gRPC (grpc/grpc#43462)
            call.cancel()

    def _failure(self, replica: _Replica, error: grpc.aio.AioRpcError) -> Failure:
        code, reason = error.code(), _reason(error)
        cause = _REASONS.get(reason) or _CAUSES.get(code)
        if cause is None:
            broken = code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
            cause = self._broken if broken else Cause.MEMBER_INTERNAL
        if cause in (self._broken, Cause.MEMBER_NOT_READY):
            self._set_ready(replica, ready=False)
        _log.warning(
            "model %s at %s failed: %s (%s) %s",
            self.name,
            replica.target,
            cause.name,
            code.name,
            error.details(),
        )
        return Failure(cause)

    async def _watch(self, replica: _Replica) -> None:
        while True:
            try:
                await self._probe(replica)
            except grpc.aio.AioRpcError:
                self._set_ready(replica, ready=False)
            except Exception:  # noqa: BLE001 - the prober must outlive any surprise
                _log.exception("probing model %s at %s failed", self.name, replica.target)
                self._set_ready(replica, ready=False)
            await asyncio.sleep(PROBE_UP_S if replica.ready else PROBE_DOWN_S)

    async def _probe(self, replica: _Replica) -> None:
        request = oip.messages.ModelReadyRequest(name=self._model, version=self._version)
        method = replica.method("ModelReady", oip.messages.ModelReadyResponse)
        answer = await method(request, timeout=PROBE_TIMEOUT_S)
        if answer.ready and not replica.ready:
            spec = await self._describe(replica)
            if spec != self._spec:
                self._spec = spec
                self._on_change()
        self._set_ready(replica, ready=answer.ready)

    def _set_ready(self, replica: _Replica, *, ready: bool) -> None:
        if replica.ready != ready:
            replica.ready = ready
            _log.info("model %s at %s is %s", self.name, replica.target, "ready" if ready else "not ready")
            self._on_change()

    async def _describe(self, replica: _Replica) -> ModelSpec:
        request = oip.messages.ModelMetadataRequest(name=self._model, version=self._version)
        method = replica.method("ModelMetadata", oip.messages.ModelMetadataResponse)
        metadata = await method(request, timeout=PROBE_TIMEOUT_S)
        inputs, outputs = oip.read_metadata(metadata.inputs), oip.read_metadata(metadata.outputs)
        max_rows = await self._max_rows(replica)
        if max_rows is None:
            max_rows = DEFAULT_MAX_ROWS if batches_by_shape((*inputs, *outputs)) else 0
        return ModelSpec(
            name=self.name,
            version=max(metadata.versions, key=_by_number, default=""),
            platform=metadata.platform,
            inputs=inputs,
            outputs=tuple(replace(spec, labels=self._labels.get(spec.name, ())) for spec in outputs),
            max_rows=max_rows,
        )

    async def _max_rows(self, replica: _Replica) -> int | None:
        """Ask for the batch limit; None where the server does not offer Triton's ModelConfig."""
        request = oip.messages.ModelConfigRequest(name=self._model, version=self._version)
        try:
            method = replica.method("ModelConfig", oip.messages.ModelConfigResponse)
            return int((await method(request, timeout=PROBE_TIMEOUT_S)).config.max_batch_size)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                return None
            raise


async def learn(name: str, backend: Oip, within_s: float = 5.0) -> ModelSpec | None:
    """Ask a remote server what a model says of itself; None if it is not ready within the time."""
    changed = asyncio.Event()
    member = OipMember(
        name=name,
        model=backend.model or name,
        version=backend.version,
        targets=backend.targets,
        local=False,
        on_change=changed.set,
    )
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


def _by_number(version: str) -> tuple[int, str]:
    return (int(version), "") if version.isdigit() else (-1, version)


def _answer(response: Any) -> Answer:
    timings = {
        key: response.parameters[f"accord_{key}_us"].int64_param / 1e6
        for key in ("queue", "compute")
        if f"accord_{key}_us" in response.parameters
    }
    return Answer(
        outputs=oip.read_outputs(response),
        version=response.model_version,
        queue_s=timings.get("queue"),
        compute_s=timings.get("compute"),
    )


def _reason(error: grpc.aio.AioRpcError) -> str:
    """Return the reason in an error of our own kind, or nothing."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            status = status_pb2.Status.FromString(value)
            info = error_details_pb2.ErrorInfo()
            for detail in status.details:
                if detail.Unpack(info) and info.domain == DOMAIN:
                    return str(info.reason)
    return ""
