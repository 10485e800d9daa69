"""Builds replies: one merge for all riders that close together, one report for those alike.

A rider that wants interim replies gets them by itself, of what is there while waiting goes on.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gateway.engine.plan import Call
from gateway.engine.verdict import to_error, worst
from gateway.values import CriticalPath, Reply, Report, SeatReport
from protos.errors import Cause, Outcome
from protos.tensor import DTYPES, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from gateway.engine.plan import Plan, Seat
    from gateway.engine.tally import Tally
    from gateway.strategies.base import Array, Mask
    from gateway.values import Batch, Rider

__all__ = ["Moment", "build_interim", "build_replies"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The moment at which riders of a batch are answered.

    Args:
        batch: The batch.
        plan: Its plan.
        root: What is known of the plan's root merge.
        upstream: What is known of its upstream seats; None = it has none.
        now: The time, monotonic seconds.
        elapsed_s: Seconds since the batch started.
        clock: Source of monotonic time, for how long merges take.
    """

    batch: Batch
    plan: Plan
    root: Tally
    upstream: Tally | None
    now: float
    elapsed_s: float
    clock: Callable[[], float]


@dataclass(frozen=True, slots=True)
class _Merged:
    """What a merge of some rows yields: outputs, agreement, and how long it took in seconds."""

    outputs: Mapping[str, Array]
    agreement: Array | None
    merge_s: float


def build_replies(moment: Moment, riders: Sequence[Rider]) -> Iterator[Reply]:
    """Judge, merge and report the rows of riders whose waiting has ended.

    Riders for whose rows every seat was usable share one reply; every other rider gets its own.
    """
    root, answered = moment.root, riders
    verdicts = root.verdicts(moment.batch.rows_of(riders))
    if verdicts:
        lost = {rider: _cause_of(rider, verdicts) for rider in riders}
        for rider, cause in lost.items():
            if cause is not None:
                yield _error(moment, rider, cause)
        answered = [rider for rider in riders if lost[rider] is None]
    # where a loss leaves outputs out, only riders that fare alike can be merged together
    together = _alike(moment, answered) if moment.plan.merge.strategy.traits.partial else [answered]
    for group in together:
        if group:
            yield from _merged(moment, group)


def build_interim(moment: Moment, rider: Rider) -> Reply | None:
    """Merge what is there for a rider whose waiting goes on; None if the strategy cannot.

    For each of its rows at least one seat must have answered.
    """
    rows = moment.batch.rows_of([rider])
    try:
        merged = _merge(moment, rows)
        wanted = moment.batch.wanted or merged.outputs
        return Reply(
            riders=(rider,),
            outputs={n: _tensor(merged.outputs[n], moment.plan) for n in wanted if n in merged.outputs},
            report=_report(moment, rows, merged, quorum_met=not moment.root.verdicts(rows)),
            final=False,
        )
    except Exception:  # noqa: BLE001 - a plug-in's bug costs this reply; the final one will tell
        _log_failure(moment, [rider])
        return None


def _merged(moment: Moment, riders: Sequence[Rider]) -> Iterator[Reply]:
    """Merge the rows of riders that can be answered."""
    rows = moment.batch.rows_of(riders)
    try:
        merged = _merge(moment, rows) if rows.any() else _Merged(_nothing(moment.plan), None, 0.0)
    except Exception:  # noqa: BLE001 - a plug-in's bug must not take the batch down
        _log_failure(moment, riders)
        yield from (_error(moment, rider, Cause.COMBINE_FAILED) for rider in riders)
        return
    position = np.cumsum(rows) - 1
    for group in _alike(moment, riders):
        mine = moment.batch.rows_of(group)
        picked = position[mine]
        yield from _answers(
            moment, group, mine, merged if len(picked) == rows.sum() else _part(merged, picked)
        )


def _merge(moment: Moment, rows: Mask) -> _Merged:
    """Let the strategy merge some rows, at least one of them; it may raise anything."""
    root, started = moment.root, moment.clock()
    outputs = root.merged(rows, moment.now)
    agreement = root.merge.strategy.agreement(root.state(moment.now, rows), rows, outputs)
    return _Merged(outputs, agreement, moment.clock() - started)


