"""Random batches that the laws are tried on, and the ways to vary one.

All draws are seeded, so a failure repeats. Where a seat did not answer, its arrays
hold values that show in the result if anyone reads them: NaN, the largest integer, a word of no vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from gateway.strategies.base import Array, Example, Mask, SeatSpec, State, Strategy
from gateway.strategies.kernels import wide
from protos.tensor import DTYPES, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Case", "batch", "cases", "difference", "only_rows", "only_seats", "saying"]

#: Numbers of members and of rows that every law is tried with.
MEMBERS, ROWS = (1, 2, 3, 4, 5), (0, 1, 4, 5)
_WEIGHTS = (0.1, 0.2, 0.3, 0.5, 1.0, 1.0, 2.0, 3.7)
_WORDS = ("", "ant", "bee", "cat", "dog", "eel")
_UNREAD = b"\xffnobody said this"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One strategy with one batch.

    Args:
        strategy: The strategy, with the example's options.
        seats: What was known of the seats at load.
        full: The batch when every seat has answered every row.
        state: The same batch with some answers missing; somebody answered each row.
        text: Says which case it is.
    """

    strategy: Strategy
    seats: tuple[SeatSpec, ...]
    full: State
    state: State
    text: str

    @property
    def rows(self) -> Mask:
        """All rows."""
        return np.ones(self.state.n, np.bool_)

    def merged(self, state: State, rows: Mask | None = None) -> dict[str, Array]:
        """Merge the rows, by default all."""
        return self.strategy.combine(state, np.ones(state.n, np.bool_) if rows is None else rows)

    def difference(self, a: Mapping[str, Array], b: Mapping[str, Array]) -> str:
        """Say how two merged results differ by more than rounding, or return an empty text."""
        floats = [a for outputs in self.full.outputs for a in outputs.values() if _is_float(a) and a.size]
        return difference(a, b, scale=max((float(np.abs(array).max()) for array in floats), default=0.0))


@lru_cache(maxsize=2)
def cases(cls: type[Strategy], seed: int) -> tuple[Case, ...]:
    """Return the cases of every example of a strategy, always the same for one seed."""
    drawn = []
    for number, example in enumerate(cls.examples()):
        strategy = cls(cls.Options.model_validate(dict(example.options)))
        for k, n in product(MEMBERS, ROWS):
            rng = np.random.default_rng((seed, number, k, n))
            text = f"example {number} {dict(example.options)}, {k} members, {n} rows"
            drawn.append(_case(strategy, example, rng, k=k, n=n, text=text))
    return tuple(drawn)


def _case(
    strategy: Strategy, example: Example, rng: np.random.Generator, *, k: int, n: int, text: str
) -> Case:
    free = int(rng.integers(1, 4))
    weights = rng.choice(_WEIGHTS, k)
    values = [
        {
            spec.name: _values(spec, (n, *(free if d < 0 else d for d in spec.shape[1:])), rng)
            for spec in example.outputs
        }
        for _ in range(k)
    ]
    labels = {spec.name: spec.labels for spec in example.outputs if spec.labels}
    full = batch(*values, weights=weights, labels=labels)
    seats = tuple(
        SeatSpec(name=name, weight=float(weight), outputs={spec.name: spec for spec in example.outputs})
        for name, weight in zip(full.seats, weights, strict=True)
    )
    state = _frozen(_without(full, _missing(k, n, rng)))
    return Case(strategy=strategy, seats=seats, full=full, state=state, text=text)


