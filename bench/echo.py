"""A bare grpc.aio server that answers every call with the same bytes: the least that a call costs.

``python -m bench.echo FILE`` answers with the file's content, whatever is asked; the bench gives it an
ensemble's reply. It prints the address where it listens, and serves until it is killed.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc

from protos.rpc import SERVER_OPTIONS

__all__ = ["serve"]


class _Echo(grpc.GenericRpcHandler):
    def __init__(self, reply: bytes) -> None:
        async def answer(_request: bytes, _context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
            return reply

        self._handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(answer)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        return self._handler


async def serve(handler: grpc.GenericRpcHandler) -> None:
    """Serve on a free port of the loopback address, print it, and go on until killed."""
    server = grpc.aio.server(options=SERVER_OPTIONS)
    server.add_generic_rpc_handlers([handler])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(f"127.0.0.1:{port}\n")
    sys.stdout.flush()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(_Echo(Path(sys.argv[1]).read_bytes())))