def _part(merged: _Merged, rows: Array) -> _Merged:
    outputs = {name: array[rows] for name, array in merged.outputs.items()}
    return _Merged(outputs, None if merged.agreement is None else merged.agreement[rows], merged.merge_s)


def _log_failure(moment: Moment, riders: Sequence[Rider]) -> None:
    _log.exception(
        "strategy %s of %s failed",
        moment.plan.merge.strategy.kind,
        moment.plan.name,
        extra={"request_id": ",".join(rider.id[:128] for rider in riders[:8])},
    )


def _answers(moment: Moment, riders: Sequence[Rider], rows: Mask, merged: _Merged) -> Iterator[Reply]:
    wanted = moment.batch.wanted or tuple(merged.outputs)
    absent = [name for name in wanted if name not in merged.outputs]
    if absent:
        cause = _cause_of_absence(moment.root, absent[0], rows)
        yield from (_error(moment, rider, cause) for rider in riders)
        return
    yield Reply(
        riders=tuple(riders),
        outputs={name: _tensor(merged.outputs[name], moment.plan) for name in wanted},
        report=_report(moment, rows, merged, quorum_met=True),
    )


def _nothing(plan: Plan) -> dict[str, Array]:
    """Return the answer to no rows at all: nobody was asked, and every output has no rows either."""
    return {
        spec.name: np.empty([0, *(max(length, 0) for length in spec.shape[1:])], DTYPES[spec.datatype])
        for spec in plan.merge.outputs
    }


def _tensor(array: Array, plan: Plan) -> Tensor:
    # reshaped, not indexed: a string without an axis would be no array any more
    return Tensor.from_array(array if plan.batches else array.reshape(array.shape[1:]))


def _cause_of(rider: Rider, verdicts: Mapping[Cause, Mask]) -> Cause | None:
    causes = [cause for cause, mask in verdicts.items() if mask[rider.rows].any()]
    return worst(causes) if causes else None


def _alike(moment: Moment, riders: Sequence[Rider]) -> Iterator[list[Rider]]:
    complete = _complete(moment.root)
    if moment.upstream is not None:  # an ensemble that feeds may answer though a member of it is lost
        complete &= _complete(moment.upstream)
    whole = moment.batch.within(complete, riders)
    if whole:
        yield whole
    if len(whole) < len(riders):
        served = set(whole)
        yield from ([rider] for rider in riders if rider not in served)


def _complete(tally: Tally) -> Mask:
    """Return the rows that no seat, nested ones included, is missing from."""
    complete: Mask = np.asarray(~tally.failed.any(axis=0))
    for nested in tally.nested.values():
        complete &= _complete(nested)
    return complete


def _cause_of_absence(tally: Tally, output: str, rows: Mask) -> Cause:
    """Return why an output that was asked for by name is not there: the reason of the seat that owes it."""
    for i, seat in enumerate(tally.merge.seats):
        owed = tally.merge.strategy.needs(seat.spec(), frozenset((output,)))
        for reading in (reading for reading in seat.readings if reading.spec.name in owed):
            nested, cause = tally.nested.get(i), tally.cause(i, rows)
            if cause is None and nested is not None:
                return _cause_of_absence(nested, reading.source, rows)
            return cause or Cause.QUORUM_NOT_MET
    return Cause.QUORUM_NOT_MET


def _error(moment: Moment, rider: Rider, cause: Cause) -> Reply:
    report = _report(moment, moment.batch.rows_of([rider]))
    merge, usable = moment.plan.merge, moment.root.answered[:, rider.rows]
    if merge.quorum is not None and merge.quorum.weight is not None:
        share = (merge.weights @ usable).min(initial=np.inf) / (merge.weights[merge.chosen].sum() or 1.0)
        quorum = f"{share:.3g}/{merge.quorum.weight:.3g} of the weight"
    else:
        need = int(merge.chosen.sum()) if merge.quorum is None else merge.quorum.count
        quorum = f"{int(usable.sum(axis=0).min(initial=len(merge.seats)))}/{need}"
    error = to_error(moment.plan.name, cause, report.seats, quorum)
    return Reply(riders=(rider,), error=error, report=report)


