"""What is asked, and whether the answers are right: nothing is timed that is not.

Before the clock starts, every request is asked everywhere: the merged probabilities must be the mean of the
members' own, and the worker that is asked directly must answer what the gateway says of that member. While it
runs, a reply that is byte for byte the checked one is right; any other is decoded when the window is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import BenchFailed
from protos import oip
from protos.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from numpy.typing import NDArray

    #: Sends request bytes to a target and returns the reply's.
    Call = Callable[[bytes], Awaitable[bytes]]

__all__ = ["ENSEMBLE", "MEMBER", "Question", "agreed", "check"]

ENSEMBLE = "digits"
#: The member whose worker is asked directly.
MEMBER = "digits-svm"
#: Requests of one case; they are sent in turn.
DISTINCT = 32
#: A model's own arithmetic may differ in the last bits from run to run.
RTOL, ATOL = 1e-5, 1e-6


@dataclass(frozen=True, slots=True)
class Question:
    """One request as bytes, and a reply that was found right."""

    request: bytes
    reply: bytes


async def agreed(
    calls: Mapping[str, Call], members: Sequence[str], pixels: NDArray[np.float32], rows: int
) -> dict[str, list[Question]]:
    """Ask every target for the same rows, hold the answers against each other, and return them by target.

    Args:
        calls: How to ask ``echo``, ``worker`` and ``gateway``.
        members: The models that the ensemble merges.
        pixels: The rows, float32 [n, 64].
        rows: Rows of each request.

    Raises:
        BenchFailed: If two answers that must be equal are not.
    """
    asked: dict[str, list[Question]] = {name: [] for name in calls}
    for start in range(0, len(pixels) - rows + 1, rows)[:DISTINCT]:
        merged, direct = (_request(model, pixels[start : start + rows]) for model in (ENSEMBLE, MEMBER))
        for name, request in {"echo": merged, "worker": direct, "gateway": merged}.items():
            asked[name].append(Question(request, await calls[name](request)))
        own = {
            name: _probabilities(await calls["gateway"](_request(name, pixels[start : start + rows])))
            for name in members
        }
        mean = np.asarray(np.mean(list(own.values()), axis=0, dtype=np.float64))
        _equal("the gateway's answer and the mean of its members'", asked["gateway"][-1].reply, mean)
        _equal(f"{MEMBER} asked directly and through the gateway", asked["worker"][-1].reply, own[MEMBER])
    return asked


def check(question: Question, reply: bytes) -> None:
    """Demand that a reply says the same as the one that was found right.

    Raises:
        BenchFailed: If it does not, or lacks a member.
    """
    if reply != question.reply:
        _equal("an answer under load and the one before", reply, _probabilities(question.reply))


def _request(model: str, rows: NDArray[np.float32]) -> bytes:
    request = oip.messages.ModelInferRequest(model_name=model)
    oip.write_inputs(request, {"pixels": Tensor.from_array(rows)})
    return bytes(request.SerializeToString())


def _probabilities(reply: bytes) -> NDArray[Any]:
    response = oip.messages.ModelInferResponse.FromString(reply)
    if response.parameters["accord_degraded"].bool_param:
        raise BenchFailed(f"an answer lacks a member: {response.parameters['accord_failed'].string_param}")
    return oip.read_outputs(response)["probabilities"].array()


def _equal(what: str, reply: bytes, want: NDArray[Any]) -> None:
    worst = float(np.abs(_probabilities(reply) - want).max())
    if not np.allclose(_probabilities(reply), want, rtol=RTOL, atol=ATOL):
        raise BenchFailed(f"{what} differ by {worst:.1g}")
