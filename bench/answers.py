"""What is asked, and whether the answers are right: nothing is timed that is not.

Before the clock starts, every request is asked of every server, and the answer must be the one that the
models give when they run right here. Under load only calls that end OK count, and the bench's configurations
need every member: an answer that lacks one, which is cheaper, is an error there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np

from bench import BenchFailed
from bench.generators import Ask
from protos import oip
from protos.rpc import CHANNEL_OPTIONS
from protos.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    #: Tensors by name.
    Arrays = Mapping[str, NDArray[Any]]

__all__ = ["Arrays", "Question", "asked", "compare"]

CALL_TIMEOUT_S = 30.0
#: A model's own arithmetic may differ in the last bits from machine code to machine code.
RTOL, ATOL = 1e-4, 1e-5


@dataclass(frozen=True, slots=True)
class Question:
    """What every server of a case is asked.

    Args:
        model: The ensemble's name, or the model's.
        feeds: Inputs of each request; requests are sent in turn.
        expected: The right outputs of each.
    """

    model: str
    feeds: Sequence[Arrays]
    expected: Sequence[Arrays]

    def requests(self, model: str | None = None) -> tuple[bytes, ...]:
        """Return the requests as messages of the Open Inference Protocol."""
        made = []
        for feed in self.feeds:
            request = oip.messages.ModelInferRequest(model_name=model or self.model)
            oip.write_inputs(request, {name: Tensor.from_array(array) for name, array in feed.items()})
            made.append(bytes(request.SerializeToString()))
        return tuple(made)


def asked(address: str, question: Question, *, model: str | None = None) -> tuple[Ask, bytes]:
    """Ask a server everything once over gRPC; return how it is asked under load, and its first reply.

    Args:
        address: The server.
        question: What it is asked.
        model: The name to ask for, if not the question's.

    Raises:
        BenchFailed: If a call fails or an answer is wrong.
    """
    requests = question.requests(model)
    path = f"/{oip.SERVICE}/ModelInfer"
    replies: list[bytes] = []
    with grpc.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        call: Callable[..., bytes] = channel.unary_unary(path)
        for request, expected in zip(requests, question.expected, strict=True):
            try:
                replies.append(call(request, timeout=CALL_TIMEOUT_S))
            except grpc.RpcError as error:
                raise BenchFailed(f"{error.code().name}: {error.details()}") from None
            compare(_outputs(replies[-1]), expected)
    return Ask(f"http://{address}{path}", requests, len(replies[0])), replies[0]


def compare(found: Arrays, expected: Arrays) -> None:
    """Demand that an answer is the right one.

    Raises:
        BenchFailed: If it is not, with the output and how far it is off.
    """
    for name, want in expected.items():
        if name not in found:
            raise BenchFailed(f"an answer lacks the output {name!r}")
        got = found[name]
        if got.shape != want.shape:
            raise BenchFailed(f"{name} is of shape {got.shape} instead of {want.shape}")
        if want.dtype.kind in "OSU":
            if got.tolist() != want.tolist():
                raise BenchFailed(f"{name} is {got.tolist()} instead of {want.tolist()}")
        elif not np.allclose(got, want, rtol=RTOL, atol=ATOL):
            raise BenchFailed(f"{name} differs by {float(np.abs(got - want).max()):.1g}")


def _outputs(reply: bytes) -> Arrays:
    response = oip.messages.ModelInferResponse.FromString(reply)
    if response.parameters["accord_degraded"].bool_param:
        raise BenchFailed(f"an answer lacks a member: {response.parameters['accord_failed'].string_param}")
    return {name: tensor.array() for name, tensor in oip.read_outputs(response).items()}