def _report(moment: Moment, rows: Mask, merged: _Merged | None = None, *, quorum_met: bool = False) -> Report:
    root = moment.root
    asked = root.asked[:, rows].any(axis=1) | root.failed[:, rows].any(axis=1)
    used = root.answered[:, rows].all(axis=1) & asked
    merge_s = merged.merge_s if merged else 0.0
    return Report(
        seats=tuple(_reports(moment, rows)),
        asked=int(asked.sum()),
        used=int(used.sum()),
        agreement=merged.agreement if merged else None,
        elapsed_s=moment.elapsed_s + merge_s,
        quorum_met=quorum_met,
        critical_path=_critical_path(moment, root, rows, "", merge_s) if merged else None,
    )


def _critical_path(
    moment: Moment, tally: Tally, rows: Mask, above: str, merge_s: float
) -> CriticalPath | None:
    """Return the path to the seat whose usable answer came last, innermost in nested merges."""
    last, latest = -1, -np.inf
    for i in np.flatnonzero(tally.answered[:, rows].any(axis=1)).tolist():
        asked_at, elapsed_s = tally.asked_at[i], tally.elapsed_s[i]
        if asked_at is not None and elapsed_s is not None and asked_at + elapsed_s > latest:
            last, latest = i, asked_at + elapsed_s
    if last < 0:
        return None
    path = above + tally.merge.seats[last].name
    if last in tally.nested and (
        inner := _critical_path(moment, tally.nested[last], rows, f"{path}/", merge_s)
    ):
        return inner
    steps = [*_before(moment, tally.merge.seats[last]), (path, tally, last)]
    answers = [answer for _, at, seat in steps if (answer := at.answers[seat])]
    queues = [answer.queue_s for answer in answers if answer.queue_s is not None]
    computes = [answer.compute_s for answer in answers if answer.compute_s is not None]
    _, first, seat = steps[0]
    return CriticalPath(
        seat=" > ".join(name for name, _, _ in steps),
        elapsed_s=(tally.elapsed_s[last] or 0.0)
        + (tally.asked_at[last] or 0.0)
        - (first.asked_at[seat] or 0.0),
        queue_s=sum(queues) if queues else None,
        compute_s=sum(computes) if computes else None,
        merge_s=merge_s,
    )


def _before(moment: Moment, seat: Seat) -> list[tuple[str, Tally, int]]:
    """Return what a seat's call waited for: of all that it read, what came last, and so on upwards."""
    upstream = moment.upstream
    if not (isinstance(seat.source, Call) and seat.source.feeds and upstream is not None):
        return []
    ends = {
        feed.seat: (upstream.asked_at[feed.seat] or 0.0) + (upstream.elapsed_s[feed.seat] or 0.0)
        for feed in seat.source.feeds
    }
    last = max(ends, key=lambda above: ends[above])
    read = upstream.merge.seats[last]
    return [*_before(moment, read), (read.name, upstream, last)]


def _reports(moment: Moment, rows: Mask) -> Iterator[SeatReport]:
    """Report every seat once: those of merges where they count, then those that only feed others."""
    yield from _seat_reports(moment, moment.root, rows, "")
    if moment.upstream is not None:
        yield from _seat_reports(moment, moment.upstream, rows, "")


