"""The verdict, against an oracle that says the rules again, one seat at a time."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest

from gateway.config.schema import Quorum
from gateway.engine.plan import Merge, Seat, quorum_met
from gateway.engine.tally import Tally
from gateway.engine.verdict import PRECEDENCE, decide, to_error, worst
from gateway.strategies import registry
from gateway.values import Failure, SeatReport
from protos.errors import Cause, Code, Outcome, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: The order of the error page; statuses it does not rank stand where a caller must act before a server.
ORDER = [
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
    "FAILED_PRECONDITION",
    "RESOURCE_EXHAUSTED",
    "UNAVAILABLE",
    "DEADLINE_EXCEEDED",
    "CANCELLED",
    "UNIMPLEMENTED",
    "INTERNAL",
]
#: By hand: each cause's status, and whether the same call may work when it is sent again.
STATUS = {
    Cause.WORKER_CRASHED: ("UNAVAILABLE", True),
    Cause.WORKER_HUNG: ("UNAVAILABLE", True),
    Cause.WORKER_OOM: ("RESOURCE_EXHAUSTED", True),
    Cause.WORKER_PROTOCOL_ERROR: ("UNAVAILABLE", True),
    Cause.BACKEND_UNREACHABLE: ("UNAVAILABLE", True),
    Cause.MEMBER_TIMEOUT: ("DEADLINE_EXCEEDED", False),
    Cause.MEMBER_NOT_READY: ("UNAVAILABLE", True),
    Cause.MEMBER_NOT_FOUND: ("UNAVAILABLE", True),
    Cause.MEMBER_REJECTED_INPUT: ("INVALID_ARGUMENT", False),
    Cause.MEMBER_RESOURCE_EXHAUSTED: ("RESOURCE_EXHAUSTED", True),
    Cause.DEVICE_OOM: ("RESOURCE_EXHAUSTED", True),
    Cause.MEMBER_FORBIDDEN: ("INTERNAL", False),
    Cause.MEMBER_INTERNAL: ("INTERNAL", False),
    Cause.MEMBER_BAD_OUTPUT: ("INTERNAL", False),
    Cause.NONFINITE_OUTPUT: ("INTERNAL", False),
    Cause.QUORUM_NOT_MET: ("UNAVAILABLE", True),
    Cause.COMBINE_FAILED: ("INTERNAL", False),
    Cause.MEMBER_UNSUPPORTED: ("UNIMPLEMENTED", False),
}
WEIGHTS = (2.0, 1.0, 1.0, 0.5)
OK, NOT_ASKED = "ok", "not asked"


class Fate(NamedTuple):
    """What became of one seat: it was OK, or NOT_ASKED, or there is a cause."""

    what: str
    cause: Cause | None
    weight: float
    required: bool


def oracle(fates: Sequence[Fate], quorum: Quorum | None) -> Cause | None:
    """Say what the caller is told, None for an answer: the rules of the verdict, word by word."""
    failed_required = [f.cause for f in fates if f.cause and f.required]
    if failed_required:
        return first_by_precedence(failed_required)
    usable = [f for f in fates if f.what == OK]
    if reached(usable, fates, quorum):
        return None
    retryable = [f for f in fates if f.cause and STATUS[f.cause][1]]
    if reached(usable + retryable, fates, quorum):
        return Cause.QUORUM_NOT_MET
    in_vain = [f.cause for f in fates if f.cause and not STATUS[f.cause][1]]
    return first_by_precedence(in_vain) if in_vain else Cause.QUORUM_NOT_MET


def first_by_precedence(causes: list[Cause]) -> Cause:
    for status in ORDER:
        for cause in causes:
            if STATUS[cause][0] == status:
                return cause
    raise AssertionError(causes)


def reached(usable: Sequence[Fate], fates: Sequence[Fate], quorum: Quorum | None) -> bool:
    if quorum is None:
        return len(usable) == len(fates)
    if quorum.count is not None:
        return len(usable) >= quorum.count
    assert quorum.weight is not None
    tenths = round(10 * quorum.weight)
    return bool(usable) and 10 * sum(f.weight for f in usable) >= tenths * sum(f.weight for f in fates)


def merge_of(
    weights: tuple[float, ...], required: tuple[bool, ...], quorum: Quorum | None, nonfinite: str = "drop"
) -> Merge:
    seats = tuple(
        Seat(name=f"s{i}", target="m", source=None, weight=w, required=r, timeout_s=None)
        for i, (w, r) in enumerate(zip(weights, required, strict=True))
    )
    return Merge(
        name="e",
        strategy=registry.build("mean", {}),
        seats=seats,
        quorum=quorum,
        nonfinite=nonfinite,
        deadline_s=None,
        outputs=(),
    )


def quorums(k: int) -> Iterator[Quorum | None]:
    yield None
    yield from (Quorum(count=count) for count in range(1, k + 1))
    yield from (Quorum(weight=weight) for weight in (0.2, 0.6, 1.0))


def judged(merge: Merge, fates: tuple[str | Cause, ...]) -> Cause | None:
    causes = [fate if isinstance(fate, Cause) else None for fate in fates]
    return decide(merge, [fate == OK for fate in fates], causes)


#: One cause for each way in which causes differ: by status, and by whether a retry may help.
KINDS = (
    Cause.MEMBER_REJECTED_INPUT,
    Cause.MEMBER_RESOURCE_EXHAUSTED,
    Cause.MEMBER_NOT_READY,
    Cause.MEMBER_TIMEOUT,
    Cause.MEMBER_UNSUPPORTED,
    Cause.MEMBER_INTERNAL,
)
#: Few enough that four seats can be walked through whole.
FEW = (Cause.WORKER_CRASHED, Cause.MEMBER_TIMEOUT)


@pytest.mark.parametrize(
    ("k", "causes"), [(1, tuple(Cause)), (2, tuple(Cause)), (3, KINDS), (4, FEW)], ids=["1", "2", "3", "4"]
)
def test_the_verdict_on_any_row_is_that_of_the_oracle(k: int, causes: tuple[Cause, ...]) -> None:
    """Every mix of usable, failed and unasked seats is judged as the rules say, whatever quorum and vetoes.

    One tally judges all mixes as its rows; the oracle takes them one at a time.
    """
    rows = list(product((OK, NOT_ASKED, *causes), repeat=k))
    everywhere = np.ones(len(rows), np.bool_)
    for quorum, required in product(quorums(k), product((False, True), repeat=k)):
        tally = Tally(merge_of(WEIGHTS[:k], required, quorum), len(rows))
        tally.start(everywhere, np.inf)
        for i in range(k):
            tally.asked[i] = [row[i] != NOT_ASKED for row in rows]
            tally.answered[i] = [row[i] == OK for row in rows]
            for cause in causes:
                tally.fail(i, np.array([row[i] is cause for row in rows]), Failure(cause), 0.0)
        verdicts: list[Cause | None] = [None] * len(rows)
        for cause, mask in tally.verdicts(everywhere).items():
            for at in np.flatnonzero(mask).tolist():
                assert verdicts[at] is None, "two verdicts on one row"
                verdicts[at] = cause
        for row, verdict in zip(rows, verdicts, strict=True):
            fates = [
                Fate(str(what), what if isinstance(what, Cause) else None, WEIGHTS[i], required[i])
                for i, what in enumerate(row)
            ]
            assert verdict is oracle(fates, quorum), (row, quorum, required)


def test_the_oracle_and_the_table_agree_on_status_and_retry() -> None:
    """The oracle's own table is complete and says what the error table says."""
    assert set(STATUS) == set(Cause)
    for cause, (status, retry) in STATUS.items():
        assert cause.reason.code.name == status
        assert (cause.reason.retry.name in ("BACKOFF", "LATER")) == retry


