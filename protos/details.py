"""What the trailers of a failed call say: the other end of :func:`protos.errors.to_status`.

Any server may have sent them: what makes no sense says nothing. Source: gRPC "Richer error model".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from accord.v1 import errors_pb2
from protos.errors import DOMAIN

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["TRAILER", "Details", "read_details", "read_status"]

#: The trailer that holds a ``google.rpc.Status``.
TRAILER = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class Details:
    """The details of an error of ours.

    Args:
        reason: The name of its reason; empty where the error is not ours.
        members: One MemberError message for each member that failed.
    """

    reason: str = ""
    members: tuple[errors_pb2.MemberError, ...] = ()


def read_details(trailers: Iterable[tuple[str, str | bytes]] | None) -> Details:
    """Read the trailers of a failed call.

    Example:
        >>> from protos.errors import internal_error, to_status
        >>> read_details([(TRAILER, to_status(internal_error()).SerializeToString())]).reason
        'INTERNAL'
        >>> read_details([(TRAILER, b"no status")])
        Details(reason='', members=())
    """
    status = dict(trailers or ()).get(TRAILER, b"")
    try:
        return read_status(status_pb2.Status.FromString(status if isinstance(status, bytes) else b""))
    except DecodeError:
        return Details()


def read_status(status: status_pb2.Status) -> Details:
    """Read the details of a failed call's status."""
    reason, members = "", []
    try:
        for detail in status.details:
            info, member = error_details_pb2.ErrorInfo(), errors_pb2.MemberError()
            if detail.Unpack(info) and info.domain == DOMAIN:
                reason = info.reason
            elif detail.Unpack(member):
                members.append(member)
    except DecodeError:
        return Details()
    return Details(reason, tuple(members))
