from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from accord.strategy import StrategyError, TensorSpec
from gateway.strategies.proof import ALL, shared_spec

if TYPE_CHECKING:
    from tests.unit.strategies.conftest import Prove, Seat

Y = TensorSpec("y", "FP32", (-1, 3))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (TensorSpec("y", "FP16", (-1, 3)), "output 'y' is FP32 at member 'a' but FP16 at member 'b'"),
        (
            TensorSpec("y", "FP32", (-1, 4)),
            r"output 'y' has shape \[-1, 3\] at member 'a' but \[-1, 4\] at member 'b'",
        ),
        (
            TensorSpec("y", "FP32", (-1,)),
            r"output 'y' has shape \[-1, 3\] at member 'a' but \[-1\] at member 'b'",
        ),
        (
            TensorSpec("z", "FP32", (-1, 3)),
            r"member 'b' has no output 'y', which member 'a' has; it has z; .*`outputs: \{y: ",
        ),
    ],
)
def test_the_fault_is_named_with_both_sides(prove: Prove, seat: Seat, other: TensorSpec, said: str) -> None:
    """Datatype, length, rank, absence: output and members stand in the message."""
    with pytest.raises(StrategyError, match=said):
        prove("mean", seat("a", Y), seat("b", other), output="y")


def test_an_output_of_only_one_member_is_found_from_either_side(prove: Prove, seat: Seat) -> None:
    """Without a name all outputs merge, so the sets must be equal whoever has more."""
    extra = TensorSpec("extra", "FP32", (-1,))
    with pytest.raises(StrategyError, match="member 'b' has no output 'extra', which member 'a' has"):
        prove("mean", seat("a", Y, extra), seat("b", Y))
    with pytest.raises(StrategyError, match="member 'a' has no output 'extra', which member 'b' has"):
        prove("mean", seat("a", Y), seat("b", Y, extra))


def test_a_misspelt_output_gets_a_suggestion(prove: Prove, seat: Seat) -> None:
    """Nobody has it, but something close."""
    probabilities = TensorSpec("probabilities", "FP32", (-1, 3))
    with pytest.raises(StrategyError, match=r"no output 'probabilites'; it has probabilities \(did you mean"):
        prove("mean", seat("a", probabilities), output="probabilites")


def test_unknown_lengths_are_learnt_from_whoever_knows(seat: Seat) -> None:
    """-1 fits anything; two that know must agree, even with one between them that does not."""
    open_, three, four = (TensorSpec("y", "FP32", (-1, n)) for n in (-1, 3, 4))
    assert shared_spec([seat("a", open_), seat("b", three)], "y", ALL) == three
    with pytest.raises(StrategyError, match=r"\[-1, 3\] at member 'b' but \[-1, 4\] at member 'c'"):
        shared_spec([seat("a", open_), seat("b", three), seat("c", four)], "y", ALL)


def test_labels_must_be_equal_where_both_know_them(seat: Seat) -> None:
    """Who has no labels takes over those of the others."""
    ab, ba = (TensorSpec("y", "FP32", (-1, 2), labels) for labels in (("a", "b"), ("b", "a")))
    none = TensorSpec("y", "FP32", (-1, 2))
    assert shared_spec([seat("a", none), seat("b", ab)], "y", ALL) == ab
    with pytest.raises(StrategyError, match=r"has the classes .* at member 'b' but .* at member 'c'"):
        shared_spec([seat("a", none), seat("b", ab), seat("c", ba)], "y", ALL)


@pytest.mark.parametrize("kind", ["mean", "vote", "soft_vote", "rank_fusion", "first"])
def test_no_member_is_refused_by_every_merge(prove: Prove, kind: str) -> None:
    """The message is ours, not an index error."""
    with pytest.raises(StrategyError, match="no member"):
        prove(kind)