def _values(spec: TensorSpec, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Draw answers; every other draw is coarse, so that equal values and ties are common."""
    dtype, coarse = DTYPES[spec.datatype], bool(rng.integers(2))
    if spec.datatype == "BYTES":
        words = np.array([word.encode() for word in (*(spec.labels or _WORDS), "zoo")], object)
        return words[rng.integers(0, len(words), shape)]
    if dtype.kind in "bui":
        return rng.integers(0 if dtype.kind in "bu" else -1, 2 if dtype.kind == "b" else 5, shape).astype(
            dtype
        )
    if spec.labels:
        eighths = rng.multinomial(8, np.full(shape[-1], 1 / shape[-1]), shape[:-1]) / 8
        simplex = rng.dirichlet(np.ones(shape[-1]), shape[:-1])
        return (eighths if coarse else simplex).astype(dtype)
    if coarse:
        return (rng.integers(-4, 5, shape) / 4).astype(dtype)
    return (rng.normal(size=shape) * 10.0 ** rng.integers(-3, 3)).astype(dtype)


def _missing(k: int, n: int, rng: np.random.Generator) -> Mask:
    """Draw which answers are missing: none, whole seats, or here and there; never all of a row."""
    share = (0.0, 0.4, 0.4)[int(rng.integers(3))]
    missing = rng.random((k, 1 if rng.integers(2) else n)) < share
    missing = np.broadcast_to(missing, (k, n)).copy()
    missing[rng.integers(k), missing.all(axis=0)] = False
    return missing


def _without(state: State, missing: Mask) -> State:
    """Return the batch with answers missing; a seat that answered nothing has no outputs at all."""
    outputs = []
    for values, gone in zip(state.outputs, missing, strict=True):
        kept = {} if gone.any() and gone.all() else {name: array.copy() for name, array in values.items()}
        for array in kept.values():
            array[gone] = _unread(array.dtype)
        outputs.append(kept)
    return replace(state, answered=~missing, failed=missing, outputs=outputs)


def _unread(dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "O":
        return _UNREAD
    return True if dtype.kind == "b" else np.iinfo(dtype).max if dtype.kind in "ui" else np.nan


def _frozen(state: State) -> State:
    """Make every array read-only, as those that come off the wire are."""
    for array in (state.weights, state.asked, state.answered, state.failed, state.eligible):
        array.flags.writeable = False
    for outputs in state.outputs:
        for array in outputs.values():
            array.flags.writeable = False
    return state


def batch(
    *answers: Mapping[str, Any],
    weights: Sequence[float] | Array | None = None,
    missing: Sequence[tuple[int, int]] = (),
    labels: Mapping[str, Sequence[str]] | None = None,
) -> State:
    """Return a batch by hand, for examples with known numbers.

    Args:
        answers: What each seat answers: arrays by output name, or nested lists of numbers or bytes.
        weights: The seats' weights; all 1 if left out.
        missing: Pairs (seat, row) that were not answered; what stands there is hidden from the merge.
        labels: Class names by output.

    Example:
        >>> from gateway.strategies.means import Mean
        >>> state = batch({"y": [1.0, 2.0]}, {"y": [3.0, 9.0]}, missing=[(1, 1)])
        >>> Mean().combine(state, np.array([True, True]))
        {'y': array([2., 2.])}
    """
    outputs = [{name: _array(values) for name, values in answer.items()} for answer in answers]
    k, n = len(answers), len(next(iter(outputs[0].values())))
    gone = np.zeros((k, n), np.bool_)
    for seat, row in missing:
        gone[seat, row] = True
    everywhere = np.ones((k, n), np.bool_)
    full = State(
        n=n,
        seats=tuple(f"m{i}" for i in range(k)),
        weights=np.ones(k) if weights is None else np.array(weights, np.float64),
        asked=everywhere,
        answered=everywhere,
        failed=~everywhere,
        eligible=np.ones(k, np.bool_),
        outputs=outputs,
        labels={name: tuple(classes) for name, classes in (labels or {}).items()},
        time_left_s=1.0,
    )
    return _frozen(_without(full, gone))


def _array(values: Any) -> Array:
    array = np.asarray(values)
    return array.astype(object) if array.dtype.kind == "S" else array


def only_seats(state: State, seats: Sequence[int]) -> State:
    """Return the batch with these seats only, in this order."""
    chosen = list(seats)
    return replace(
        state,
        seats=tuple(state.seats[i] for i in chosen),
        weights=state.weights[chosen],
        asked=state.asked[chosen],
        answered=state.answered[chosen],
        failed=state.failed[chosen],
        eligible=state.eligible[chosen],
        outputs=[state.outputs[i] for i in chosen],
    )


def only_rows(state: State, rows: Mask) -> State:
    """Return the batch with these rows only."""
    return replace(
        state,
        n=int(rows.sum()),
        asked=state.asked[:, rows],
        answered=state.answered[:, rows],
        failed=state.failed[:, rows],
        outputs=[{name: array[rows] for name, array in outputs.items()} for outputs in state.outputs],
    )


def saying(case: Case, classes: Sequence[int]) -> State | None:
    """Return the batch in which seat i says class ``classes[i]`` for every row, all weighing the same.

    Scores are one-hot, integers are the class, BYTES its name. None if an output has too few classes.
    """
    state, most = case.full, max(classes)
    outputs = []
    for chosen in classes:
        said = {}
        for name, array in state.outputs[0].items():
            words = state.labels.get(name, _WORDS)
            known = 2 if array.dtype == np.bool_ else len(words) if array.dtype == object else most + 1
            if array.ndim > 1 and _is_float(array):
                known = array.shape[-1]
            if known <= most:
                return None
            said[name] = _said(array, chosen, words)
        outputs.append(said)
    few = only_seats(state, range(len(classes)))
    return replace(few, weights=np.ones(len(classes)), outputs=outputs)


def _said(like: Array, chosen: int, words: Sequence[str]) -> Array:
    said = np.zeros_like(like)
    if like.dtype == object:
        said[...] = words[chosen].encode()
    elif like.dtype.kind in "bui":
        said[...] = chosen
    elif like.ndim > 1:
        said[..., chosen] = 1
    return said


def difference(
    a: Mapping[str, Array], b: Mapping[str, Array], *, exact: bool = False, scale: float = 0.0
) -> str:
    """Say how two results differ, or return an empty text.

    Names, dtypes and shapes must be equal. Floats may be one unit in the last place of their dtype apart, or,
    where a sum cancels, the rounding of sums over values up to ``scale``; ``exact`` allows neither.
    """
    if a.keys() != b.keys():
        return f"outputs {sorted(a)} against {sorted(b)}"
    for name, left in a.items():
        right = b[name]
        if left.dtype != right.dtype or left.shape != right.shape:
            return f"{name}: {left.dtype} {left.shape} against {right.dtype} {right.shape}"
        same = np.asarray(left == right, np.bool_)
        if not exact and not same.all() and _is_float(left):
            same |= np.isnan(left) & np.isnan(right)
            same |= np.nextafter(left, right) == right
            exactly = wide(left.dtype)
            noise = 8 * np.finfo(exactly).eps * scale
            same |= np.abs(left.astype(exactly) - right.astype(exactly)) <= noise
        if not same.all():
            at = tuple(int(i) for i in np.argwhere(~same)[0])
            return f"{name}{list(at)}: {left[at]!r} against {right[at]!r}"
    return ""


def _is_float(array: Array) -> bool:
    return array.dtype.kind not in "buiO"
