"""Whether a row's answer depends on the rows beside it, found out before a model serves.

A gateway puts rows of different requests into one call, which is right only for a model that is
*independent*. Dynamic quantisation, for one, takes its scale from the whole batch, and so one caller's row
changes another's label. Rules:

- Rows are answered alone, and as the first of batches of 2, 8 and 32; never more than the model takes.
- An answer is the same if it differs by at most 1e-6 plus 1e-5 of its row's largest value (1e-2 of it for
  FP16 and BF16), and the largest value along the last axis stands in the same place. What is no float is
  equal. A row in which two classes tie, so that rounding decides between them, is held to its numbers only:
  trees that vote tie often, and their sums are rounded in another order with every number of rows.
- Rows come from ``model_warmup`` where the config has it, and are varied: floats scaled, other elements and
  words put in another order. Otherwise, and where it only says zeros, they are made up. Neighbours differ in
  scale, so that a scale taken from the whole batch shows.
- It takes about two seconds at most, but for the first pair of rows: large models see fewer batches, and the
  log says which.
- Where no such row can be run, all rows are alike, or every answer is NaN or a tie, nobody has looked: that
  refuses no model, and says nothing of it.

Rounding differs with the number of rows, so what cancels out leaves errors of the size of its terms; the
row's largest value stands for them.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from protos.errors import AccordError
from workers.model.errors import ModelError
from workers.model.samples import given_rows, zero_row
from workers.model.variety import Row, differ, make_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from workers.model.session import Session

__all__ = ["examine"]

_log = logging.getLogger(__name__)

Array = np.ndarray[Any, np.dtype[Any]]

_SIZES = (2, 8, 32)
#: Every round has other rows: a label flips seldom.
_ROUNDS = 4
_BUDGET_S = 2.0
_MAX_BYTES = 256 << 20
_ABSOLUTE, _RELATIVE, _RELATIVE_HALF = 1e-6, 1e-5, 1e-2
#: What rounding alone does to FP16; within it, and within the bounds above for others, classes tie.
_ROUNDING_HALF = 1e-3
#: Lengths of open dimensions to try: long enough for rows to differ, and the one that warm-up took.
_LENGTHS = (8, 1)


@dataclass(frozen=True, slots=True)
class _Difference:
    """Some row's answer was another one among others.

    Args:
        output: The output that differed most.
        size: The batch's rows.
        worst: By how much.
    """

    output: str
    size: int
    worst: float


def examine(session: Session, *, clock: Callable[[], float] = time.monotonic) -> None:
    """Find out whether a model is independent, and have its interface say so.

    Args:
        session: The model, warm; one that does not batch is left alone.
        clock: Source of monotonic time.
    """
    if session.spec.max_rows < 2:
        return
    claimed = session.spec.independent
    facts: dict[str, object] = {"model": session.spec.name, "version": session.spec.version}
    cause = "no rows that differ could be made"
    for templates in _templates(session):
        look = _Look(session, templates, clock)
        try:
            found = look.run()
        except (AccordError, ModelError) as error:
            cause = str(error.__cause__ or error).splitlines()[0][:500]
            continue
        if found is not None:
            facts |= {"output": found.output, "rows": found.size, "difference": found.worst}
            if claimed:
                facts["contradicts"] = str(session.files.config_path)
            _log.warning("a row's answer depends on the rows beside it; requests share no call", extra=facts)
            session.declare(independent=False)
            return
        if look.unseen or not look.sizes:
            cause = f"no answer of {min(look.unseen)!r} told anything" if look.unseen else cause
            continue
        _log.info("rows are independent", extra={**facts, "batches": sorted(look.sizes)})
        session.declare(independent=True)
        return
    _log.warning("whether rows are independent could not be found out", extra={**facts, "cause": cause})


def _templates(session: Session) -> Iterator[Sequence[Row]]:
    """Yield what rows are made after, the most telling first."""
    files, spec = session.files, session.spec
    if given := given_rows(files, spec):
        yield given
        return
    is_open = any(-1 in tensor.shape[1:] for tensor in spec.inputs)
    for length in _LENGTHS if is_open else _LENGTHS[-1:]:
        yield [zero_row(files, spec, length=length)]


@dataclass(slots=True)
class _Look:
    """One look at a model, with rows after some templates.

    Args:
        session: The model.
        templates: Rows without the row dimension; those of another shape than the first are left out.
        clock: Source of monotonic time.
        sizes: The batches that were tried.
        unseen: Outputs that were never finite, or always decided by rounding.
    """

    session: Session
    templates: Sequence[Row]
    clock: Callable[[], float]
    sizes: set[int] = field(default_factory=set)
    unseen: set[str] = field(default_factory=set)

    def run(self) -> _Difference | None:
        """Hold rows alone against rows among others, and return the first difference.

        Raises:
            AccordError: If the model cannot take such rows.
            ModelError: If it answers with another number of rows.
        """
        first = self.templates[0]
        row_bytes = sum(array.nbytes for array in first.values())
        most = min(self.session.spec.max_rows, max(2, _MAX_BYTES // max(1, row_bytes)))
        sizes = sorted({min(size, most) for size in _SIZES})
        self.unseen = {output.name for output in self.session.spec.outputs}
        began, done = self.clock(), 0
        for seed in range(_ROUNDS):
            rows = make_rows(self.templates, sizes[-1], seed)
            if not differ(rows):
                return None
            alone: list[Mapping[str, Array]] = []
            for size in sizes:
                new = size - len(alone) + size
                spent_s = self.clock() - began
                if done and spent_s + spent_s / done * new > _BUDGET_S:
                    return None
                alone += [self._ask(rows, i, i + 1) for i in range(len(alone), size)]
                self.sizes.add(size)
                if found := self._compare(alone, self._ask(rows, 0, size), size):
                    return found
                done += new
        return None

    def _ask(self, rows: Row, start: int, stop: int) -> Mapping[str, Array]:
        answer = self.session.run({name: array[start:stop] for name, array in rows.items()})
        for name, array in answer.items():
            if array.shape[:1] != (stop - start,):
                raise ModelError(self.session.files.path, f"answered {list(array.shape)} as {name!r}")
        return answer

    def _compare(
        self, alone: Sequence[Mapping[str, Array]], among: Mapping[str, Array], size: int
    ) -> _Difference | None:
        apart = {}
        for name, together in among.items():
            single = [answer[name] for answer in alone]
            if any(array.shape[1:] != together.shape[1:] for array in single):
                return _Difference(name, size, np.inf)
            apart[name] = np.concatenate(single)
        decided = ~np.logical_or.reduce([_tied(array) for array in apart.values()])
        differences = {}
        for name, array in apart.items():
            worst = _difference(array, among[name], decided)
            if worst is not None:
                differences[name] = worst
            if decided.any() if _is_exact(array) else np.isfinite(array.astype(np.float64)).any():
                self.unseen.discard(name)
        name = max(differences, key=differences.__getitem__, default="")
        return _Difference(name, size, differences[name]) if differences else None


def _is_exact(array: Array) -> bool:
    return array.dtype.kind in "biuO"


def _largest(floats: Array) -> Array:
    """Return the largest finite value of each row, shaped to be compared with the row's values."""
    values = np.where(np.isfinite(floats), np.abs(floats), 0.0).reshape(len(floats), -1)
    largest: Array = values.max(axis=1, initial=0.0)
    return largest.reshape(-1, *[1] * (floats.ndim - 1))


