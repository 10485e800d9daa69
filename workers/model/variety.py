"""Rows made after a few templates: they differ from each other, and most of all in scale.

- Floats are scaled, row by row. The elements of anything else are put in another order: ids stay in their
  table, and texts keep some of their words.
- A template that is zero says only shape and datatype: its rows are random normal floats, zeros and ones, or
  a few common words.
- The same seed makes the same rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Row", "differ", "make_rows"]

Array = np.ndarray[Any, np.dtype[Any]]
#: Arrays by input.
Row: TypeAlias = "Mapping[str, Array]"

_WORDS = b"the a of film book never good bad plain 7 1999 really quite dull warm strange".split()


def make_rows(templates: Sequence[Row], count: int, seed: int) -> Row:
    """Return rows that differ from each other, stacked by input.

    Args:
        templates: Rows without the row dimension; those of another shape than the first are left out.
        count: How many.
        seed: Which; with 0 the templates that say something come first, as they are.
    """
    random = np.random.default_rng(seed)
    shapes = {name: array.shape for name, array in templates[0].items()}
    fitting = [row for row in templates if {name: array.shape for name, array in row.items()} == shapes]
    made = [
        _varied(fitting[i % len(fitting)], random, as_it_is=not seed and i < len(fitting))
        for i in range(count)
    ]
    return {name: np.stack([row[name] for row in made]) for name in shapes}


def _varied(template: Row, random: np.random.Generator, *, as_it_is: bool) -> Row:
    scale = 10 ** random.uniform(-1.5, 0.5)
    return {
        name: array if as_it_is and array.any() else _like(array, random, scale)
        for name, array in template.items()
    }


def _like(template: Array, random: np.random.Generator, scale: float) -> Array:
    """Return an array of the template's shape and datatype; what is zero says nothing but that."""
    kind = template.dtype.kind
    if kind == "O":
        texts = [_text(text, random) for text in template.reshape(-1).tolist()]
        result = np.empty(len(texts), object)
        result[:] = texts
        return result.reshape(template.shape)
    if kind in "biu":
        whole = (
            random.permuted(template.reshape(-1)) if template.any() else random.random(template.size) < 0.5
        )
        return whole.astype(template.dtype).reshape(template.shape)
    values = template.astype(np.float64) if template.any() else random.normal(size=template.shape)
    return np.asarray(values * scale).astype(template.dtype)


def _text(template: bytes, random: np.random.Generator) -> bytes:
    words = template.split() or _WORDS
    taken = random.permutation(len(words))[: random.integers(1, len(words) + 1)]
    return b" ".join(words[i] for i in taken)


def differ(rows: Row) -> bool:
    """Tell whether any row differs from the first."""
    return any((array[1:] != array[:1]).any() for array in rows.values())
