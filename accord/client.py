"""A small client for people and scripts: arrays in, arrays and a report out.

Any stub of the Open Inference Protocol works as well; this one adds what only Accord can say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np

from accord.connection import Connection
from accord.v1 import ensemble_pb2 as pb
from accord.v1 import errors_pb2
from accord.v1.ensemble_pb2_grpc import EnsembleServiceStub
from protos.details import read_details
from protos.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Answer", "CallError", "Client"]

Array = np.ndarray[Any, np.dtype[Any]]


class CallError(Exception):
    """A call that failed.

    Args:
        code: The gRPC status, e.g. ``UNAVAILABLE``.
        reason: Accord's reason, e.g. ``QUORUM_NOT_MET``; empty when gRPC itself refused.
        message: What happened.
        members: One MemberError for each member that failed.
    """

    def __init__(
        self, code: str, reason: str, message: str, members: Sequence[errors_pb2.MemberError]
    ) -> None:
        super().__init__(f"{code} ({reason}): {message}" if reason else f"{code}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.members = tuple(members)


@dataclass(frozen=True, slots=True)
class Answer:
    """A merged answer.

    Args:
        outputs: Arrays by name; BYTES as objects of ``bytes``.
        report: How it came about.
        version: The version that answered.
        final: Whether nothing follows; False only for interim answers of a stream.
        quorum_met: Whether enough members are in; always so when final.
    """

    outputs: Mapping[str, Array]
    report: pb.Report
    version: str
    final: bool = True
    quorum_met: bool = True


class Client(Connection):
    """A connection to one gateway; usable as a context manager.

    Args:
        address: ``host:port`` or ``unix:PATH``.
        timeout_s: Default deadline of a call in seconds.

    Example:
        .. code-block:: python

            with Client("127.0.0.1:8001") as client:
                answer = client.infer("digits", {"pixels": pixels})
                print(answer.outputs["label"], answer.report.degraded)
    """

    def __init__(self, address: str = "127.0.0.1:8001", *, timeout_s: float = 10.0) -> None:
        super().__init__(address)
        self._stub = EnsembleServiceStub(self._channel)
        self._timeout_s = timeout_s

    def infer(
        self, ensemble: str, inputs: Mapping[str, Array], *, timeout_s: float | None = None, **fields: Any
    ) -> Answer:
        """Ask an ensemble.

        Args:
            ensemble: Its name.
            inputs: Arrays by name; strings and ``bytes`` become BYTES.
            timeout_s: Deadline in seconds.
            **fields: Further fields of ``accord.v1.InferRequest``, e.g. ``members=["a", "b"]``.

        Raises:
            CallError: If the call fails.
        """
        response = self._call(self._stub.Infer, _request(ensemble, inputs, fields), timeout_s)
        return Answer(read_tensors(response.outputs), response.report, response.version)

    def infer_stream(
        self, ensemble: str, inputs: Mapping[str, Array], *, timeout_s: float | None = None, **fields: Any
    ) -> Iterator[Answer]:
        """Ask an ensemble and yield an answer whenever members arrive; the last one is final.

        Whoever stops early, by closing the iterator, cancels the call.

        Args:
            ensemble: Its name.
            inputs: Arrays by name; strings and ``bytes`` become BYTES.
            timeout_s: Deadline in seconds of the whole.
            **fields: Further fields of ``accord.v1.InferRequest``.

        Raises:
            CallError: If the call fails.

        Example:
            .. code-block:: python

                for answer in client.infer_stream("digits", {"pixels": pixels}):
                    print(answer.report.members_used, answer.outputs["label"], answer.final)
        """
        request = _request(ensemble, inputs, fields)
        call = self._stub.InferStream(request, timeout=timeout_s or self._timeout_s)
        try:
            for response in call:
                answer = response.answer
                outputs = read_tensors(answer.outputs)
                yield Answer(outputs, answer.report, answer.version, response.final, response.quorum_met)
        except grpc.RpcError as error:
            raise call_error(error) from None
        finally:
            call.cancel()

    def list(self) -> Sequence[pb.EnsembleSummary]:
        """List what the gateway serves."""
        response = self._call(self._stub.ListEnsembles, pb.ListEnsemblesRequest(), None)
        ensembles: Sequence[pb.EnsembleSummary] = response.ensembles
        return ensembles

    def describe(self, ensemble: str) -> pb.DescribeEnsembleResponse:
        """Describe one ensemble."""
        request = pb.DescribeEnsembleRequest(ensemble=ensemble)
        described: pb.DescribeEnsembleResponse = self._call(self._stub.DescribeEnsemble, request, None)
        return described

    def _call(self, method: Any, request: Any, timeout_s: float | None) -> Any:
        try:
            return method(request, timeout=timeout_s or self._timeout_s)
        except grpc.RpcError as error:
            raise call_error(error) from None


def _request(ensemble: str, inputs: Mapping[str, Array], fields: Mapping[str, Any]) -> pb.InferRequest:
    request = pb.InferRequest(ensemble=ensemble, **fields)
    for name, array in inputs.items():
        tensor = Tensor.from_array(np.asarray(array))
        request.inputs.add(name=name, datatype=tensor.datatype, shape=tensor.shape, raw=bytes(tensor.raw))
    return request


def read_tensors(tensors: Sequence[pb.Tensor]) -> dict[str, Array]:
    """Decode the tensors of an answer."""
    return {t.name: Tensor.from_raw(t.name, t.datatype, tuple(t.shape), t.raw).array() for t in tensors}


def call_error(error: Any) -> CallError:
    """Read what a failed call tells, a ``grpc.RpcError``."""
    told = read_details(error.trailing_metadata())
    return CallError(error.code().name, told.reason, error.details() or "", told.members)
