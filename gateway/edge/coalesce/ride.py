"""Who may ride with whom, how several requests become one batch, and whose rows are whose in its replies."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from gateway.edge.propagation import of_the_call
from gateway.values import Batch, Reply, Report
from protos.tensor import concatenate

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from gateway.values import Rider

__all__ = ["Passenger", "Ride", "likeness"]

_log = logging.getLogger(__name__)


def likeness(batch: Batch) -> Hashable:
    """Return what requests must have in common to ride together: all but their rows and who asks."""
    (rider,) = batch.riders
    inputs = [(name, tensor.datatype, tensor.shape[1:]) for name, tensor in sorted(batch.inputs.items())]
    # repr, because 1, 1.0 and True are equal, but not alike
    parameters = [(name, repr(value)) for name, value in sorted(batch.parameters.items())]
    return (
        batch.route,
        batch.wanted,
        batch.keep_members,
        tuple(inputs),
        tuple(parameters),
        of_the_call(rider.metadata),
    )


class Passenger:
    """One request: a batch of its own until it rides in another, and where its replies go.

    Args:
        batch: The request as a batch of one rider.
        put: Takes its replies.
        fail: Takes an error of ours in place of its final reply.
        now: The time.
    """

    __slots__ = ("arrived", "batch", "complete", "fail", "nbytes", "put", "ride", "rider", "until")

    def __init__(
        self, batch: Batch, put: Callable[[Reply], None], fail: Callable[[BaseException], None], now: float
    ) -> None:
        self.batch = batch
        self.put = put
        self.fail = fail
        (self.rider,) = batch.riders
        self.until = self.rider.closes_at
        self.nbytes = sum(tensor.nbytes for tensor in batch.inputs.values())
        self.arrived = now
        self.complete = False
        self.ride: Ride | None = None


class Ride:
    """Requests in one batch.

    Args:
        passengers: Who rides; of several, all are alike.
    """

    def __init__(self, passengers: Sequence[Passenger]) -> None:
        self.passengers = passengers
        self.batch = passengers[0].batch if len(passengers) == 1 else _joined(passengers)
        for passenger, rider in zip(passengers, self.batch.riders, strict=True):
            passenger.rider, passenger.ride = rider, self
        self._passengers = dict(zip(self.batch.riders, passengers, strict=True))
        #: How many have neither their final reply nor, as far as is known, gone away.
        self.unanswered = len(passengers)

    def deliver(self, reply: Reply) -> None:
        """Hand out a reply, to each of its riders what is theirs."""
        for rider, own in _parts(reply, batches=self.batch.route.batches):
            passenger = self._passengers[rider]
            passenger.complete |= own.final
            passenger.put(own)

    def end(self, error: BaseException | None) -> None:
        """Take note that the engine is done: nobody who stayed may be without a final reply."""
        departed = self.batch.departed
        lost = [p for p in self.passengers if not p.complete and p.rider not in departed]
        for passenger in lost:
            passenger.fail(error or RuntimeError("the engine ended a batch without a reply"))
        if error is not None and not lost:
            _log.error("a batch failed after it was answered", exc_info=error)


def _joined(passengers: Sequence[Passenger]) -> Batch:
    first = passengers[0].batch
    bounds = pairwise(accumulate((passenger.batch.n for passenger in passengers), initial=0))
    return Batch(
        route=first.route,
        n=sum(passenger.batch.n for passenger in passengers),
        inputs={
            name: concatenate([passenger.batch.inputs[name] for passenger in passengers])
            for name in first.inputs
        },
        wanted=first.wanted,
        parameters=first.parameters,
        riders=[p.rider.seated(slice(*rows)) for p, rows in zip(passengers, bounds, strict=True)],
        keep_members=first.keep_members,
    )


def _parts(reply: Reply, *, batches: bool) -> Iterator[tuple[Rider, Reply]]:
    """Split a reply by its riders; numbers are not copied."""
    if len(reply.riders) == 1 or not batches:
        yield from ((rider, reply) for rider in reply.riders)
        return
    stop = 0
    for rider in reply.riders:
        start, stop = stop, stop + rider.rows.stop - rider.rows.start
        outputs = {name: tensor.rows(start, stop) for name, tensor in reply.outputs.items()}
        report = _own(reply.report, start, stop)
        yield rider, Reply(riders=(rider,), outputs=outputs, report=report, final=reply.final)


def _own(report: Report, start: int, stop: int) -> Report:
    """Return a report with the rows of one rider only."""
    if report.agreement is not None:
        report = replace(report, agreement=report.agreement[start:stop])
    if any(seat.outputs for seat in report.seats):
        seats = [
            replace(seat, outputs={name: tensor.rows(start, stop) for name, tensor in seat.outputs.items()})
            for seat in report.seats
        ]
        report = replace(report, seats=tuple(seats))
    return report