def test_precedence_is_the_published_one_and_ranks_every_status() -> None:
    """Each status has one place, in the order of the error page."""
    assert [code.name for code in PRECEDENCE] == ORDER
    assert set(PRECEDENCE) == set(Code)


def test_of_equals_the_first_seat_decides() -> None:
    """Two causes of one status: the first one is told, so that the answer does not depend on chance."""
    assert worst([Cause.MEMBER_INTERNAL, Cause.MEMBER_BAD_OUTPUT]) is Cause.MEMBER_INTERNAL
    assert worst([Cause.MEMBER_BAD_OUTPUT, Cause.MEMBER_INTERNAL]) is Cause.MEMBER_BAD_OUTPUT


def test_a_veto_holds_though_the_quorum_is_there() -> None:
    """A failed required seat fails the row, and its own reason is told."""
    quorum = Quorum(count=1)
    fates = (OK, Cause.MEMBER_TIMEOUT)
    assert judged(merge_of((1.0, 1.0), (False, True), quorum), fates) is Cause.MEMBER_TIMEOUT
    assert judged(merge_of((1.0, 1.0), (True, False), quorum), fates) is None


def test_nonfinite_fail_is_a_veto_and_drop_is_not() -> None:
    """With ``nonfinite: fail`` one such answer fails the row; with ``drop`` it only does not count."""
    fates = (OK, Cause.NONFINITE_OUTPUT)
    quorum, optional = Quorum(count=1), (False, False)
    assert judged(merge_of((1.0, 1.0), optional, quorum, "fail"), fates) is Cause.NONFINITE_OUTPUT
    assert judged(merge_of((1.0, 1.0), optional, quorum, "drop"), fates) is None


