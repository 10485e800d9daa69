"""What the demonstration promises, and whether it was kept; one that was not makes it fail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from examples.demo.studies import DigitsStudy, Studies

__all__ = ["Promise", "promises"]

REFUSALS = 3


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise.

    Args:
        text: What was promised.
        kept: Whether it was kept.
        evidence: The figures that show it.
    """

    text: str
    kept: bool
    evidence: str


def promises(studies: Studies) -> tuple[Promise, ...]:
    """Return every promise with its evidence."""
    digits, reviews, sentiment = studies.digits, studies.reviews, studies.sentiment
    matches, during = (*digits.matches, *reviews.matches, *sentiment.matches), digits.outage_match
    outage, refused = digits.outage, (*digits.refusals, *reviews.refusals)
    lacking = outage.without_victim
    causes = sorted({call.missing[outage.victim] for call in lacking})
    rows = digits.comparison.rows + reviews.comparison.rows + sentiment.comparison.rows
    worst = max(match.max_difference for match in matches)
    return (
        Promise(
            "every served answer equals the same merge computed directly",
            all(match.equal for match in matches),
            f"{len(matches)} outputs of {rows:,} rows, {_apart(worst)}",
        ),
        Promise(
            "the polarity ensemble is not below its best member",
            reviews.comparison.gain.estimate >= 0,
            f"{reviews.comparison.gain.estimate * 100:+.2f} points",
        ),
        Promise(
            "a model over models is not below the best of them",
            sentiment.comparison.gain.estimate >= 0,
            f"{sentiment.comparison.gain.estimate * 100:+.2f} points",
        ),
        Promise(
            f"no call fails while the worker of {outage.victim} is killed and restarted",
            not outage.failed,
            f"{len(outage.calls):,} calls, {len(outage.failed)} failed" + _first_error(digits),
        ),
        Promise(
            "answers without it say so, and name the cause",
            bool(lacking) and not outage.silent and "UNSPECIFIED" not in causes,
            f"{len(lacking):,} degraded answers ({', '.join(causes) or 'none'}), {len(outage.silent)} silent",
        ),
        Promise(
            "each of them is the mean of the members that are left",
            during.equal,
            f"{during.rows:,} answers, {_apart(during.max_difference)}",
        ),
        Promise(
            "the worker comes back by itself",
            outage.back_s is not None,
            "it did not" if outage.back_s is None else f"after {outage.back_s:.1f} s",
        ),
        Promise(
            "wrong requests get the exact error",
            len(refused) == REFUSALS and all(refusal.expected for refusal in refused),
            ", ".join(refusal.reason or "none" for refusal in refused),
        ),
        Promise(
            "a wrong graph is refused at the edge that is wrong",
            bool(sentiment.complaints) and all(complaint.expected for complaint in sentiment.complaints),
            ", ".join(complaint.problem for complaint in sentiment.complaints),
        ),
    )


def _apart(difference: float) -> str:
    return f"largest difference {difference:.1e}" if difference else "bit for bit"


def _first_error(digits: DigitsStudy) -> str:
    failed = digits.outage.failed
    return f"; the first: {failed[0].error}" if failed else ""
