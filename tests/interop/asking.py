"""A gateway in front of other servers, asked by plain protocol messages."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np

from protos import oip
from protos.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

__all__ = ["Embedded", "ask_texts", "infer", "write_config"]

m = oip.messages


def write_config(folder: Path, address: str, models: Iterable[str]) -> Path:
    """Write a configuration whose models are all served at one address."""
    lines = (f"  {name}: {{oip: {{targets: ['{address}']}}}}" for name in models)
    path = folder / "accord.yaml"
    path.write_text("\n".join(["models:", *lines, ""]))
    return path


def infer(
    channel: grpc.Channel,
    model: str,
    inputs: Mapping[str, Tensor],
    *,
    outputs: Iterable[str] = (),
    within_s: float = 30.0,
) -> dict[str, Tensor]:
    """Ask a model; return its outputs, those that are named or all."""
    request = m.ModelInferRequest(model_name=model)
    oip.write_inputs(request, inputs)
    for output in outputs:
        request.outputs.add(name=output)
    call: Any = channel.unary_unary(
        f"/{oip.SERVICE}/ModelInfer",
        request_serializer=m.ModelInferRequest.SerializeToString,
        response_deserializer=m.ModelInferResponse.FromString,
    )
    return oip.read_outputs(call(request, timeout=within_s))


@dataclass(frozen=True)
class Embedded:
    """What one caller got: its embedding, or the status and the message of a failed call."""

    embedding: np.ndarray | None = None
    code: grpc.StatusCode = grpc.StatusCode.OK
    message: str = ""


def ask_texts(address: str, model: str, sent: Sequence[str]) -> list[Embedded]:
    """Send every text to a model in a call of its own, all at once."""

    async def everybody() -> list[Embedded]:
        async with grpc.aio.insecure_channel(address) as channel:
            call = channel.unary_unary(f"/{oip.SERVICE}/ModelInfer")

            async def ask(text: str) -> Embedded:
                request = m.ModelInferRequest(model_name=model)
                oip.write_inputs(request, {"text": Tensor.from_array(np.array([[text.encode()]], object))})
                try:
                    reply = await call(request.SerializeToString(), timeout=40)
                except grpc.aio.AioRpcError as error:
                    return Embedded(code=error.code(), message=error.details() or "")
                (tensor,) = oip.read_outputs(m.ModelInferResponse.FromString(reply)).values()
                return Embedded(embedding=tensor.array()[0])

            return await asyncio.gather(*map(ask, sent))

    return asyncio.run(everybody())
