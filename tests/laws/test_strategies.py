"""Every installed strategy obeys the laws; and the laws are able to find who does not."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest

from accord.strategy import (
    Ask,
    Elementwise,
    Exits,
    Strategy,
    TensorSpec,
    Traits,
    average,
    weighted_mean,
)
from accord.testing import LawBroken, check_law, check_strategy, shown_laws
from accord.testing.laws import LAWS
from gateway.strategies.first import First
from gateway.strategies.kernels import over
from gateway.strategies.labels import class_labels
from gateway.strategies.means import Mean, WeightedMean
from gateway.strategies.order import Max
from gateway.strategies.registry import kinds, load
from gateway.strategies.soft_vote import SoftVote
from gateway.strategies.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from accord.strategy import Array, Mask, SeatSpec, State


@pytest.mark.parametrize(("kind", "law"), [(kind, law) for kind in kinds() for law in shown_laws(load(kind))])
def test_every_installed_strategy_obeys(kind: str, law: str) -> None:
    """A declared trait holds in every case; one declared absent is seen broken."""
    check_law(load(kind), law)


class Scribbles(Mean):
    """Uses a member's answer as scratch space."""

    def merge(self, values: Sequence[Array], weights: Array) -> Array:
        values[0][...] = weighted_mean(values, weights)
        return values[0]


class Undeclared(Mean):
    """Answers in another datatype than it declares."""

    def merge(self, values: Sequence[Array], weights: Array) -> Array:
        return average(values, weights, np.dtype(np.float64)).astype(np.int64)


class Incomplete(Mean):
    """Answers nothing when somebody is missing, without saying that it is partial."""

    def combine(self, state: State, rows: Mask) -> dict[str, Array]:
        return super().combine(state, rows) if state.answered.all() else {}


class ReadsTooLittle(Mean):
    """Says that it reads one output and uses them all."""

    def reads(self, seat: SeatSpec) -> frozenset[str]:
        return frozenset(sorted(seat.outputs)[:1])


class NeedsTooLittle(SoftVote):
    """Says that the label needs nothing but itself."""

    def needs(self, seat: SeatSpec, wanted: frozenset[str]) -> frozenset[str]:
        return self.reads(seat) & wanted


class Batchwise(Mean):
    """Centres a batch: a row's answer depends on its neighbours."""

    def merge(self, values: Sequence[Array], weights: Array) -> Array:
        mean = weighted_mean(values, weights)
        return mean - mean.mean(axis=0, dtype=mean.dtype) if len(mean) else mean


class CountsRows(Mean):
    """Depends on how much of the batch is asked for."""

    def combine(self, state: State, rows: Mask) -> dict[str, Array]:
        merged = super().combine(state, rows)
        return merged if rows.all() else {name: np.zeros_like(array) for name, array in merged.items()}


class CountsMissing(Mean):
    """Divides by all members, also by those that are missing."""

    def combine(self, state: State, rows: Mask) -> dict[str, Array]:
        share = state.answered[:, rows].mean(axis=0)
        merged = super().combine(state, rows)
        return {n: a * share.reshape(-1, *(1,) * (a.ndim - 1)).astype(a.dtype) for n, a in merged.items()}


class Unsettles(Mean):
    """Is satisfied with exactly one answer, and no more so with two."""

    def settled(self, state: State) -> Exits:
        return Exits((state.answered | state.failed).sum(axis=0) == 1)


class AsksAgain(Mean):
    """Asks everybody, whoever was asked already or may not be."""

    def plan(self, state: State) -> tuple[Ask, ...]:
        return tuple(Ask(i, np.ones(state.n, np.bool_)) for i in range(len(state.seats)))


class Generous(Mean):
    """Gives everybody the whole."""

    def shares(self, state: State, rows: Mask) -> Array:
        return np.ones((len(state.seats), int(rows.sum())))


_coin = np.random.default_rng(0)


class TossesCoins(SoftVote):
    """Breaks ties at random."""

    def combine(self, state: State, rows: Mask) -> dict[str, Array]:
        merged = super().combine(state, rows)
        name = next(name for name in merged if name != self.options.label)
        tied = merged[name] == merged[name].max(axis=-1, keepdims=True)
        chosen = np.where(tied, _coin.random(tied.shape), -1.0).argmax(axis=-1)
        return merged | {self.options.label: class_labels(chosen, state.labels.get(name, ()))}


