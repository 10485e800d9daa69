"""The laws that every strategy obeys, each as far as its declared traits say.

A law takes a case and says how it is broken there, or nothing. A trait that is declared must hold in every
case; a trait that is declared absent must be seen broken in one, because an absence that is not real hides
a promise that callers could use.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from accord.testing.cases import Case, cases, difference, only_rows, only_seats, saying
from protos.tensor import datatype_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.random import Generator

    from gateway.strategies.base import Array, Mask, State, Strategy, Traits

__all__ = ["LAWS", "Law", "LawBroken", "check_law", "check_strategy", "shown_laws"]


class LawBroken(AssertionError):  # noqa: N818 - it reads as what happened
    """A strategy breaks a law.

    Args:
        law: The law's name.
        strategy: The strategy's kind.
        detail: In which case, and how.
    """

    def __init__(self, law: str, strategy: str, detail: str) -> None:
        super().__init__(f"{strategy} breaks {law!r} ({_named(law).statement}): {detail}")
        self.law = law
        self.strategy = strategy
        self.detail = detail


def check_strategy(cls: type[Strategy], *, seed: int = 0) -> None:
    """Apply every law to every example of a strategy.

    Args:
        cls: The strategy.
        seed: Of the random batches; the same seed always gives the same ones.

    Raises:
        LawBroken: At the first law that is broken.
    """
    for law in shown_laws(cls):
        check_law(cls, law, seed=seed)


def shown_laws(cls: type[Strategy]) -> tuple[str, ...]:
    """Return the names of the laws that say something of a strategy with its traits."""
    return tuple(law.name for law in LAWS if law.expected(cls.traits) is not None)


def check_law(cls: type[Strategy], law: str, *, seed: int = 0) -> None:
    """Apply one law to every example of a strategy.

    Raises:
        LawBroken: If the law is broken; also if its trait is declared absent, but no case shows that.
    """
    chosen = _named(law)
    expected = chosen.expected(cls.traits)
    for number, case in enumerate(cases(cls, seed)):  # type: ignore[arg-type] # mypy reads the class as an instance
        try:
            breach = chosen.breach(case, np.random.default_rng((seed, number)))
        except Exception as error:
            raise LawBroken(law, cls.kind, f"{case.text}: raised {error!r}") from error
        if breach and expected:
            raise LawBroken(law, cls.kind, f"{case.text}: {breach}")
        if breach:
            return
    if not expected:
        raise LawBroken(
            law, cls.kind, "its traits say that it does not hold, but it does in every case tried"
        )


def _declared(case: Case, rng: Generator) -> str:
    specs = {spec.name: spec for spec in case.strategy.outputs(case.seats)}
    rows = rng.random(case.state.n) < 0.5
    merged = case.merged(case.state, rows)
    if extra := sorted(set(merged) - set(specs)):
        return f"merged {extra}, which outputs() does not declare"
    for name, array in merged.items():
        shape = (int(rows.sum()), *array.shape[1:])
        if datatype_of(array.dtype) != specs[name].datatype:
            return f"{name} is {datatype_of(array.dtype)}, declared {specs[name].datatype}"
        if array.shape != shape or not specs[name].accepts(shape):
            return f"{name} has shape {array.shape} for {shape[0]} rows, declared {specs[name].shape}"
    full = case.merged(case.full)
    return "" if full.keys() == specs.keys() else f"merged {sorted(full)}, declared {sorted(specs)}"


def _complete(case: Case, _: Generator) -> str:
    gone = case.merged(case.full).keys() - case.merged(case.state).keys()
    return f"without some members {sorted(gone)} are absent" if gone else ""


def _reads(case: Case, _: Generator) -> str:
    needed = [
        {name: array for name, array in outputs.items() if name in case.strategy.reads(seat)}
        for seat, outputs in zip(case.seats, case.state.outputs, strict=True)
    ]
    return case.difference(case.merged(replace(case.state, outputs=needed)), case.merged(case.state))


def _needs(case: Case, _: Generator) -> str:
    whole = case.merged(case.state)
    for name in whole:
        needed = [case.strategy.needs(seat, frozenset({name})) for seat in case.seats]
        outputs = [
            {own: array for own, array in said.items() if own in names}
            for said, names in zip(case.state.outputs, needed, strict=True)
        ]
        part = replace(case.state, outputs=outputs)
        alone = {own: array for own, array in case.merged(part).items() if own == name}
        if breach := case.difference(alone, {name: whole[name]}):
            return f"{name} alone against among all: {breach}"
        if not np.array_equal(case.strategy.settled(part).done, case.strategy.settled(case.state).done):
            return f"with only {name} wanted, other rows are settled"
    return ""


def _untouched(case: Case, _: Generator) -> str:
    writable = [{name: array.copy() for name, array in outputs.items()} for outputs in case.full.outputs]
    weights = case.full.weights.copy()
    state = replace(case.full, outputs=writable, weights=weights)
    merged = case.merged(state)
    case.strategy.shares(state, case.rows)
    case.strategy.agreement(state, case.rows, merged)
    if not np.array_equal(weights, case.full.weights):
        return "the weights changed"
    for seat, before, after in zip(state.seats, case.full.outputs, writable, strict=True):
        if change := difference(before, after, exact=True):
            return f"the answer of {seat} changed: {change}"
    return ""


def _rows_alone(case: Case, _: Generator) -> str:
    batch = case.merged(case.state)
    for i in range(case.state.n):
        row = np.arange(case.state.n) == i
        alone = case.merged(only_rows(case.state, row))
        if breach := _within(alone, {name: array[row] for name, array in batch.items()}, case):
            return f"row {i} alone against in the batch: {breach}"
    return ""


def _rows_subset(case: Case, rng: Generator) -> str:
    rows = rng.random(case.state.n) < 0.5
    some, every = case.merged(case.state, rows), case.merged(case.state)
    return _within(some, {name: array[rows] for name, array in every.items()}, case)


def _within(part: Mapping[str, Array], batch: Mapping[str, Array], case: Case) -> str:
    """Compare rows by themselves with the same rows of a batch, which may have had to leave outputs out."""
    if case.strategy.traits.partial:
        part = {name: array for name, array in part.items() if name in batch}
    return case.difference(part, batch)


def _absence(case: Case, _: Generator) -> str:
    for i in range(case.state.n):
        row = only_rows(case.state, np.arange(case.state.n) == i)
        present = only_seats(row, np.flatnonzero(row.answered[:, 0]).tolist())
        if breach := case.difference(case.merged(row), case.merged(present)):
            return f"row {i}, missing against never there: {breach}"
    return ""


def _settled(case: Case, rng: Generator) -> str:
    asked, first, second = (rng.random(case.state.asked.shape) < share for share in (0.8, 0.4, 0.4))
    sooner = case.strategy.settled(_seen(case.state, asked, asked & first)).done
    after = case.strategy.settled(_seen(case.state, asked, asked & (first | second))).done
    if sooner.shape != (case.state.n,) or sooner.dtype != np.bool_:
        return f"done is {sooner.dtype} {sooner.shape}, not bool [n]"
    if (sooner & ~after).any():
        return f"row {int(np.argmax(sooner & ~after))} was settled and is no more"
    if not case.strategy.settled(case.state).done.all() and not case.strategy.plan(case.state):
        return "all answers are in, yet rows are open and nobody is asked"
    return ""


def _seen(state: State, asked: Mask, come: Mask) -> State:
    return replace(state, asked=asked, answered=state.answered & come, failed=state.failed & come)


def _plan(case: Case, rng: Generator) -> str:
    state, shape = case.state, case.state.asked.shape
    nothing = np.zeros(shape, np.bool_)
    if state.n and not case.strategy.plan(_seen(state, nothing, nothing)):
        return "nobody is asked at first"
    asked = rng.random(shape) < 0.5
    eligible = rng.random(len(case.seats)) < 0.7
    asks = case.strategy.plan(replace(_seen(state, asked, asked), eligible=eligible))
    for ask in asks:
        if ask.rows.shape != (state.n,) or ask.rows.dtype != np.bool_ or not ask.rows.any():
            return f"seat {ask.seat} is asked for {ask.rows!r}, not for a bool [n] with a row in it"
        if not eligible[ask.seat]:
            return f"seat {ask.seat} is asked, but not eligible"
        if (ask.rows & asked[ask.seat]).any():
            return f"seat {ask.seat} is asked twice for one row"
    return "" if len({ask.seat for ask in asks}) == len(asks) else "a seat is asked twice in one wave"


def _shares(case: Case, _: Generator) -> str:
    shares = case.strategy.shares(case.state, case.rows)
    if shares.shape != case.state.answered.shape or shares.dtype != np.float64:
        return f"shares are {shares.dtype} {shares.shape}, not float64 [k, rows]"
    if (shares < 0).any() or shares[~case.state.answered].any() or not np.allclose(shares.sum(axis=0), 1):
        return f"shares {shares.tolist()} are not parts of one whole over the seats that answered"
    agreement = case.strategy.agreement(case.state, case.rows, case.merged(case.state))
    if agreement is None:
        return ""
    if agreement.shape != (case.state.n,) or not ((agreement >= 0) & (agreement <= 1 + 1e-12)).all():
        return f"agreement {agreement!r} is not a share per row"
    return ""


def _ties(case: Case, rng: Generator) -> str:
    voters = len(case.seats)
    tie = saying(case, rng.permutation(voters).tolist())
    lowest = saying(case, [0] * voters)
    if tie is None or lowest is None:
        return ""
    merged, expected = case.merged(tie), case.merged(lowest)
    if case.strategy.agreement(tie, case.rows, merged) is None:
        return ""
    labels = [name for name, array in merged.items() if array.dtype.kind in "buiO"]
    return case.difference({name: merged[name] for name in labels}, {name: expected[name] for name in labels})


def _read(case: Case) -> dict[str, Array]:
    """Return what the first member says of the outputs that are merged."""
    names = case.strategy.reads(case.seats[0])
    return {name: array for name, array in case.full.outputs[0].items() if name in names}


def _symmetric(case: Case, rng: Generator) -> str:
    order = rng.permutation(len(case.seats)).tolist()
    return case.difference(case.merged(only_seats(case.state, order)), case.merged(case.state))


def _idempotent(case: Case, _: Generator) -> str:
    said = _read(case)
    alike = replace(case.state, outputs=[case.full.outputs[0]] * len(case.seats))
    merged, alone = case.merged(alike), case.merged(only_seats(case.full, [0]))
    if breach := case.difference(merged, alone):
        return f"all alike against one alone: {breach}"
    same = {name: array for name, array in merged.items() if name in said and array.shape == said[name].shape}
    return difference(same, {name: said[name] for name in same}, exact=True)


def _weights_ignored(case: Case, rng: Generator) -> str:
    other = replace(case.state, weights=rng.permutation([0.25, 1.0, 4.0, 9.0, 30.0])[: len(case.seats)])
    return case.difference(case.merged(other), case.merged(case.state))


def _weights_scale(case: Case, rng: Generator) -> str:
    merged = case.merged(case.state)
    # A factor that rounds moves weights by more than FP64 may show; a power of two does not round.
    double = any(array.dtype == np.float64 for array in merged.values())
    factor = 2.0 ** int(rng.integers(-9, 9)) * (1.0 if double else 3.7)
    return _compared(case, replace(case.state, weights=case.state.weights * factor), case.state, case.rows)


def _weight_zero(case: Case, rng: Generator) -> str:
    gone = np.arange(len(case.seats)) == rng.integers(len(case.seats))
    answered = case.state.answered & ~gone[:, None]
    missing = replace(case.state, answered=answered, failed=~answered)
    weightless = replace(case.state, weights=np.where(gone, 0.0, case.state.weights))
    return _compared(case, weightless, missing, answered.any(axis=0))


def _compared(case: Case, a: State, b: State, rows: Mask) -> str:
    """Compare results, shares and agreement of two batches."""
    if case.state.n and not rows.any():
        return ""
    merged, other = case.merged(a, rows), case.merged(b, rows)
    if breach := case.difference(merged, other):
        return breach
    if not np.allclose(case.strategy.shares(a, rows), case.strategy.shares(b, rows)):
        return "the shares differ"
    agreed, also = case.strategy.agreement(a, rows, merged), case.strategy.agreement(b, rows, other)
    return "" if agreed is None or also is None or np.allclose(agreed, also) else "the agreement differs"


def _keeps_shape(case: Case, _: Generator) -> str:
    said, merged = _read(case), case.merged(case.full)
    for name in sorted(merged.keys() & said.keys()):
        have, want = merged[name], said[name]
        if have.dtype != want.dtype or have.shape != want.shape:
            return f"{name} is {have.dtype} {have.shape}, the members' {want.dtype} {want.shape}"
    return ""


def _arrival_ignored(case: Case, rng: Generator) -> str:
    come = rng.random(case.state.asked.shape) < 0.6
    early = _seen(case.state, case.state.asked, come)
    done = case.strategy.settled(early).done & early.answered.any(axis=0)
    if not done.any():
        return ""
    return case.difference(case.merged(early, done), case.merged(case.state, done))


@dataclass(frozen=True, slots=True)
class Law:
    """A law.

    Args:
        name: Its name.
        statement: What holds.
        breach: Says how it is broken in a case, drawing what else it needs; empty if it holds.
        expected: From the traits, whether it must hold (True), must be seen broken (False) or says nothing
            (None).
    """

    name: str
    statement: str
    breach: Callable[[Case, Generator], str]
    expected: Callable[[Traits], bool | None] = lambda _: True


#: Every law, in the order in which they are tried.
LAWS = (
    Law("inputs_untouched", "a merge does not change what it is given", _untouched),
    Law("declared", "merged outputs are those that outputs() declares, one row per row asked", _declared),
    Law(
        "complete", "all outputs are there whichever members are missing", _complete, lambda t: not t.partial
    ),
    Law("reads", "the merge needs no more than reads() says", _reads),
    Law("needs", "some outputs need no more than needs() says, and are the same alone", _needs),
    Law("rows_alone", "a row of a batch equals the same row alone", _rows_alone),
    Law("rows_subset", "some rows of a batch equal those rows of the whole", _rows_subset),
    Law("absence", "a missing member equals one that was never there", _absence),
    Law("settled", "a settled row stays settled, and rows settle or are asked once all is in", _settled),
    Law("plan", "only eligible seats are asked, each once for a row, and at first somebody", _plan),
    Law("shares", "shares are parts of one whole over those who answered, agreement is a share", _shares),
    Law("ties", "ties go to the lowest class index", _ties),
    Law("symmetric", "the order of the members does not matter", _symmetric, lambda t: t.symmetric),
    Law("idempotent", "members that all say the same get that back", _idempotent, lambda t: t.idempotent),
    Law("weights_ignored", "weights change nothing", _weights_ignored, lambda t: not t.weighted),
    Law("weights_scale", "weights count in proportion", _weights_scale, lambda t: t.weighted or None),
    Law(
        "weight_zero", "a weight of zero equals a missing member", _weight_zero, lambda t: t.weighted or None
    ),
    Law("keeps_shape", "datatype and shape are the members'", _keeps_shape, lambda t: t.keeps_shape),
    Law(
        "arrival_ignored",
        "once settled, later answers change nothing",
        _arrival_ignored,
        lambda t: not t.arrival_dependent,
    ),
)


def _named(name: str) -> Law:
    return next(law for law in LAWS if law.name == name)
