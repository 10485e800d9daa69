"""The clients of the suite: tritonclient's sync and aio ones as they are, and bare gRPC.

Each sends what a case says to a target and returns what came back: an :class:`Answer` to an inference, a
:class:`Refused` for an error, and otherwise what the client itself returns.
"""

from __future__ import annotations

import asyncio
import queue
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import grpc
import tritonclient.grpc as sync_client
import tritonclient.grpc.aio as aio_client
from tritonclient.utils import InferenceServerException

from protos import oip
from protos.oip import messages
from protos.tensor import Tensor, datatype_of
from tests.interop.conformance.case import (
    Answer,
    Ask,
    Cancel,
    Growth,
    Infer,
    Refused,
    Rpc,
    Script,
    Stream,
    Together,
    outputs,
)
from tests.serving import decode

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.interop.conformance.targets import Target

__all__ = ["CLIENTS", "Aio", "Client", "Stub", "Sync", "request"]

#: Longest wait for anything, so that a server that says nothing fails the case alone.
PATIENCE_S = 20.0
_LIMITS = [("grpc.max_receive_message_length", 2**27), ("grpc.max_send_message_length", 2**27)]


def request(ask: Infer) -> Any:
    """Build the message of an inference, with what tritonclient's options say as parameters."""
    options = dict(ask.options)
    message = messages.ModelInferRequest(
        model_name=ask.model,
        model_version=options.get("model_version", ""),
        id=options.get("request_id", ""),
    )
    oip.write_inputs(message, {name: Tensor.from_array(array) for name, array in ask.inputs.items()})
    for wanted in ask.wanted:
        name, classes = wanted if isinstance(wanted, tuple) else (wanted, 0)
        output = message.outputs.add(name=name)
        if classes:
            output.parameters["classification"].int64_param = classes
    oip.write_parameters(message.parameters, options.get("parameters", {}))
    return message


class Client:
    """Sends what a case says.

    Args:
        target: Whom to ask.
    """

    def __init__(self, target: Target) -> None:
        self.target = target

    def close(self) -> None:
        """Close the connections."""

    def see(self, what: Any, view: Callable[[Any], Any]) -> Any:
        """Send something and return what is seen: errors as they are, all else as the view tells it."""
        match what:
            case Script():
                return [self.see(step, of_step) for step, of_step in what.steps]
            case Growth():
                return self._growth(what)
        try:
            found = self._send(what)
        except (grpc.RpcError, InferenceServerException) as error:
            return _refused(error)
        if isinstance(what, Stream | Together):
            return [one if isinstance(one, Refused) else view(one) for one in found]
        return found if isinstance(found, Refused) else view(found)

    def _send(self, what: Any) -> Any:
        raise NotImplementedError

    def _growth(self, growth: Growth) -> dict[str, Any]:
        def read() -> Any:
            # the protocol lets a server count after it has answered
            time.sleep(0.05)
            return self._send(Ask("get_inference_statistics", growth.model)).model_stats[0]

        before = read()
        for ask in growth.asks:
            self.see(ask, outputs)
        return _grown(before, read())

    def _arguments(self, ask: Infer) -> dict[str, Any]:
        """Return what tritonclient's ``infer`` is given."""
        inputs = []
        for name, array in ask.inputs.items():
            tensor = sync_client.InferInput(name, list(array.shape), datatype_of(array.dtype))
            inputs.append(tensor.set_data_from_numpy(array))
        wanted = [
            sync_client.InferRequestedOutput(*((one, 0) if isinstance(one, str) else one))
            for one in ask.wanted
        ]
        options = {"client_timeout": PATIENCE_S, **ask.options}
        return {
            "model_name": self.target.name(ask.model),
            "inputs": inputs,
            "outputs": wanted or None,
            **options,
        }

    def _positional(self, ask: Ask) -> tuple[Any, ...]:
        return ((self.target.name(ask.model),) if ask.model else ()) + ask.arguments