class LastWins(Elementwise):
    """Takes the last member's word."""

    kind: ClassVar[str] = "last_wins"

    def merge(self, values: Sequence[Array], weights: Array) -> Array:
        return next(v for v, w in zip(values[::-1], weights[::-1], strict=True) if w.any() or not w.size)


class Sums(Mean):
    """Adds up: unanimous members get a multiple back."""

    def merge(self, values: Sequence[Array], weights: Array) -> Array:
        many: Array = over((weights > 0).sum(axis=0), values[0]).astype(values[0].dtype)
        return weighted_mean(values, weights) * many


class WeighsSecretly(WeightedMean):
    """Uses weights without declaring it."""

    traits: ClassVar[Traits] = Traits()

    def used(self, state: State, rows: Mask) -> Array:
        return np.asarray(state.answered[:, rows] * state.weights[:, None])


class Unscaled(WeightedMean):
    """Adds one to each weight: twice the weights are not twice as much."""

    def used(self, state: State, rows: Mask) -> Array:
        return np.asarray(state.answered[:, rows] * (1 + state.weights[:, None]))


class Floors(WeightedMean):
    """Lets nobody weigh less than a tenth of the heaviest: scales well, but zero is not absence."""

    def used(self, state: State, rows: Mask) -> Array:
        least = state.weights.max(initial=0) / 10
        return np.asarray(state.answered[:, rows] * np.maximum(state.weights, least)[:, None])


class Widens(Mean):
    """Answers FP64 whatever the members' precision, and declares even that."""

    def outputs(self, seats: Sequence[SeatSpec]) -> tuple[TensorSpec, ...]:
        return tuple(replace(spec, datatype="FP64") for spec in super().outputs(seats))

    def merge(self, values: Sequence[Array], weights: Array) -> Array:
        return weighted_mean(values, weights).astype(np.float64)


class Hasty(First):
    """Takes the first answer and says that all the same it waits for all."""

    traits: ClassVar[Traits] = Traits(symmetric=False)


CONTROLS: dict[str, type[Strategy]] = {
    "inputs_untouched": Scribbles,
    "declared": Undeclared,
    "complete": Incomplete,
    "reads": ReadsTooLittle,
    "needs": NeedsTooLittle,
    "rows_alone": Batchwise,
    "rows_subset": CountsRows,
    "absence": CountsMissing,
    "settled": Unsettles,
    "plan": AsksAgain,
    "shares": Generous,
    "ties": TossesCoins,
    "symmetric": LastWins,
    "idempotent": Sums,
    "weights_ignored": WeighsSecretly,
    "weights_scale": Unscaled,
    "weight_zero": Floors,
    "keeps_shape": Widens,
    "arrival_ignored": Hasty,
}


def test_every_law_has_a_control() -> None:
    """A law without one might never find anything."""
    assert CONTROLS.keys() == {law.name for law in LAWS}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("law", CONTROLS)
def test_a_law_finds_who_breaks_it(law: str, seed: int) -> None:
    """The error names law, strategy and case, whatever the seed."""
    with pytest.raises(LawBroken) as caught:
        check_law(CONTROLS[law], law, seed=seed)
    assert (caught.value.law, caught.value.strategy) == (law, CONTROLS[law].kind)
    assert "members" in caught.value.detail


def test_the_one_call_of_an_author_applies_every_law_that_says_something() -> None:
    """It covers the law that each control breaks, and stops at it."""
    assert all(law in shown_laws(control) for law, control in CONTROLS.items())
    with pytest.raises(LawBroken) as caught:
        check_strategy(Sums)
    assert caught.value.law == "idempotent"


class Extra(Mean):
    def combine(self, state: State, rows: Mask) -> dict[str, Array]:
        return super().combine(state, rows) | {"extra": np.zeros(int(rows.sum()))}


class Longer(Mean):
    def merge(self, values: Sequence[Array], weights: Array) -> Array:
        return np.concatenate([values[0], values[0]])


class Reweighs(WeightedMean):
    def combine(self, state: State, rows: Mask) -> dict[str, Array]:
        state.weights[:] = 1.0
        return super().combine(state, rows)


class Misshapes(Mean):
    def settled(self, state: State) -> Exits:
        return Exits(np.ones(state.n + 1, np.bool_))


class Entangles(Mean):
    """Adds to each output how many there are."""

    def combine(self, state: State, rows: Mask) -> dict[str, Array]:
        merged = super().combine(state, rows)
        return {name: array * array.dtype.type(len(merged)) for name, array in merged.items()}


