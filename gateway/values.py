"""The values that travel through the gateway: batches down, answers and reports back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from protos.errors import Cause, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from protos.errors import AccordError
    from protos.tensor import Tensor

__all__ = ["Answer", "Batch", "CriticalPath", "Failure", "Question", "Reply", "Report", "Rider", "SeatReport"]


@dataclass(frozen=True, slots=True, eq=False)
class Rider:
    """One request in a batch.

    Args:
        id: The request's id, for logs and members; may be empty.
        rows: Its rows of the batch.
        arrived: When it arrived, absolute monotonic seconds.
        deadline: When its caller gives up, absolute monotonic seconds.
        interim: Whether it wants answers before the final one, as members arrive.
        priority: Its rank in the members' queues, 1 = highest; 0 = none given.
        metadata: Call metadata that members get.
    """

    id: str
    rows: slice
    arrived: float
    deadline: float
    interim: bool = False
    priority: int = 0
    metadata: tuple[tuple[str, str], ...] = ()

    def seated(self, rows: slice) -> Rider:
        """Return the same request with its rows in another batch."""
        return Rider(self.id, rows, self.arrived, self.deadline, self.interim, self.priority, self.metadata)

    @property
    def closes_at(self) -> float:
        """When waiting for members ends, so that the answer can still reach the caller in time."""
        return self.deadline - reserve_s(self.deadline - self.arrived)


def reserve_s(budget_s: float) -> float:
    """Return the time kept back for the way home: 5 % of the budget, between 2 and 50 ms.

    Example:
        >>> reserve_s(0.5)
        0.025
    """
    return min(max(0.002, 0.05 * budget_s), 0.050)


class Batch:
    """Rows that ride through the engine together: one call per model, one merge.

    Args:
        route: The compiled plan that answers it (opaque to everyone but the engine).
        n: Number of rows; 1 where the route does not batch.
        inputs: Request tensors by name, each of ``n`` rows where the route batches.
        wanted: Names of the wanted outputs; empty = all.
        parameters: Custom parameters for the models, alike for all riders.
        riders: The requests in it, with disjoint rows that cover it.
        keep_members: Whether the report should carry each seat's own outputs.
    """

    __slots__ = (
        "_departed",
        "_on_leave",
        "inputs",
        "keep_members",
        "n",
        "parameters",
        "riders",
        "route",
        "wanted",
    )

    def __init__(
        self,
        *,
        route: Any,
        n: int,
        inputs: Mapping[str, Tensor],
        wanted: Sequence[str] = (),
        parameters: Mapping[str, bool | int | str | float] | None = None,
        riders: Sequence[Rider],
        keep_members: bool = False,
    ) -> None:
        self.route = route
        self.n = n
        self.inputs = inputs
        self.wanted = tuple(wanted)
        self.parameters = parameters or {}
        self.riders = tuple(riders)
        self.keep_members = keep_members
        self._departed: set[Rider] = set()
        self._on_leave: Callable[[], None] | None = None

    @property
    def departed(self) -> frozenset[Rider]:
        """Riders whose callers have gone."""
        return frozenset(self._departed)

    def rows_of(self, riders: Iterable[Rider]) -> NDArray[np.bool_]:
        """Return the rows of some riders as a mask, bool [n]."""
        riders = list(riders)
        if len(riders) == len(self.riders):
            return np.ones(self.n, np.bool_)
        rows = np.zeros(self.n, np.bool_)
        for rider in riders:
            rows[rider.rows] = True
        return rows

    def within(self, rows: NDArray[np.bool_], riders: Sequence[Rider]) -> list[Rider]:
        """Return those of some riders all of whose rows are in the mask, bool [n]."""
        if rows.all():
            return list(riders)
        return [rider for rider in riders if rows[rider.rows].all()]

    def leave(self, rider: Rider) -> None:
        """Cancel one rider; the others ride on."""
        self._departed.add(rider)
        if self._on_leave is not None:
            self._on_leave()

    def watch(self, on_leave: Callable[[], None]) -> None:
        """Have ``on_leave`` called whenever a rider leaves."""
        self._on_leave = on_leave


@dataclass(frozen=True, slots=True)
class Question:
    """One call to a model.

    Args:
        inputs: Its input tensors under the model's own names.
        outputs: The outputs wanted, under the model's own names.
        deadline: When its answer is of no more use, absolute monotonic seconds.
        version: The version wanted; empty = the served one.
        id: Request id passed on for logs.
        parameters: Custom parameters for the model itself.
        priority: Its rank in the member's queue, 1 = highest; 0 = none given.
        metadata: Call metadata to pass on: trace context, request id, allowed headers.
        gathered: Whether its riders have waited for each other, so that nobody need wait for more.
        forms: Shared by all questions of a batch that have the same inputs: here a kind of member keeps their
            wire form, so that it is made once.
    """

    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    deadline: float
    version: str = ""
    id: str = ""
    parameters: Mapping[str, bool | int | str | float] = field(default_factory=dict)
    priority: int = 0
    metadata: tuple[tuple[str, str], ...] = ()
    gathered: bool = False
    forms: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered.

    Args:
        outputs: Output tensors under the model's own names.
        version: The version that answered; empty = unknown.
        queue_s: Seconds in the member's own queue; None = not reported.
        compute_s: Seconds of computation; None = not reported.
        attempts: How often it was asked.
        parameters: The model's own response parameters, without Accord's.
    """

    outputs: Mapping[str, Tensor]
    version: str = ""
    queue_s: float | None = None
    compute_s: float | None = None
    attempts: int = 1
    parameters: Mapping[str, bool | int | str | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a member has no answer. A value, never raised: only the verdict turns failures into an error."""

    cause: Cause
    attempts: int = 1

    @property
    def outcome(self) -> Outcome:
        """UNUSABLE if it answered something that cannot be used, else FAILED."""
        unusable = self.cause in (Cause.MEMBER_BAD_OUTPUT, Cause.NONFINITE_OUTPUT)
        return Outcome.UNUSABLE if unusable else Outcome.FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatReport:
    """What one seat did for one reply.

    Args:
        seat: Its name; nested seats as ``outer/inner``.
        model: The model or ensemble behind it.
        version: The version that answered; empty = unknown.
        outcome: What became of it; pending only in interim replies.
        cause: Why it is not OK; None when it is, is pending, was cancelled or not asked.
        message: Fixed text for people; empty when OK.
        attempts: How often it was asked.
        weight_used: Its share of the merged answer's weight, mean over rows.
        elapsed_s: Seconds from asking to its answer; None = no answer.
        queue_s: Seconds in the member's queue; None = not reported.
        compute_s: Seconds of computation; None = not reported.
        outputs: Its own outputs, where they were to be kept and it was usable for all rows.
        parameters: The model's own response parameters.
    """

    seat: str
    model: str
    version: str = ""
    outcome: Outcome
    cause: Cause | None = None
    message: str = ""
    attempts: int = 0
    weight_used: float = 0.0
    elapsed_s: float | None = None
    queue_s: float | None = None
    compute_s: float | None = None
    outputs: Mapping[str, Tensor] = field(default_factory=dict)
    parameters: Mapping[str, bool | int | str | float] = field(default_factory=dict)

    @property
    def missing(self) -> bool:
        """Whether it was asked and its answer is missing."""
        return self.outcome in (Outcome.FAILED, Outcome.UNUSABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticalPath:
    """What an answer waited for last: times that were spent one after another, so they may be added.

    Args:
        seat: The seat whose usable answer came last; the innermost where nested, as ``outer/inner``; after
            those that it waited for, as ``encoder > head``.
        elapsed_s: Seconds from asking the first of them to the answer of the last.
        queue_s: Of these, seconds in the member's queue; None = not reported.
        compute_s: Of these, seconds of computation; None = not reported.
        merge_s: Seconds of the merge that followed.
    """

    seat: str
    elapsed_s: float
    queue_s: float | None
    compute_s: float | None
    merge_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a reply came about.

    Args:
        seats: One for each seat in config order, nested seats after their ensemble.
        asked: Seats of the ensemble itself that were asked.
        used: Of these, seats used in every row.
        agreement: Per row the weight share that agrees with the merged label; None = no label.
        elapsed_s: Seconds from the batch's start to the merged answer: wall time, not a sum over members.
        quorum_met: Whether enough is there for an answer; in interim replies it may not be yet.
        critical_path: What the answer waited for last; None = nobody answered, or there is no answer.
    """

    seats: tuple[SeatReport, ...]
    asked: int
    used: int
    agreement: NDArray[np.float64] | None
    elapsed_s: float
    quorum_met: bool = False
    critical_path: CriticalPath | None = None
    #: Whether an asked member, nested ones included, is missing from at least one row.
    degraded: bool = field(init=False)

    def __post_init__(self) -> None:
        """Look once for all who share the report."""
        object.__setattr__(self, "degraded", any(seat.missing for seat in self.seats))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What some riders get: outputs of their rows, in rider order, or an error.

    Args:
        riders: Who gets it.
        outputs: Merged outputs, their rows concatenated; empty with an error. Those that are wanted but not
            there yet are left out of an interim reply.
        error: The error, or None.
        report: How it came about.
        final: Whether nothing follows for these riders.
    """

    riders: tuple[Rider, ...]
    outputs: Mapping[str, Tensor] = field(default_factory=dict)
    error: AccordError | None = None
    report: Report
    final: bool = True
