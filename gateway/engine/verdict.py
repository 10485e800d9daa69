"""When too few answers are usable: which cause decides, and what the caller is told.

Rules (pure functions over the causes of one row):

1. A failed required seat decides; of several, the worst by precedence.
2. Otherwise, if counting every retryable failure as a success would reach the quorum: QUORUM_NOT_MET,
   because the same call may work when it is retried.
3. Otherwise the worst failure that is not retryable: a retry would be in vain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from accord.v1 import errors_pb2
from gateway.engine.plan import Merge, quorum_met
from protos.errors import AccordError, Cause, Code, Reason, Retry

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from gateway.values import SeatReport

__all__ = ["PRECEDENCE", "decide", "to_error", "worst"]

#: When several failures could decide, the first status in this order does.
PRECEDENCE = (
    Code.INVALID_ARGUMENT,
    Code.NOT_FOUND,
    Code.UNAUTHENTICATED,
    Code.PERMISSION_DENIED,
    Code.FAILED_PRECONDITION,
    Code.RESOURCE_EXHAUSTED,
    Code.UNAVAILABLE,
    Code.DEADLINE_EXCEEDED,
    Code.CANCELLED,
    Code.UNIMPLEMENTED,
    Code.INTERNAL,
)


def worst(causes: Iterable[Cause]) -> Cause:
    """Return the cause whose status takes precedence; the first of equals."""
    return min(causes, key=lambda cause: PRECEDENCE.index(cause.reason.code))


def retryable(cause: Cause) -> bool:
    """Tell whether the same call may work when it is sent again."""
    return cause.reason.retry in (Retry.BACKOFF, Retry.LATER)


def decide(merge: Merge, usable: Sequence[bool], causes: Sequence[Cause | None]) -> Cause | None:
    """Judge one row.

    Args:
        merge: The merge.
        usable: For each seat whether it gave a usable answer.
        causes: For each seat why it did not; None = it did, or was not asked.

    Returns:
        The cause that the caller is told, or None if the row can be answered.
    """
    lost = [(seat, cause) for seat, cause in zip(merge.seats, causes, strict=True) if cause is not None]
    required = [cause for seat, cause in lost if seat.required]
    vetoes = [cause for _, cause in lost if cause is Cause.NONFINITE_OUTPUT and merge.nonfinite == "fail"]
    if required or vetoes:
        return worst([*required, *vetoes])
    if _reached(merge, usable):
        return None
    hopeful = [u or (c is not None and retryable(c)) for u, c in zip(usable, causes, strict=True)]
    final = [cause for _, cause in lost if not retryable(cause)]
    return Cause.QUORUM_NOT_MET if not final or _reached(merge, hopeful) else worst(final)


def _reached(merge: Merge, usable: Sequence[bool]) -> bool:
    column: NDArray[np.bool_] = np.array(usable, np.bool_)[:, None]
    return bool(quorum_met(merge, column)[0])


def to_error(name: str, cause: Cause, reports: Sequence[SeatReport], quorum: str) -> AccordError:
    """Word the verdict for the caller: the failing members are always named."""
    missing = [report for report in reports if report.missing]
    listed = ", ".join(f"{r.seat} ({r.cause.name})" for r in missing[:8] if r.cause)
    more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
    detail = f": {listed}{more}" if listed else ""
    if cause.reason is Reason.QUORUM_NOT_MET:
        message = f"{name!r} has {quorum} usable members{detail}"
    else:
        message = f"{name!r} cannot be answered, {cause.text}{detail}"
    return AccordError(
        cause.reason,
        message,
        metadata={"model": name, "quorum": quorum},
        members=[member_error(report) for report in missing],
    )


def member_error(report: SeatReport) -> errors_pb2.MemberError:
    """Build the wire form of one failed seat."""
    return errors_pb2.MemberError(
        seat=report.seat,
        model=report.model,
        version=report.version,
        outcome=report.outcome.number,
        cause=report.cause.number if report.cause else None,
        reason=report.cause.reason.number if report.cause else None,
        message=report.message,
        attempts=report.attempts,
    )
