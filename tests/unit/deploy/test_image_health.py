"""The images' health checks, run as their Dockerfiles say, against what they ask."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import grpc
import pytest

from gateway.observe.port import MetricsPort, ServerStatus
from protos.health import Health

DOCKER = Path(__file__).parents[3] / "deploy/docker"


def command(image: str, port: int) -> list[str]:
    """Return the health check's command, pointed at another port and this interpreter."""
    text = (DOCKER / f"{image}.Dockerfile").read_text().replace("\\\n", "")
    line = next(line for line in text.splitlines() if line.startswith("HEALTHCHECK"))
    program, *arguments = json.loads(line.partition("CMD ")[2])
    assert program == "python"
    return [sys.executable, *(a.replace(":8001", f":{port}").replace(":8002", f":{port}") for a in arguments)]


async def passes(image: str, port: int) -> bool:
    """Tell whether the check passes; anything but exit code 0 counts as unhealthy."""
    process = await asyncio.create_subprocess_exec(
        *command(image, port), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    return await process.wait() == 0


async def test_the_gateway_is_healthy_when_ready() -> None:
    """/readyz decides: 200 passes, 503 does not, and nobody there does not."""
    ready = True

    async def is_ready() -> bool:
        return ready

    async def status() -> ServerStatus:
        return ServerStatus(ready=ready, counted={}, restarts={}, running={})

    port = MetricsPort("127.0.0.1:0", ready=is_ready, status=status)
    number = int(port.address.rpartition(":")[2])
    port.start()
    try:
        assert await passes("gateway", number)
        ready = False
        assert not await passes("gateway", number)
    finally:
        await asyncio.to_thread(port.stop)
    assert not await passes("gateway", number)


@pytest.mark.parametrize("image", ["worker", "worker-gpu"])
async def test_a_worker_is_healthy_while_it_serves(image: str) -> None:
    """grpc.health.v1 decides: SERVING passes, NOT_SERVING does not, and nobody there does not."""
    server, health = grpc.aio.server(), Health([])
    server.add_generic_rpc_handlers((health.handlers(),))
    number = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        assert not await passes(image, number)
        health.show({"": True})
        assert await passes(image, number)
    finally:
        await server.stop(0)
    assert not await passes(image, number)
