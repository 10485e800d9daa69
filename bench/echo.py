"""A bare grpc.aio server that answers every call with its request: the least that a call costs.

``python -m bench.echo`` prints the address where it listens, and serves until it is killed.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc

from protos.rpc import SERVER_OPTIONS

__all__ = ["main"]


class _Echo(grpc.GenericRpcHandler):
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        return grpc.unary_unary_rpc_method_handler(_echo)


async def _echo(request: bytes, _context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
    return request


async def main() -> None:
    """Serve on a free port of the loopback address."""
    server = grpc.aio.server(options=SERVER_OPTIONS)
    server.add_generic_rpc_handlers([_Echo()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(f"127.0.0.1:{port}\n")
    sys.stdout.flush()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
