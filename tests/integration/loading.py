"""Models that multiply by a factor: the answer tells which export of a model was loaded when it was asked."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import tritonclient.grpc as triton

from tests import models
from tests.serving import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Asked", "ask", "asking", "load_in_turn", "times"]

X = np.ones((1, 2), np.float32)


def times(factor: float) -> bytes:
    return models.linear(np.eye(2, dtype=np.float32) * factor)


def ask(client: triton.InferenceServerClient, name: str = "m", version: str = "") -> float:
    """Return the factor by which the model multiplies."""
    tensor = triton.InferInput("x", [1, 2], "FP32")
    tensor.set_data_from_numpy(X)
    return float(client.infer(name, [tensor], model_version=version).as_numpy("y")[0, 0])


@dataclass
class Asked:
    """What callers that never pause were told: how often which factor, and every failure."""

    factors: dict[float, int] = field(default_factory=dict)
    failures: list[Exception] = field(default_factory=list)

    @property
    def calls(self) -> int:
        return sum(self.factors.values()) + len(self.failures)


@contextmanager
def asking(address: str, *names: str) -> Iterator[list[Asked]]:
    """Ask each of the models without a pause, from a client of its own, until the block ends."""
    stop = threading.Event()
    told = [Asked() for _ in names]

    def keep_asking(name: str, asked: Asked) -> None:
        with triton.InferenceServerClient(address) as client:
            while not stop.is_set():
                try:
                    factor = ask(client, name)
                    asked.factors[factor] = asked.factors.get(factor, 0) + 1
                except Exception as error:  # noqa: BLE001 - any at all is what the tests look for
                    asked.failures.append(error)

    callers = [threading.Thread(target=keep_asking, args=pair) for pair in zip(names, told, strict=True)]
    for caller in callers:
        caller.start()
    try:
        yield told
    finally:
        stop.set()
        for caller in callers:
            caller.join()


def load_in_turn(
    repository: Path, client: triton.InferenceServerClient, told: list[Asked], *, loads: int
) -> None:
    """Load the model ``m`` again and again, in turn as one that multiplies by 2 and by 1.

    Between two loads every caller gets at least one answer that it asked for after the first.
    """
    for i in range(loads):
        models.write_model(repository, "m", times(1 + (i + 1) % 2))
        client.load_model("m")
        # the first may have been on its way before the load
        enough = [asked.calls + 2 for asked in told]
        eventually(
            lambda enough=enough: all(a.calls >= n for a, n in zip(told, enough, strict=True)),
            within_s=10,
            what="every caller is answered",
        )
