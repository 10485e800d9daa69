"""One server of the Open Inference Protocol: its calls, whether it is ready, and what it says of a model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError

from gateway.members import forms
from gateway.members.causes import CallFailed, Diagnosis, Kind, diagnose, kind_of
from gateway.members.forms import Answered
from protos import oip
from protos.details import read_details
from protos.errors import Cause
from protos.model import DEFAULT_MAX_ROWS, ModelSpec, batches_by_shape, independent_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.members.channel import CallMetadata
    from gateway.members.lane import Lane
    from gateway.values import Question

__all__ = ["Server", "by_number"]

#: How long a server may take to tell something of itself, in seconds.
PROBE_TIMEOUT_S = 2.0
#: How long it may take to load a model.
LOAD_TIMEOUT_S = 600.0

m = oip.messages


class Server:
    """A server that hosts one model of ours.

    Args:
        channel: The way to it; closed with this.
        model: The model's name there.
        version: The version wanted; empty = the server's choice.
        metadata: Sent with every call.
        lane: A shorter way to it for ModelInfer; None = there is none.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        model: str,
        version: str,
        metadata: CallMetadata,
        lane: Lane | None = None,
    ) -> None:
        self._channel = channel
        self._model = model
        self._version = version
        self._metadata = metadata
        self._lane = lane
        self._tells_of_models = True
        self.kind = Kind.OTHER
        #: What the model was when it was described last, and whether an answer has shown otherwise since.
        self.spec: ModelSpec | None = None
        self.stale = False
        # bytes both ways: what members have in common is encoded once, and nothing is copied to be read
        self._infer: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            f"/{oip.SERVICE}/ModelInfer"
        )
        self._server_ready = self._method(m.ServerReadyRequest, m.ServerReadyResponse, "ServerReady")
        self._server_metadata = self._method(
            m.ServerMetadataRequest, m.ServerMetadataResponse, "ServerMetadata"
        )
        self._model_ready = self._method(m.ModelReadyRequest, m.ModelReadyResponse, "ModelReady")
        self._model_metadata = self._method(m.ModelMetadataRequest, m.ModelMetadataResponse, "ModelMetadata")
        self._model_config = self._method(m.ModelConfigRequest, m.ModelConfigResponse, "ModelConfig")
        self._load = self._method(
            m.RepositoryModelLoadRequest, m.RepositoryModelLoadResponse, "RepositoryModelLoad"
        )
        self._unload = self._method(
            m.RepositoryModelUnloadRequest, m.RepositoryModelUnloadResponse, "RepositoryModelUnload"
        )

    async def close(self) -> None:
        """End the channel, with every call on it."""
        if self._lane is not None:
            self._lane.close()
        await self._channel.close()

    async def join_lane(self, *, anew: bool) -> None:
        """Have the lane up, where there is one and it can be.

        Args:
            anew: Whether the server may be another process than before.
        """
        if self._lane is not None:
            await self._lane.join(anew=anew)

    async def infer(self, question: Question, head: bytes, within_s: float) -> Answered:
        """Ask the model, by the lane where it is up.

        Args:
            question: What is asked.
            head: The request without its tensors.
            within_s: How long to wait.

        Raises:
            CallFailed: If it ends with a status.
            ValueError: If the reply makes no sense.
        """
        lane = self._lane
        if lane is not None and lane.up:
            tensors, raws = forms.apart(question)
            request = head + tensors
            if lane.carries(request, raws):
                return await lane.infer(request, raws, within_s)
        message = b"".join((head, *forms.whole(question)))
        metadata = self._metadata.pairs + question.metadata
        call = self._infer(message, timeout=within_s, metadata=metadata or None)
        try:
            return Answered(m.ModelInferResponse.FromString(await call))
        except grpc.aio.AioRpcError as error:
            raise _failed(error) from None
        except DecodeError:
            raise ValueError("the reply is not a ModelInferResponse") from None
        finally:
            # abandoned calls are not collected by gRPC (grpc/grpc#43462)
            call.cancel()

    async def ready(self) -> bool:
        """Ask whether the model is ready; a server that cannot tell is asked for itself.

        Raises:
            grpc.aio.AioRpcError: If it does not answer, or knows no such model.
        """
        if self._tells_of_models:
            try:
                request = m.ModelReadyRequest(name=self._model, version=self._version)
                return bool((await self._tell(self._model_ready, request)).ready)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                    raise
                self._tells_of_models = False
        return bool((await self._tell(self._server_ready, m.ServerReadyRequest())).ready)

    async def describe(self, name: str, labels: Mapping[str, tuple[str, ...]]) -> ModelSpec:
        """Ask what the server is, and what the model is.

        Args:
            name: The model's name here.
            labels: Class names by output; the protocol does not carry them.

        Raises:
            grpc.aio.AioRpcError: If it does not tell what the model is.
        """
        # first: what an answer shows meanwhile is newer than what is told here
        self.stale = False
        self.kind = await self._identify()
        asked = {"name": self._model, "version": self._version}
        metadata = await self._tell(self._model_metadata, m.ModelMetadataRequest(**asked))
        config = await self._config(m.ModelConfigRequest(**asked))
        self.spec = _spec(name, self._version, metadata, config, labels)
        return self.spec

    async def load(self) -> None:
        """Have the server load the model again.

        Raises:
            grpc.aio.AioRpcError: If it cannot.
        """
        request = m.RepositoryModelLoadRequest(model_name=self._model)
        await self._load(request, timeout=LOAD_TIMEOUT_S, metadata=self._metadata.pairs)

    async def unload(self) -> None:
        """Have the server take the model out.

        Raises:
            grpc.aio.AioRpcError: If it cannot.
        """
        request = m.RepositoryModelUnloadRequest(model_name=self._model)
        await self._unload(request, timeout=LOAD_TIMEOUT_S, metadata=self._metadata.pairs)

    def diagnose(self, failed: CallFailed) -> Diagnosis:
        """Find out why a call failed."""
        return diagnose(self.kind, failed.code, failed.text, failed.reason)

    async def _identify(self) -> Kind:
        try:
            told = await self._tell(self._server_metadata, m.ServerMetadataRequest())
        except grpc.aio.AioRpcError:
            return Kind.OTHER
        return kind_of(told.name, told.extensions)

    async def _config(self, request: Any) -> Any:
        """Return Triton's ModelConfig, or None where the server does not offer it, or not to us."""
        try:
            return (await self._tell(self._model_config, request)).config
        except grpc.aio.AioRpcError as error:
            if self.diagnose(_failed(error)).cause in (Cause.MEMBER_UNSUPPORTED, Cause.MEMBER_FORBIDDEN):
                return None
            raise

    async def _tell(self, method: grpc.aio.UnaryUnaryMultiCallable[Any, Any], request: Any) -> Any:
        return await method(request, timeout=PROBE_TIMEOUT_S, metadata=self._metadata.pairs)

    def _method(self, request: Any, response: Any, name: str) -> grpc.aio.UnaryUnaryMultiCallable[Any, Any]:
        return self._channel.unary_unary(
            f"/{oip.SERVICE}/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )


def _failed(error: grpc.aio.AioRpcError) -> CallFailed:
    reason = read_details(error.trailing_metadata()).reason
    return CallFailed(error.code().value[0], error.details() or "", reason)


def _spec(
    name: str, version: str, metadata: Any, config: Any, labels: Mapping[str, tuple[str, ...]]
) -> ModelSpec:
    inputs, outputs = oip.read_metadata(metadata.inputs), oip.read_metadata(metadata.outputs)
    if config is None:
        max_rows = DEFAULT_MAX_ROWS if batches_by_shape((*inputs, *outputs)) else 0
        optional: frozenset[str] = frozenset()
    else:
        max_rows = int(config.max_batch_size)
        optional = oip.optional_inputs(config)
    versions = (version,) if version else tuple(sorted(metadata.versions, key=by_number))
    return ModelSpec(
        name=name,
        version=versions[-1] if versions else "",
        versions=versions,
        platform=metadata.platform,
        inputs=tuple(replace(spec, optional=spec.name in optional) for spec in inputs),
        outputs=tuple(replace(spec, labels=labels.get(spec.name, ())) for spec in outputs),
        max_rows=max_rows,
        independent=None if config is None else independent_of(config),
        config=config,
    )


def by_number(version: str) -> tuple[int, str]:
    """Return what versions are ordered by: numbers as such, and before them whatever is none.

    A server's word is not turned into a number: it may have thousands of digits, or digits like "²".

    Example:
        >>> sorted(["10", "9", "²", "main"], key=by_number)
        ['main', '²', '9', '10']
    """
    digits = version.lstrip("0")
    return (len(digits), digits) if version.isascii() and version.isdigit() else (-1, version)
