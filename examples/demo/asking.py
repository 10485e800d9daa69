"""Asking a gateway for many rows: in batches, several under way, every member's own outputs included."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from accord.client import read_tensors
from accord.v1 import errors_pb2
from examples import ExampleError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from accord.client import Answer, Client

__all__ = ["Served", "ask_all", "members_of"]

IN_FLIGHT = 4

Arrays = dict[str, "NDArray[Any]"]


@dataclass(frozen=True, slots=True)
class Served:
    """What a gateway answered to a number of rows.

    Args:
        outputs: The merged outputs by name, [n, ...].
        members: Each seat's own outputs by name; nested seats as ``outer/inner``.
    """

    outputs: Mapping[str, NDArray[Any]]
    members: Mapping[str, Mapping[str, NDArray[Any]]]


def ask_all(client: Client, ensemble: str, inputs: Mapping[str, NDArray[Any]], *, batch: int) -> Served:
    """Ask an ensemble for all rows.

    Args:
        client: A connection to the gateway.
        ensemble: Its name.
        inputs: The inputs by name, [n, ...].
        batch: Rows of one call.

    Raises:
        CallError: If a call fails.
        ExampleError: If a member is missing from an answer.
    """
    rows = len(next(iter(inputs.values())))

    def ask(start: int) -> tuple[Arrays, dict[str, Arrays]]:
        part = {name: array[start : start + batch] for name, array in inputs.items()}
        answer = client.infer(ensemble, part, return_members=True)
        if answer.report.degraded:
            lost = next(m for m in answer.report.members if m.outcome != errors_pb2.OUTCOME_OK)
            raise ExampleError(f"{ensemble}: rows from {start} on lack {lost.seat}: {lost.message}")
        return dict(answer.outputs), members_of(answer)

    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        parts = list(pool.map(ask, range(0, rows, batch)))
    members = {seat: _joined([own[seat] for _, own in parts]) for seat in parts[0][1]}
    return Served(_joined([outputs for outputs, _ in parts]), members)


def members_of(answer: Answer) -> dict[str, Arrays]:
    """Return the outputs of every member that an answer reports them of."""
    return {member.seat: read_tensors(member.outputs) for member in answer.report.members if member.outputs}


def _joined(parts: Sequence[Arrays]) -> Arrays:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