class SettlesByAnother(Mean):
    """Is content as soon as there is an output that nobody may want."""

    def settled(self, state: State) -> Exits:
        certain = [outputs["z"][:, 0].any(axis=-1) for outputs in state.outputs if "z" in outputs]
        return Exits(super().settled(state).done & ~np.any(certain or [np.zeros(state.n, np.bool_)], axis=0))


class Hopes(Mean):
    def settled(self, state: State) -> Exits:
        nothing = ~(state.answered | state.failed).any(axis=0)
        return Exits(nothing | super().settled(state).done)


class Waits(Mean):
    def plan(self, state: State) -> tuple[Ask, ...]:
        return ()


class Forces(Mean):
    def plan(self, state: State) -> tuple[Ask, ...]:
        return super().plan(replace(state, eligible=np.ones_like(state.eligible)))


class Repeats(Mean):
    def plan(self, state: State) -> tuple[Ask, ...]:
        return super().plan(replace(state, asked=np.zeros_like(state.asked)))


class Doubles(Mean):
    def plan(self, state: State) -> tuple[Ask, ...]:
        return super().plan(state) * 2


class Flattens(Mean):
    def shares(self, state: State, rows: Mask) -> Array:
        return np.ones(int(rows.sum()))


class Overrates(SoftVote):
    def agreement(self, state: State, rows: Mask, merged: Mapping[str, Array]) -> Array:
        return np.full(int(rows.sum()), 1.5)


class Credits(WeightedMean):
    def shares(self, state: State, rows: Mask) -> Array:
        return np.asarray(self.used(state, rows) / (1 + state.weights.sum()))


@pytest.mark.parametrize(
    ("law", "control", "said"),
    [
        ("declared", Extra, "which outputs() does not declare"),
        ("declared", Longer, "has shape"),
        ("inputs_untouched", Reweighs, "the weights changed"),
        ("needs", Entangles, "alone against among all"),
        ("needs", SettlesByAnother, "other rows are settled"),
        ("settled", Misshapes, "not bool [n]"),
        ("settled", Hopes, "was settled and is no more"),
        ("plan", Waits, "nobody is asked at first"),
        ("plan", Forces, "asked, but not eligible"),
        ("plan", Repeats, "asked twice for one row"),
        ("plan", Doubles, "asked twice in one wave"),
        ("shares", Flattens, "not float64 [k, rows]"),
        ("shares", Overrates, "not a share per row"),
        ("weights_scale", Credits, "the shares differ"),
    ],
)
def test_a_law_looks_at_each_of_its_parts(law: str, control: type[Strategy], said: str) -> None:
    """A law that says several things has a control for each, and says which one is broken."""
    with pytest.raises(LawBroken, match=re.escape(said)):
        check_law(control, law)


@pytest.mark.parametrize(
    ("law", "modest"),
    [
        ("symmetric", Traits(symmetric=False)),
        ("idempotent", Traits(idempotent=False)),
        ("keeps_shape", Traits(keeps_shape=False)),
        ("weights_ignored", Traits(weighted=True)),
        ("arrival_ignored", Traits(arrival_dependent=True)),
        ("complete", Traits(partial=True)),
    ],
)
def test_an_absence_that_is_not_real_is_found(law: str, modest: Traits) -> None:
    """The maximum declared as less than it is: no counterexample can be seen."""
    shy = type("Shy", (Max,), {"traits": modest})
    with pytest.raises(LawBroken, match="does in every case tried") as caught:
        check_law(shy, law)
    assert caught.value.law == law


def test_absences_are_shown_where_they_are_declared() -> None:
    """`tasks` is not idempotent and partial, `first` depends on order and arrival: shown, not only said."""
    for strategy, law in (
        (Tasks, "idempotent"),
        (Tasks, "complete"),
        (First, "symmetric"),
        (First, "arrival_ignored"),
    ):
        check_law(strategy, law)


def test_a_failure_repeats() -> None:
    """The same seed finds the same case in the same words."""
    said = []
    for _ in range(2):
        with pytest.raises(LawBroken) as caught:
            check_law(Sums, "idempotent", seed=3)
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_an_exception_is_a_breach_and_keeps_its_cause() -> None:
    """Whatever a strategy raises in a case is reported as that law's breach."""

    class Raises(Mean):
        def merge(self, values: Sequence[Array], weights: Array) -> Array:
            raise ZeroDivisionError("by design")

    with pytest.raises(LawBroken, match="raised ZeroDivisionError") as caught:
        check_strategy(Raises)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
