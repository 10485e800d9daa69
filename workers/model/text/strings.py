"""Strings where the model computes numbers: labels by their index, texts by their token ids.

An output that the config declares as TYPE_STRING, while it is an integer in the model's file, is answered in
words. Rules:

- With a ``label_filename`` each number is the index of a label.
- Without one, its last dimension is a text's token ids: ``tokenizer.json`` says them as one string, without
  special tokens.
- A number without a label, or that is no token's, is the model's failure.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from protos.oip import config_datatype

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from protos.tensor import TensorSpec
    from workers.model.repository import ModelFiles
    from workers.model.runtime.binding import Array, Compute
    from workers.model.text.tokenizer import Tokenizer

__all__ = ["Spelling", "decoded", "in_words", "labelled", "wanted_in_words"]

#: Turns an output's numbers into ``str``.
Spelling: TypeAlias = "Callable[[Array], Array]"


def wanted_in_words(files: ModelFiles, outputs: Sequence[TensorSpec]) -> list[TensorSpec]:
    """Return those outputs of a model's file that its config wants in words."""
    wanted = {
        entry.name
        for entry in files.config.message.output
        if entry.data_type and config_datatype(entry) == "BYTES"
    }
    return [spec for spec in outputs if spec.name in wanted and "INT" in spec.datatype]


def labelled(labels: Sequence[str]) -> Spelling:
    """Say numbers as the labels at their places.

    Example:
        >>> labelled(["negative", "positive"])(np.array([1, 0, 1])).tolist()
        ['positive', 'negative', 'positive']
    """
    words = np.array(labels, object)

    def spell(numbers: Array) -> Array:
        _check(numbers, len(words), "labels")
        spelt: Array = words[numbers.astype(np.int64)]
        return spelt

    return spell


def decoded(tokenizer: Tokenizer) -> Spelling:
    """Say token ids along the last dimension as a text, which leaves it with length 1."""

    def spell(ids: Array) -> Array:
        _check(ids, tokenizer.size, "token ids")
        spelt = np.empty(prod(ids.shape[:-1]), object)
        spelt[:] = tokenizer.decode(ids.reshape(len(spelt), -1).tolist() if ids.size else [[]] * len(spelt))
        return spelt.reshape(*ids.shape[:-1], 1)

    return spell


def in_words(compute: Compute, spellings: Mapping[str, Spelling]) -> Compute:
    """Return a way to compute that says some outputs in words, given one that says numbers."""

    def computed(names: Sequence[str], feed: Mapping[str, Array], run_options: Any) -> list[Array]:
        arrays = compute(names, feed, run_options)
        return [
            spellings[name](array) if name in spellings else array
            for name, array in zip(names, arrays, strict=True)
        ]

    return computed


def _check(numbers: Array, count: int, what: str) -> None:
    if numbers.size and not 0 <= int(numbers.min()) <= int(numbers.max()) < count:
        raise ValueError(
            f"answered numbers from {numbers.min()} to {numbers.max()}; {what} end before {count}"
        )
