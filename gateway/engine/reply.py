"""Builds replies: one merge for all riders that close together, one report for those alike."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gateway.engine.plan import Merge
from gateway.engine.verdict import to_error, worst
from gateway.values import Reply, Report, SeatReport
from protos.errors import Cause, Outcome
from protos.tensor import DTYPES, Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.engine.plan import Plan
    from gateway.engine.tally import Tally
    from gateway.strategies.base import Array, Mask
    from gateway.values import Batch, Rider

__all__ = ["Closing", "build_replies"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """The moment at which some riders of a batch close.

    Args:
        batch: The batch.
        plan: Its plan.
        root: What is known of the plan's root merge.
        now: The time, monotonic seconds.
        elapsed_s: Seconds since the batch started.
    """

    batch: Batch
    plan: Plan
    root: Tally
    now: float
    elapsed_s: float


def build_replies(closing: Closing, riders: Sequence[Rider]) -> Iterator[Reply]:
    """Judge, merge and report the rows of riders whose waiting has ended.

    Riders for whose rows every seat was usable share one reply; every other rider gets its own.
    """
    root = closing.root
    verdicts = root.verdicts(closing.batch.rows_of(riders))
    lost = {rider: _cause_of(rider, verdicts) for rider in riders}
    for rider, cause in lost.items():
        if cause is not None:
            yield _error(closing, rider, cause)
    answered = [rider for rider in riders if lost[rider] is None]
    # where a loss leaves outputs out, only riders that fare alike can be merged together
    together = _alike(answered, root) if closing.plan.merge.strategy.traits.partial else [answered]
    for group in together:
        if group:
            yield from _merged(closing, group)


def _merged(closing: Closing, riders: Sequence[Rider]) -> Iterator[Reply]:
    """Merge the rows of riders that can be answered."""
    root, strategy = closing.root, closing.plan.merge.strategy
    rows = closing.batch.rows_of(riders)
    try:
        merged = root.merged(rows, closing.now) if rows.any() else _nothing(closing.plan)
        agreement = strategy.agreement(root.state(closing.now), rows, merged) if rows.any() else None
    except Exception:  # noqa: BLE001 - a plug-in's bug must not take the batch down
        _log.exception("strategy %s of %s failed", strategy.kind, closing.plan.name)
        yield from (_error(closing, rider, Cause.COMBINE_FAILED) for rider in riders)
        return
    position = np.cumsum(rows) - 1
    for group in _alike(riders, root):
        mine = closing.batch.rows_of(group)
        picked = position[mine]
        yield from _answers(
            closing,
            group,
            mine,
            outputs={name: array[picked] for name, array in merged.items()}
            if len(picked) < rows.sum()
            else merged,
            agreement=None if agreement is None else agreement[picked],
        )


def _answers(
    closing: Closing,
    riders: Sequence[Rider],
    rows: Mask,
    *,
    outputs: Mapping[str, Array],
    agreement: Array | None,
) -> Iterator[Reply]:
    wanted = closing.batch.wanted or tuple(outputs)
    absent = [name for name in wanted if name not in outputs]
    if absent:
        cause = _cause_of_absence(closing.root, absent[0], rows)
        yield from (_error(closing, rider, cause) for rider in riders)
        return
    yield Reply(
        riders=tuple(riders),
        outputs={name: _tensor(outputs[name], closing.plan) for name in wanted},
        report=_report(closing, rows, agreement),
    )


def _nothing(plan: Plan) -> dict[str, Array]:
    """Return the answer to no rows at all: nobody was asked, and every output has no rows either."""
    return {
        spec.name: np.empty([0, *(max(length, 0) for length in spec.shape[1:])], DTYPES[spec.datatype])
        for spec in plan.merge.outputs
    }


def _tensor(array: Array, plan: Plan) -> Tensor:
    return Tensor.from_array(array if plan.batches else array[0])


def _cause_of(rider: Rider, verdicts: Mapping[Cause, Mask]) -> Cause | None:
    causes = [cause for cause, mask in verdicts.items() if mask[rider.rows].any()]
    return worst(causes) if causes else None


def _alike(riders: Sequence[Rider], root: Tally) -> Iterator[list[Rider]]:
    complete = _complete(root)
    whole = [rider for rider in riders if complete[rider.rows].all()]
    if whole:
        yield whole
    yield from ([rider] for rider in riders if not complete[rider.rows].all())


def _complete(tally: Tally) -> Mask:
    """Return the rows that no seat, nested ones included, is missing from."""
    complete: Mask = np.asarray(~tally.failed.any(axis=0))
    for nested in tally.nested.values():
        complete &= _complete(nested)
    return complete


def _cause_of_absence(root: Tally, output: str, rows: Mask) -> Cause:
    """Return why an output that was asked for by name is not there: the reason of the seat that owes it."""
    for i, seat in enumerate(root.merge.seats):
        if output.startswith(f"{seat.name}.") and (cause := root.cause(i, rows)):
            return cause
    return Cause.QUORUM_NOT_MET


def _error(closing: Closing, rider: Rider, cause: Cause) -> Reply:
    report = _report(closing, closing.batch.rows_of([rider]), None)
    merge, usable = closing.plan.merge, closing.root.answered[:, rider.rows]
    if merge.quorum is not None and merge.quorum.weight is not None:
        chosen = np.array([seat.chosen for seat in merge.seats])
        share = (merge.weights @ usable).min(initial=np.inf) / (merge.weights[chosen].sum() or 1.0)
        quorum = f"{share:.3g}/{merge.quorum.weight:.3g} of the weight"
    else:
        need = sum(seat.chosen for seat in merge.seats) if merge.quorum is None else merge.quorum.count
        quorum = f"{int(usable.sum(axis=0).min(initial=len(merge.seats)))}/{need}"
    error = to_error(closing.plan.name, cause, report.seats, quorum)
    return Reply(riders=(rider,), error=error, report=report)


def _report(closing: Closing, rows: Mask, agreement: Array | None) -> Report:
    root = closing.root
    asked = root.asked[:, rows].any(axis=1) | root.failed[:, rows].any(axis=1)
    used = root.answered[:, rows].all(axis=1) & asked
    return Report(
        seats=tuple(_seat_reports(closing, root, rows)),
        asked=int(asked.sum()),
        used=int(used.sum()),
        agreement=agreement,
        elapsed_s=closing.elapsed_s,
    )


def _seat_reports(closing: Closing, tally: Tally, rows: Mask) -> Iterator[SeatReport]:
    shares = tally.merge.strategy.shares(tally.state(closing.now), rows)
    for i, seat in enumerate(tally.merge.seats):
        usable = tally.answered[i, rows]
        cause = tally.cause(i, rows)
        asked = bool(tally.asked[i, rows].any())
        answer = tally.answers[i] if asked else None
        yield SeatReport(
            seat=seat.path,
            model=seat.target,
            version=answer.version if answer else "",
            outcome=_outcome(tally, i, rows, cause),
            cause=cause,
            message=_message(tally, i, rows, cause),
            attempts=tally.attempts[i] if asked else 0,
            weight_used=float(shares[i].mean()) if shares.shape[1] else 0.0,
            elapsed_s=tally.elapsed_s[i] if asked else None,
            queue_s=answer.queue_s if answer else None,
            compute_s=answer.compute_s if answer else None,
            outputs=_own_outputs(closing, tally, i, rows) if usable.all() else {},
        )
        if isinstance(seat.source, Merge):
            yield from _seat_reports(closing, tally.nested[i], rows)


def _outcome(tally: Tally, seat: int, rows: Mask, cause: Cause | None) -> Outcome:
    if cause is not None:
        return (
            Outcome.UNUSABLE if cause in (Cause.MEMBER_BAD_OUTPUT, Cause.NONFINITE_OUTPUT) else Outcome.FAILED
        )
    asked = tally.asked[seat, rows]
    if not asked.any():
        return Outcome.NOT_ASKED
    return Outcome.OK if tally.answered[seat, rows][asked].all() else Outcome.CANCELLED


def _message(tally: Tally, seat: int, rows: Mask, cause: Cause | None) -> str:
    if cause is None:
        return ""
    lost, all_rows = int(tally.failed[seat, rows].sum()), int(rows.sum())
    return cause.text if lost == all_rows else f"{cause.text} (in {lost} of {all_rows} rows)"


def _own_outputs(closing: Closing, tally: Tally, seat: int, rows: Mask) -> dict[str, Tensor]:
    if not closing.batch.keep_members:
        return {}
    return {name: _tensor(array[rows], closing.plan) for name, array in tally.outputs[seat].items()}
