"""What one would write by hand: a grpc.aio server that asks k workers at once and takes the mean.

``python -m bench.peers.naive MODEL=ADDRESS ...`` asks workers of ours. It prints the address where it
listens, and serves until it is killed. It batches nothing, checks nothing, and knows no deadline or failure.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np

from bench.echo import serve
from protos.oip import SERVICE, messages
from protos.rpc import CHANNEL_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["main"]


class _FanOut(grpc.GenericRpcHandler):
    def __init__(self, members: Mapping[str, Callable[[Any], Any]]) -> None:
        self._members = members
        self._handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(
            self._infer,
            request_deserializer=messages.ModelInferRequest.FromString,
            response_serializer=messages.ModelInferResponse.SerializeToString,
        )

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        return self._handler

    async def _infer(self, request: Any, _context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        answers = await asyncio.gather(
            *(call(_renamed(request, model)) for model, call in self._members.items())
        )
        arrays = [np.frombuffer(answer.raw_output_contents[0], np.float32) for answer in answers]
        merged = messages.ModelInferResponse(model_name=request.model_name, outputs=answers[0].outputs)
        merged.raw_output_contents.append(np.mean(arrays, axis=0).tobytes())
        return merged


def _renamed(request: Any, model: str) -> Any:
    copy = messages.ModelInferRequest()
    copy.CopyFrom(request)
    copy.model_name = model
    return copy


async def main(members: Mapping[str, str]) -> None:
    """Serve an ensemble of models at these addresses."""
    calls = {
        model: grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS).unary_unary(
            f"/{SERVICE}/ModelInfer",
            request_serializer=messages.ModelInferRequest.SerializeToString,
            response_deserializer=messages.ModelInferResponse.FromString,
        )
        for model, address in members.items()
    }
    await serve(_FanOut(calls))


if __name__ == "__main__":
    asyncio.run(main(dict(argument.split("=", 1) for argument in sys.argv[1:])))
