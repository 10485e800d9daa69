"""Which worker may be killed under load."""

from __future__ import annotations

from typing import Any

import pytest

from accord.v1.ensemble_pb2 import DescribeEnsembleResponse, MemberDescription, Quorum
from deploy.ghz.loss import NoVictim, optional_worker
from deploy.ghz.server import total

WORKERS: list[dict[str, Any]] = [{"model": name, "instance": 0, "pid": i + 1} for i, name in enumerate("abc")]


def described(quorum: Quorum | None, *, required: str = "", weights: str = "111") -> DescribeEnsembleResponse:
    members = [
        MemberDescription(seat=name, model=name, weight=float(weight), required=name in required)
        for name, weight in zip("abc", weights, strict=True)
    ]
    return DescribeEnsembleResponse(name="e", members=members, quorum=quorum)


@pytest.mark.parametrize(
    ("ensemble", "chosen"),
    [
        (described(Quorum(count=2)), "c"),
        (described(Quorum(count=2), required="c"), "b"),
        (described(Quorum(weight=0.6)), "c"),
        (described(Quorum(weight=0.6), weights="118"), "b"),
    ],
)
def test_the_last_dispensable_member_is_chosen(ensemble: DescribeEnsembleResponse, chosen: str) -> None:
    """Without the chosen one the quorum still holds, by number or by weight, and it is not required."""
    assert optional_worker(ensemble, WORKERS)["model"] == chosen


@pytest.mark.parametrize(
    "ensemble",
    [
        described(Quorum(count=3)),
        described(None),
        described(Quorum(count=1), required="abc"),
        described(Quorum(weight=1.0)),
        described(Quorum(weight=0.5), weights="000"),
    ],
)
def test_an_ensemble_that_needs_everyone_has_no_victim(ensemble: DescribeEnsembleResponse) -> None:
    """Nothing is killed where an answer would have to fail."""
    with pytest.raises(NoVictim, match="cannot lose a worker"):
        optional_worker(ensemble, WORKERS)


@pytest.mark.parametrize(
    "workers",
    [[], [{**w, "pid": None} for w in WORKERS], [*WORKERS, *({**w, "pid": w["pid"] + 9} for w in WORKERS)]],
    ids=["remote", "down", "replicated"],
)
def test_only_a_sole_running_worker_will_do(workers: list[dict[str, Any]]) -> None:
    """A remote model has no process here, and the loss of one of two replicas would not be met."""
    with pytest.raises(NoVictim):
        optional_worker(described(Quorum(count=2)), workers)


def test_samples_are_added_up_by_their_labels() -> None:
    """Only samples with all the given label values count; what is not there counts zero."""
    text = '# TYPE a counter\na_total{x="1",y="2"} 3.0\na_total{x="1",y="3"} 4.0\n'
    assert total(text, "a_total") == 7.0
    assert total(text, "a_total", x="1", y="3") == 4.0
    assert total(text, "a_total", x="2") == 0.0
    assert total(text, "b_total") == 0.0