class Sync(Client):
    """Tritonclient's sync client."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._clients: dict[str, Any] = {}

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def _at(self, model: str) -> Any:
        address = self.target.where(model)
        if address not in self._clients:
            self._clients[address] = sync_client.InferenceServerClient(address)
        return self._clients[address]

    def _send(self, what: Any) -> Any:
        match what:
            case Infer():
                return _answer(self._at(what.model).infer(**self._arguments(what)))
            case Ask():
                method = getattr(self._at(what.model), what.method)
                return method(*self._positional(what), **what.options)
            case Stream():
                return self._stream(what)
            case Cancel():
                arrived: queue.Queue[Any] = queue.Queue()
                call = self._at(what.ask.model).async_infer(
                    callback=lambda result, error: arrived.put((result, error)), **self._arguments(what.ask)
                )
                time.sleep(what.after_s)
                call.cancel()
                return _told(*arrived.get(timeout=PATIENCE_S))
        raise TypeError(what)

    def _stream(self, stream: Stream) -> list[Any]:
        arrived: queue.Queue[Any] = queue.Queue()
        client = self._at(stream.asks[0].model)  # type: ignore[union-attr]
        client.start_stream(
            callback=lambda result, error: arrived.put((result, error)), headers=dict(stream.headers)
        )
        try:
            for ask in stream.asks:
                arguments = self._arguments(ask)  # type: ignore[arg-type]
                del arguments["client_timeout"]
                client.async_stream_infer(**arguments)
            return [_told(*arrived.get(timeout=PATIENCE_S)) for _ in stream.asks]
        finally:
            client.stop_stream()


class Aio(Client):
    """Tritonclient's aio client, on an event loop of its own."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._runner = asyncio.Runner()
        self._clients: dict[str, Any] = {}

    def close(self) -> None:
        for client in self._clients.values():
            self._runner.run(client.close())
        self._runner.close()

    def _send(self, what: Any) -> Any:
        return self._runner.run(self._sent(what))

    def _at(self, model: str) -> Any:
        address = self.target.where(model)
        if address not in self._clients:
            self._clients[address] = aio_client.InferenceServerClient(address)
        return self._clients[address]

    async def _sent(self, what: Any) -> Any:
        match what:
            case Infer():
                return _answer(await self._at(what.model).infer(**self._arguments(what)))
            case Ask():
                method = getattr(self._at(what.model), what.method)
                return await method(*self._positional(what), **what.options)
            case Stream():
                return await self._stream(what)
            case Together():
                asked = (self._sent(ask) for ask in what.asks)
                found = await asyncio.gather(*asked, return_exceptions=True)
                refused = {_refused(one).code for one in found if isinstance(one, InferenceServerException)}
                return [Refused(code) for code in sorted(refused)]
            case Cancel():
                call = asyncio.ensure_future(self._sent(what.ask))
                await asyncio.sleep(what.after_s)
                call.cancel()
                try:
                    return await call
                except asyncio.CancelledError:
                    return Refused("CANCELLED")
        raise TypeError(what)

    async def _stream(self, stream: Stream) -> list[Any]:
        async def asked() -> Any:
            for ask in stream.asks:
                arguments = self._arguments(ask)  # type: ignore[arg-type]
                del arguments["client_timeout"]
                yield arguments
            await over.wait()  # a stream that its client has half closed shows less of what a server does

        over = asyncio.Event()
        client = self._at(stream.asks[0].model)  # type: ignore[union-attr]
        answers = client.stream_infer(asked(), headers=dict(stream.headers), stream_timeout=PATIENCE_S)
        found: list[Any] = []
        try:
            while len(found) < len(stream.asks):
                found.append(_told(*await anext(answers)))
        except grpc.RpcError as error:
            found.append(_refused(error))
        finally:
            over.set()
            answers.cancel()
        return found


