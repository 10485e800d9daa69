"""Texts as tokens: made once for all rows, kept without padding, and padded batch by batch.

For pairs, each token also knows which characters of the context it stands for, so that answers can be given
and read as characters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from training.data import Kind, Pairs, Texts
from training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from tokenizers import Tokenizer
    from torch import Tensor

    from training.data import Dataset, Labels

__all__ = ["TokenFeed"]

_CHUNK = 4096


@dataclass(frozen=True, slots=True, eq=False)
class TokenFeed:
    """The tokens of all rows.

    Args:
        starts: Where each row's tokens begin, int64 [n + 1].
        ids: Of all rows, int32 [total].
        types: 0 for the text or the question, 1 for the context, uint8 [total].
        context: Whether a token may begin or end an answer: those of the context, and the first, which stands
            for none.
        offsets: The characters of the context that a token stands for, int32 [total, 2]; zeros elsewhere.
        padding: The token that fills up.
        paired: Whether rows are pairs.
        cut: Whether a row's text or context was longer and its end is not read, bool [n].
    """

    starts: NDArray[np.int64]
    ids: NDArray[np.int32]
    types: NDArray[np.uint8]
    context: NDArray[np.bool_]
    offsets: NDArray[np.int32]
    padding: int
    paired: bool
    cut: NDArray[np.bool_]

    @classmethod
    def of(cls, dataset: Dataset, tokenizer: Tokenizer, max_length: int) -> TokenFeed:
        """Cut a data set's texts into tokens.

        Raises:
            TrainingError: If its rows are no texts, or a question alone is too long.
        """
        inputs = dataset.inputs
        if not isinstance(inputs, Texts | Pairs):
            raise TrainingError("encoder", "reads text, and the rows are numbers", "use image or tabular")
        paired = isinstance(inputs, Pairs)
        rows: list[Any] = (
            list(zip(inputs.questions, inputs.contexts, strict=True))
            if isinstance(inputs, Pairs)
            else list(inputs.texts)
        )
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length, strategy="only_second" if paired else "longest_first")
        parts: list[tuple[Any, ...]] = []
        cut: list[bool] = []
        for begin in range(0, len(rows), _CHUNK):
            chunk = rows[begin : begin + _CHUNK]
            try:
                encoded = tokenizer.encode_batch(chunk)
            except Exception as error:  # noqa: BLE001 - the tokenizer has no type of its own for it
                at = begin + _first_unfit(tokenizer, chunk)
                raise TrainingError(
                    f"row {at + 1} of the data, {rows[at][0] if paired else rows[at]!r:.60}",
                    f"cannot be cut into tokens: {error}",
                    f"shorten the question, or raise data.max_length from {max_length}",
                ) from None
            for each in encoded:
                of_context = np.asarray([part == 1 for part in each.sequence_ids], bool)
                offsets = np.asarray(each.offsets, np.int32).reshape(-1, 2)
                offsets[~of_context] = 0
                parts.append((each.ids, each.type_ids, of_context, offsets))
                cut.append(bool(each.overflowing))
        lengths = [len(ids) for ids, *_ in parts]
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        context = np.concatenate([c for *_, c, _ in parts])
        context[starts[:-1]] = True
        pad = tokenizer.token_to_id("[PAD]")
        return cls(
            starts=starts,
            ids=np.concatenate([np.asarray(ids, np.int32) for ids, *_ in parts]),
            types=np.concatenate([np.asarray(types, np.uint8) for _, types, *_ in parts]),
            context=context,
            offsets=np.concatenate([offsets for *_, offsets in parts]),
            padding=0 if pad is None else pad,
            paired=paired,
            cut=np.array(cut, bool),
        )

    @property
    def digest(self) -> str:
        """Hash of what the model reads."""
        digest = sha256()
        for array in (self.starts, self.ids, self.types):
            digest.update(array.tobytes())
        return digest.hexdigest()

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of tokens of each row."""
        return np.diff(self.starts)

    def collate(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        """Return a batch of rows, padded to its longest.

        Returns:
            ``input_ids``, ``attention_mask`` and ``token_type_ids``, int64 [b, t]; for pairs also
            ``context``, bool [b, t], and ``offsets``, int64 [b, t, 2].
        """
        mask, places = self.places(rows)
        batch = {
            "input_ids": _padded(self.ids, mask, places, self.padding),
            "attention_mask": torch.from_numpy(mask.astype(np.int64)),
            "token_type_ids": _padded(self.types, mask, places, 0),
        }
        if self.paired:
            batch["context"] = _padded(self.context, mask, places, 0).bool()
            batch["offsets"] = _padded(self.offsets, mask, places, 0)
        return batch

    def places(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Return which cells of a padded batch hold a token, bool [b, t], and which token each holds."""
        lengths = self.starts[rows + 1] - self.starts[rows]
        columns = np.arange(lengths.max(initial=1))
        mask = columns[None, :] < lengths[:, None]
        return mask, (self.starts[rows][:, None] + columns[None, :])[mask]

    def targets(self, labels: Labels) -> Labels:
        """Return labels whose spans are tokens instead of characters, both ends inclusive.

        A span that was cut off with the end of a context is as good as unlabelled; one that is not there is
        token 0.
        """
        if labels.kind is not Kind.SPAN:
            return labels
        values = np.zeros((len(labels.known), 2), np.int64)
        known = labels.known.copy()
        for row in np.flatnonzero(known):
            begin, end = labels.values[row]
            if begin < 0:
                continue
            here = slice(self.starts[row], self.starts[row + 1])
            offsets, inside = self.offsets[here], self.context[here].copy()
            inside[0] = False
            first = np.flatnonzero(inside & (offsets[:, 0] <= begin) & (offsets[:, 1] > begin))
            last = np.flatnonzero(inside & (offsets[:, 0] < end) & (offsets[:, 1] >= end))
            if len(first) and len(last):
                values[row] = first[0], last[-1]
            else:
                known[row] = False
        return replace(labels, values=values, known=known)


def _first_unfit(tokenizer: Tokenizer, rows: Sequence[Any]) -> int:
    """Return which row it is that the tokenizer refuses."""
    for i, row in enumerate(rows):
        try:
            tokenizer.encode_batch([row])
        except Exception:  # noqa: BLE001 - as above
            return i
    return 0


def _padded(array: NDArray[Any], mask: NDArray[np.bool_], places: NDArray[np.int64], filler: int) -> Tensor:
    padded = np.full((*mask.shape, *array.shape[1:]), filler, np.int64)
    padded[mask] = array[places]
    return torch.from_numpy(padded)