def test_a_share_that_is_reached_exactly_is_reached() -> None:
    """Two of three equal seats are two thirds, and 0.1 + 0.2 of 0.3 are all of it, rounding or not."""
    thirds = merge_of((1.0, 1.0, 1.0), (False,) * 3, Quorum(weight=2 / 3))
    assert quorum_met(thirds, np.array([[True], [True], [False]]))[0]
    assert not quorum_met(thirds, np.array([[True], [False], [False]]))[0]
    tenths = merge_of((0.1, 0.2), (False,) * 2, Quorum(weight=1.0))
    assert quorum_met(tenths, np.array([[True], [True]]))[0]
    assert not quorum_met(tenths, np.array([[False], [True]]))[0]


def test_without_any_usable_answer_no_quorum_is_met() -> None:
    """Seats without weight have no share to miss; an answer still needs someone who gave it."""
    weightless = merge_of((0.0, 0.0), (False, False), Quorum(weight=0.5))
    assert not quorum_met(weightless, np.array([[False], [False]]))[0]
    assert quorum_met(weightless, np.array([[False], [True]]))[0]


def test_the_error_names_every_failed_member_and_the_quorum() -> None:
    """The caller sees who failed and why, and how far the quorum was missed; who was fine is not listed."""
    reports = [
        SeatReport(seat="a", model="m", outcome=Outcome.OK, attempts=1),
        SeatReport(
            seat="b",
            model="m",
            version="7",
            outcome=Outcome.FAILED,
            cause=Cause.MEMBER_TIMEOUT,
            message=Cause.MEMBER_TIMEOUT.text,
            attempts=2,
        ),
        SeatReport(seat="c", model="m", outcome=Outcome.CANCELLED, attempts=1),
    ]
    error = to_error("e", Cause.QUORUM_NOT_MET, reports, "1/2")
    assert error.reason is Reason.QUORUM_NOT_MET
    assert error.metadata == {"model": "e", "quorum": "1/2"}
    assert "1/2" in error.message
    assert "b (MEMBER_TIMEOUT)" in error.message
    (member,) = error.members
    assert (member.seat, member.model, member.version, member.attempts) == ("b", "m", "7", 2)
    assert member.outcome == Outcome.FAILED.number
    assert member.cause == Cause.MEMBER_TIMEOUT.number
    assert member.reason == Reason.DEADLINE_IN_MEMBER.number


def test_a_long_list_of_failures_is_cut_in_the_message_but_not_in_the_details() -> None:
    """Sixty failed members make a readable message and sixty details."""
    reports = [
        SeatReport(seat=f"s{i}", model="m", outcome=Outcome.FAILED, cause=Cause.MEMBER_NOT_READY)
        for i in range(60)
    ]
    error = to_error("e", Cause.MEMBER_INTERNAL, reports, "0/1")
    assert "and 52 more" in error.message
    assert len(error.message) < 500
    assert len(error.members) == 60