class Stub(Client):
    """Bare gRPC: sends any bytes, and shows all of what comes back."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._channels: dict[str, grpc.Channel] = {}
        self._stack = ExitStack()

    def close(self) -> None:
        self._stack.close()

    def _send(self, what: Any) -> Any:
        match what:
            case Infer():
                return self._send(Rpc("ModelInfer", request(what)))
            case Rpc():
                call: Any = self._channel(what).unary_unary(f"/{what.service}/{what.method}")
                return _parsed(what, call(self._bytes(what), timeout=PATIENCE_S))
            case Stream():
                return self._stream(what)
        raise TypeError(what)

    def _stream(self, stream: Stream) -> list[Any]:
        asks = [ask if isinstance(ask, Rpc) else Rpc("", request(ask)) for ask in stream.asks]
        call: Any = self._channel(asks[0]).stream_stream(f"/{oip.SERVICE}/ModelStreamInfer")
        answers = call(
            iter([self._bytes(ask) for ask in asks]),
            metadata=tuple(stream.headers.items()),
            timeout=PATIENCE_S,
        )
        found: list[Any] = []
        try:
            for data in answers:
                found.append(messages.ModelStreamInferResponse.FromString(data))  # noqa: PERF401 - what came before an error counts
        except grpc.RpcError as error:
            found.append(_refused(error))
        return found

    def _channel(self, rpc: Rpc) -> grpc.Channel:
        address = self.target.where(_model(rpc.message))
        if address not in self._channels:
            made = grpc.insecure_channel(address, _LIMITS)
            self._channels[address] = self._stack.enter_context(made)
        return self._channels[address]

    def _bytes(self, rpc: Rpc) -> bytes:
        if rpc.data is not None:
            return rpc.data
        message = type(rpc.message)()
        message.CopyFrom(rpc.message)
        for field in ("model_name", "name"):
            if field in message.DESCRIPTOR.fields_by_name and getattr(message, field):
                setattr(message, field, self.target.name(getattr(message, field)))
        return bytes(message.SerializeToString())


CLIENTS: dict[str, Callable[[Target], Client]] = {"sync": Sync, "aio": Aio, "stub": Stub}


def _model(message: Any) -> str:
    for field in ("model_name", "name"):
        if field in message.DESCRIPTOR.fields_by_name:
            return str(getattr(message, field))
    return ""


def _answer(result: Any) -> Answer:
    """Read an answer the way tritonclient's users do."""
    message = result.get_response()
    return Answer(message, {output.name: result.as_numpy(output.name) for output in message.outputs})


def _told(result: Any, error: Any) -> Any:
    return _answer(result) if error is None else _refused(error)


def _parsed(rpc: Rpc, data: bytes) -> Any:
    message = (rpc.answer or getattr(messages, f"{rpc.method}Response")).FromString(data)
    if rpc.method != "ModelInfer":
        return message
    return Answer(message, {name: tensor.array() for name, tensor in oip.read_outputs(message).items()})


def _refused(error: Any) -> Refused:
    """Read an error; tritonclient keeps of it the status and the text, and Python the original."""
    if isinstance(error, InferenceServerException):
        original = error.__context__
        if isinstance(original, grpc.RpcError):
            return _refused(original)
        status = error.status() or ""
        return Refused(status.removeprefix("StatusCode."), text=error.message())
    found = decode(error)
    return Refused(found.code, found.info.reason, found.field, found.message)


def _grown(before: Any, after: Any) -> dict[str, Any]:
    def counts(stats: Any) -> dict[str, Any]:
        told = stats.inference_stats
        return {
            "rows": stats.inference_count,
            "runs": stats.execution_count,
            **{
                name: getattr(told, name).count
                for name in ("success", "fail", "queue", "compute_infer", "cache_hit")
            },
            **{f"runs of {batch.batch_size}": batch.compute_infer.count for batch in stats.batch_stats},
        }

    first, last = counts(before), counts(after)
    return {name: n - first.get(name, 0) for name, n in last.items() if n != first.get(name, 0)}
