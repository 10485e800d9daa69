"""Feeding a model the tokens of texts where a client gives the texts.

Of the model's inputs :data:`TOKENS` are replaced by one of texts. Rules:

- Texts are padded to the longest of a run; to the model's own length where its file fixes one. Rows of like
  length run together (:mod:`workers.model.text.groups`), unless the model does not batch or an output that
  is wanted has an open dimension, which would then differ from run to run.
- The most tokens of a text are ``parameters.max_tokens`` of the config, else what ``tokenizer.json`` cuts to,
  else the length that the model's file fixes, else :data:`DEFAULT_LONGEST`. Longer texts are cut, or refused
  where ``parameters.long_text`` says so.
- A config that lists ``input_ids`` itself keeps it: the model takes tokens as before.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from protos.errors import AccordError, Reason
from protos.oip import config_datatype
from protos.tensor import DTYPES, TensorSpec
from workers.model.errors import ModelError
from workers.model.text.groups import split
from workers.model.text.tokenizer import MOST_BYTES

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from protos.model import ModelSpec
    from workers.model.repository import ModelFiles
    from workers.model.runtime.binding import Array, Compute
    from workers.model.runtime.instances import Placement
    from workers.model.text.tokenizer import Tokenizer

__all__ = ["DEFAULT_LONGEST", "TOKENS", "Feed", "open_feed", "takes_text"]

#: The inputs that tokens go to; the last two may be missing.
TOKENS = ("input_ids", "attention_mask", "token_type_ids")
DEFAULT_LONGEST = 256

_DATATYPES = ("INT32", "INT64")
_NAME = "text"
#: Of these words are the texts to try a model with, and of at most so many.
_WORDS = "the film was never really good but not quite as dull a story as book and music promised"
_MOST_WORDS = MOST_BYTES // 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tokens:
    """The tokens of some texts, padded to the longest of them.

    Args:
        arrays: What the inputs :data:`TOKENS` take, in that order.
        lengths: How many tokens each text has.
        least: The fewest to pad to.
        left: Whether padding stands before them.
    """

    arrays: tuple[Array, ...]
    lengths: Array
    least: int
    left: bool

    def of(self, rows: Array) -> list[Array]:
        """Return the arrays of some of the texts, padded to the longest of those."""
        width = max(self.least, int(self.lengths[rows].max(initial=0)))
        return [array[rows, -width:] if self.left else array[rows, :width] for array in self.arrays]


class Feed:
    """Turns the one input of texts into the model's inputs of tokens.

    Args:
        spec: The input of texts.
        inputs: Those of :data:`TOKENS` that the model has, by name.
        tokenizer: What makes tokens of texts.
        longest: The most tokens of a text.
        refuses: Whether longer texts are refused; they are cut otherwise.
        width: How many tokens the model takes of each text, if its file fixes that.
    """

    def __init__(
        self,
        spec: TensorSpec,
        inputs: Mapping[str, TensorSpec],
        tokenizer: Tokenizer,
        *,
        longest: int,
        refuses: bool,
        width: int | None,
    ) -> None:
        self.spec = spec
        self.longest = longest
        self.refuses = refuses
        self._dtypes = {name: DTYPES[each.datatype] for name, each in inputs.items()}
        self._tokenizer = tokenizer
        self._width = width
        if not refuses:
            tokenizer.truncate(longest)

    @property
    def tokens(self) -> Collection[str]:
        """The names of the inputs that it replaces."""
        return self._dtypes.keys()

    def around(self, compute: Compute, spec: ModelSpec, placement: Placement) -> Compute:
        """Return a way to compute from texts, given one to compute from tokens.

        Args:
            compute: The way from tokens.
            spec: The model's interface.
            placement: The device it runs on.
        """
        even = {output.name for output in spec.outputs if -1 not in output.shape[1:]}
        divisible = spec.batches and self._width is None and placement.device == "cpu"

        def computed(names: Sequence[str], feed: Mapping[str, Array], run_options: Any) -> list[Array]:
            others = dict(feed)
            tokens = self._tokens(others.pop(self.spec.name))
            count = len(tokens.lengths)
            runs = split(tokens.lengths) if divisible and even.issuperset(names) else [np.arange(count)]
            if len(runs) == 1:
                return compute(names, others | self._named(tokens.of(runs[0])), run_options)
            parts = [
                compute(
                    names,
                    {name: array[rows] for name, array in others.items()} | self._named(tokens.of(rows)),
                    run_options,
                )
                for rows in runs
            ]
            return [_in_order(arrays, runs, count) for arrays in zip(*parts, strict=True)]

        return computed

    def examples(self) -> tuple[bytes, ...]:
        """Return texts to try the model with, the longest that it takes first.

        Raises:
            Exception: Whatever the tokenizer's library raises on plain words.
        """
        counts = range(min(self.longest, _MOST_WORDS) + 1)
        most = bisect_right(counts, self.longest, key=self._tokens_of_words) - 1
        return tuple(_words(min(count, most)).encode() for count in (most, 3, 12, 1))

    def _tokens_of_words(self, count: int) -> int:
        return len(self._tokenizer.encode([_words(count)])[0][0])

    def _tokens(self, texts: Array) -> _Tokens:
        flat: list[str] = texts.reshape(-1).tolist()
        for row, text in enumerate(flat):
            if len(text) > MOST_BYTES or len(text.encode()) > MOST_BYTES:
                raise self._refusal(row, f"is longer than {MOST_BYTES} bytes; send a part of the text")
        encoded = self._tokenizer.encode(flat)
        lengths = np.array([len(ids) for ids, _ in encoded], np.int64)
        if self.refuses and (lengths > self.longest).any():
            row = int((lengths > self.longest).argmax())
            over = int(lengths[row]) - self.longest
            raise self._refusal(
                row,
                f"has {lengths[row]} tokens, {over} more than the {self.longest} that the model takes; "
                "shorten or split the text",
            )
        tokenizer, least = self._tokenizer, self._width or 1
        width = max(least, int(lengths.max(initial=0)))
        ids = np.full((len(flat), width), tokenizer.pad_id, np.int64)
        types = np.full((len(flat), width), tokenizer.pad_type, np.int64)
        mask = np.zeros((len(flat), width), np.int64)
        for row, (own, own_types) in enumerate(encoded):
            at = slice(width - len(own), None) if tokenizer.pads_left else slice(len(own))
            ids[row, at], types[row, at], mask[row, at] = own, own_types, 1
        return _Tokens(arrays=(ids, mask, types), lengths=lengths, least=least, left=tokenizer.pads_left)

    def _named(self, arrays: Sequence[Array]) -> dict[str, Array]:
        found = dict(zip(TOKENS, arrays, strict=True))
        return {name: np.ascontiguousarray(found[name], dtype) for name, dtype in self._dtypes.items()}

    def _refusal(self, row: int, problem: str) -> AccordError:
        return AccordError(
            Reason.INPUT_REJECTED, f"row {row} of input {self.spec.name!r} {problem}", field="inputs"
        )


def takes_text(files: ModelFiles, inputs: Sequence[TensorSpec]) -> bool:
    """Tell whether a model with a tokenizer is to be fed texts, given the inputs of its file."""
    listed = {entry.name for entry in files.config.message.input}
    return any(spec.name == TOKENS[0] and _is_tokens(spec) for spec in inputs) and TOKENS[0] not in listed


def open_feed(files: ModelFiles, inputs: Sequence[TensorSpec], tokenizer: Tokenizer) -> Feed:
    """Return how a model is fed texts.

    Args:
        files: The model on disk.
        inputs: The inputs of its file, as :func:`takes_text` found them right.
        tokenizer: Its tokenizer.

    Raises:
        ModelError: If texts can have no length, or the config contradicts the file.
    """
    taken = {spec.name: spec for spec in inputs if spec.name in TOKENS and _is_tokens(spec)}
    rows, fixed = taken[TOKENS[0]].shape
    width = None if fixed == -1 else fixed
    tuning = files.config.tuning
    longest = tuning.max_tokens or min(tokenizer.longest or width or DEFAULT_LONGEST, width or 1 << 20)
    where = "parameters.max_tokens of the config" if tuning.max_tokens else "the longest text"
    if width is not None and longest > width:
        raise ModelError(
            files.config_path,
            f"{where} is {longest}, but {files.path.name} takes {width} tokens; say {width} or fewer",
        )
    if longest <= tokenizer.specials:
        raise ModelError(
            files.config_path,
            f"{where} is {longest} tokens, but {tokenizer.specials} special ones are added to each text; "
            "say more in parameters.max_tokens",
        )
    return Feed(
        TensorSpec(_name(files, inputs), "BYTES", (rows, 1)),
        taken,
        tokenizer,
        longest=longest,
        refuses=tuning.refuses_long,
        width=width,
    )


def _is_tokens(spec: TensorSpec) -> bool:
    return spec.datatype in _DATATYPES and len(spec.shape) == 2


def _name(files: ModelFiles, inputs: Sequence[TensorSpec]) -> str:
    """Return what the config calls the input of texts: the one of strings that the file does not have."""
    known = {spec.name for spec in inputs}
    own = [
        entry.name
        for entry in files.config.message.input
        if entry.name not in known and config_datatype(entry) == "BYTES"
    ]
    return own[0] if own else _NAME


def _in_order(parts: Sequence[Array], runs: Sequence[Array], count: int) -> Array:
    """Put the rows of several runs back into their places."""
    whole = np.empty((count, *parts[0].shape[1:]), parts[0].dtype)
    for part, rows in zip(parts, runs, strict=True):
        if part.shape[:1] != rows.shape:
            raise ValueError(f"the model answered {part.shape} to {len(rows)} rows")
        whole[rows] = part
    return whole


def _words(count: int) -> str:
    words = _WORDS.split()
    return " ".join(words[i % len(words)] for i in range(count))