def _seat_reports(moment: Moment, tally: Tally, rows: Mask, above: str) -> Iterator[SeatReport]:
    shares = tally.merge.strategy.shares(tally.state(moment.now, rows), rows)
    weights = shares.mean(axis=1).tolist() if shares.shape[1] else [0.0] * len(shares)
    asked_anywhere: list[bool] = np.any(tally.asked[:, rows], axis=1).tolist()
    usable_everywhere: list[bool] = np.all(tally.answered[:, rows], axis=1).tolist()
    for i, seat in enumerate(tally.merge.seats):
        if tally is moment.upstream and seat.counts:
            continue
        path, asked, usable = above + seat.name, asked_anywhere[i], usable_everywhere[i]
        at, number, weight = tally, i, 0.0 if tally is moment.upstream else weights[i]
        upstream = moment.upstream
        if upstream is not None and not asked and (feeding := _feeding(upstream, tally, i, rows, path=path)):
            (number,), at, weight = feeding, upstream, 0.0
            asked, usable = True, bool(upstream.answered[number, rows].all())
        yield _seat_report(moment, at, number, rows, path=path, weight=weight, asked=asked, usable=usable)
        if number in at.nested:
            yield from _seat_reports(moment, at.nested[number], rows, f"{path}/")


def _feeding(upstream: Tally, tally: Tally, seat: int, rows: Mask, *, path: str) -> list[int]:
    """Return the upstream seat of one that counts, if it is only for others that it was asked."""
    if tally is upstream or tally.failed[seat, rows].any():
        return []
    named = (i for i, above in enumerate(upstream.merge.seats) if above.counts and above.name == path)
    return [i for i in named if upstream.asked[i, rows].any()][:1]


def _seat_report(
    moment: Moment,
    tally: Tally,
    seat: int,
    rows: Mask,
    *,
    path: str,
    weight: float,
    asked: bool,
    usable: bool,
) -> SeatReport:
    cause = None if usable else tally.cause(seat, rows)
    answer = tally.answers[seat] if asked else None
    return SeatReport(
        seat=path,
        model=tally.merge.seats[seat].target,
        version=answer.version if answer else "",
        outcome=Outcome.OK if asked and usable else _outcome(tally, seat, rows, cause),
        cause=cause,
        message=_message(tally, seat, rows, cause),
        attempts=_attempts(tally, seat, rows) if asked else 0,
        weight_used=weight,
        elapsed_s=tally.elapsed_s[seat] if asked else None,
        queue_s=answer.queue_s if answer else None,
        compute_s=answer.compute_s if answer else None,
        outputs=_own_outputs(moment, tally, seat, rows) if usable else {},
        parameters=answer.parameters if answer else {},
    )


def _outcome(tally: Tally, seat: int, rows: Mask, cause: Cause | None) -> Outcome:
    if cause is not None:
        return (
            Outcome.UNUSABLE if cause in (Cause.MEMBER_BAD_OUTPUT, Cause.NONFINITE_OUTPUT) else Outcome.FAILED
        )
    asked = tally.asked[seat, rows]
    if not asked.any():
        return Outcome.NOT_ASKED
    answered = tally.answered[seat, rows]
    if answered[asked].all():
        return Outcome.OK
    return Outcome.PENDING if (asked & ~answered & tally.open[rows]).any() else Outcome.CANCELLED


def _attempts(tally: Tally, seat: int, rows: Mask) -> int:
    """Return how often a seat was asked; never, where all that it was to read for the rows was lost."""
    asked = tally.asked[seat] & rows
    for of in tally.blamed.get(seat, {}).values():
        asked &= ~of
    return tally.attempts[seat] if asked.any() else 0


def _message(tally: Tally, seat: int, rows: Mask, cause: Cause | None) -> str:
    if cause is None:
        return "" if tally.merge.seats[seat].chosen else tally.merge.seats[seat].problem
    lost, all_rows = int(tally.failed[seat, rows].sum()), int(rows.sum())
    blamed = (name for name, of in tally.blamed.get(seat, {}).items() if (of & rows).any())
    text = f"it reads {name!r}: {cause.text}" if (name := next(blamed, "")) else cause.text
    return text if lost == all_rows else f"{text} (in {lost} of {all_rows} rows)"


def _own_outputs(moment: Moment, tally: Tally, seat: int, rows: Mask) -> dict[str, Tensor]:
    if not moment.batch.keep_members:
        return {}
    return {name: _tensor(array[rows], moment.plan) for name, array in tally.outputs(rows)[seat].items()}
