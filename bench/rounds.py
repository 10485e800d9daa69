"""What is measured: every kind of load on every target, round after round."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import grpc

from bench.answers import agreed
from bench.figures import Case, Leg
from bench.load import drive
from protos.oip import SERVICE
from protos.rpc import CHANNEL_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from bench.answers import Call
    from bench.load import Pace
    from bench.targets import Target

__all__ = ["CASES", "measure"]

CASES = (Case(1, 1), Case(16, 1), Case(64, 1), Case(1, 64))
CALL_TIMEOUT_S = 10.0


async def measure(
    targets: Mapping[str, Target],
    members: Sequence[str],
    pixels: NDArray[np.float32],
    pace: Pace,
    progress: Callable[[float, str], None],
) -> dict[Case, dict[str, list[Leg]]]:
    """Check the answers, then drive all targets in turn.

    Args:
        targets: Who is asked, by name, in the order of their turns.
        members: The models that the ensemble merges.
        pixels: The rows to ask for, float32 [n, 64].
        pace: How often and how long.
        progress: Told the share that is done and what comes next.

    Returns:
        The legs of all rounds, by case and target.

    Raises:
        BenchFailed: If an answer is wrong.
        grpc.aio.AioRpcError: If a call fails.
    """
    legs: dict[Case, dict[str, list[Leg]]] = {case: {name: [] for name in targets} for case in CASES}
    async with AsyncExitStack() as stack:
        calls: dict[str, Call] = {}
        for name, target in targets.items():
            channel = grpc.aio.insecure_channel(target.address, options=CHANNEL_OPTIONS)
            await stack.enter_async_context(channel)
            calls[name] = partial(channel.unary_unary(f"/{SERVICE}/ModelInfer"), timeout=CALL_TIMEOUT_S)
        progress(0.0, "checking the answers")
        asked = {rows: await agreed(calls, members, pixels, rows) for rows in {case.rows for case in CASES}}
        # each round meets every case, so that a slow minute of the machine is in one round of each
        turns = [(case, name) for _ in range(pace.rounds) for case in CASES for name in calls]
        for i, (case, name) in enumerate(turns):
            progress(i / len(turns), f"{case.name}: {name}")
            ask = partial(drive, calls[name], asked[case.rows][name], case.in_flight, cpu=targets[name].cpu_s)
            await ask(window_s=pace.lead_s)
            legs[case][name].append(await ask(window_s=pace.window_s))
    return legs
