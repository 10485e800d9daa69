"""Requests that are wrong, and the exact answers that they must get."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from accord.client import CallError
from accord.v1 import ensemble_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from accord.client import Client

__all__ = ["ON_DIGITS", "ON_REVIEWS", "Refusal", "Wrong", "ask_wrongly"]


@dataclass(frozen=True, slots=True)
class Wrong:
    """A wrong request.

    Args:
        problem: What is wrong with it.
        ensemble: Whom it asks.
        inputs: Its inputs.
        fields: Its further fields.
        code: The gRPC status that it must get.
        reason: The reason that it must get.
    """

    problem: str
    ensemble: str
    inputs: Mapping[str, NDArray[Any]]
    fields: Mapping[str, Any]
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a wrong request got.

    Args:
        problem: What was wrong.
        code: The gRPC status; empty if it was answered.
        reason: Accord's reason.
        message: What the caller reads.
        expected: Whether status and reason are those that it must get.
    """

    problem: str
    code: str
    reason: str
    message: str
    expected: bool


ON_DIGITS = (
    Wrong(
        "63 pixels instead of 64",
        "digits",
        {"pixels": np.zeros((1, 63), np.float32)},
        {},
        "INVALID_ARGUMENT",
        "SHAPE_MISMATCH",
    ),
    Wrong(
        "an ensemble that does not exist",
        "digit",
        {"pixels": np.zeros((1, 64), np.float32)},
        {},
        "NOT_FOUND",
        "MODEL_NOT_FOUND",
    ),
)
ON_REVIEWS = (
    Wrong(
        "a quorum of the caller's own, which the configuration does not permit",
        "polarity",
        {"text": np.array([["well worth the money"]], object)},
        {"quorum": pb.Quorum(count=1)},
        "INVALID_ARGUMENT",
        "PARAMETER_INVALID",
    ),
)


def ask_wrongly(client: Client, wrong: Wrong) -> Refusal:
    """Send a wrong request and return how it was refused."""
    try:
        client.infer(wrong.ensemble, wrong.inputs, **wrong.fields)
    except CallError as error:
        expected = (error.code, error.reason) == (wrong.code, wrong.reason) and bool(error.message)
        return Refusal(wrong.problem, error.code, error.reason, error.message, expected)
    return Refusal(wrong.problem, "", "", "the request was answered", expected=False)