def _tied(array: Array) -> Array:
    """Tell in which rows two classes are so close that rounding decides between them, bool [n]."""
    if _is_exact(array) or array.ndim < 2 or array.shape[-1] < 2:
        return np.zeros(len(array), np.bool_)
    floats = array.astype(np.float64)
    width = 2 * (_ABSOLUTE + (_ROUNDING_HALF if array.dtype.itemsize == 2 else _RELATIVE) * _largest(floats))
    first = np.sort(np.nan_to_num(floats), axis=-1)[..., -2:]
    near: Array = first[..., 1:] - first[..., :1] <= width
    return np.asarray(near.reshape(len(array), -1).any(axis=1))


def _difference(alone: Array, among: Array, decided: Array) -> float | None:
    """Return by how much the answers differ at most, or None if they are the same.

    Args:
        alone: What the rows got alone.
        among: What they got together.
        decided: In which rows no tie is decided by rounding.
    """
    if _is_exact(alone):
        a, b = alone[decided], among[decided]
        return None if np.array_equal(a, b) else _worst(a, b)
    relative = _RELATIVE_HALF if alone.dtype.itemsize == 2 else _RELATIVE
    a, b = alone.astype(np.float64), among.astype(np.float64)
    with np.errstate(invalid="ignore"):
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        gap = np.where(same, 0.0, np.abs(a - b))
    gap[np.isnan(gap)] = np.inf
    close = bool((gap <= _ABSOLUTE + relative * _largest(a)).all())
    a, b = a[decided], b[decided]
    has_classes = a.ndim > 1 and a.shape[-1] > 1
    if close and (not has_classes or np.array_equal(a.argmax(axis=-1), b.argmax(axis=-1))):
        return None
    return float(gap.max(initial=0.0))


def _worst(alone: Array, among: Array) -> float:
    if alone.dtype.kind == "O":
        return np.inf  # texts differ or they do not
    return float(np.abs(alone.astype(np.float64) - among.astype(np.float64)).max())
