"""A version's ``tokenizer.json``, read by the Hugging Face library ``tokenizers``; nothing else imports that.

Rules:

- The library is imported when the first such file is read, so that models without text need none of it.
- Its own threads stay off, unless ``TOKENIZERS_PARALLELISM`` is set: a worker has the threads that its
  ``--threads`` say.
- The file's padding says which token pads and on which side. How far to pad follows from what runs together,
  and is none of its business.

Measured with the vocabulary of BERT: 20 us for a sentence; a text of 256 KiB that is nothing but punctuation
takes 0.2 s and 140 MiB, which is why longer ones are refused and texts are encoded a few at a time.

Source: Hugging Face "Tokenizers".
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from workers.model.errors import ModelError
from workers.model.files.confined import open_inside

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from workers.model.repository import ModelFiles

__all__ = ["MOST_BYTES", "Encoded", "Tokenizer", "open_tokenizer"]

#: Of one text, and of those that are encoded at once.
MOST_BYTES = 256 << 10

#: The largest vocabularies in use take a third of it.
_MAX_FILE_BYTES = 128 << 20
#: What pads where the file does not say: BERT's token, and RoBERTa's.
_PADS = ("[PAD]", "<pad>")

#: Ids of the tokens, and of their segments.
Encoded = tuple[list[int], list[int]]


class Tokenizer:
    """Turns texts into token ids, and ids into texts.

    Args:
        library: The library's tokenizer.
    """

    def __init__(self, library: Any) -> None:
        self._library = library
        truncation, padding = library.truncation or {}, library.padding or {}
        self._side: str = truncation.get("direction", "right")
        #: The most tokens of a text, as the file has it; None where it does not say.
        self.longest: int | None = truncation.get("max_length")
        #: How many tokens of a text are not its own, such as [CLS] and [SEP].
        self.specials: int = library.num_special_tokens_to_add(False)
        known = (library.token_to_id(token) for token in _PADS)
        self.pad_id: int = padding.get("pad_id", next((found for found in known if found is not None), 0))
        self.pad_type: int = padding.get("pad_type_id", 0)
        #: Token ids are less than that.
        self.size: int = max(library.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        self.pads_left = padding.get("direction") == "left"
        library.no_padding()
        library.no_truncation()

    def truncate(self, longest: int) -> None:
        """Cut texts from now on to so many tokens, the special ones included."""
        self._library.enable_truncation(longest, direction=self._side)

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Return the tokens of each text; none may be longer than :data:`MOST_BYTES`."""
        return [
            (found.ids, found.type_ids)
            for few in _in_parts(texts)
            for found in self._library.encode_batch_fast(few)
        ]

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Return the text of each row of ids, which are from 0 to below :attr:`size`; no special tokens."""
        texts: list[str] = self._library.decode_batch(list(ids), skip_special_tokens=True)
        return texts


def open_tokenizer(files: ModelFiles) -> Tokenizer:
    """Read a version's tokenizer.

    Raises:
        ModelError: If it cannot be read, or the library is not installed.
    """
    path = files.tokenizer_path
    with open_inside(path, files.directory) as file:
        content = file.read(_MAX_FILE_BYTES + 1)
    if len(content) > _MAX_FILE_BYTES:
        raise ModelError(path, f"is larger than {_MAX_FILE_BYTES} bytes; is it the right file?")
    # the library looks when it encodes
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        import tokenizers  # noqa: PLC0415 - optional
    except ImportError:
        raise ModelError(
            path,
            "needs the tokenizers library, which is not installed; run pip install 'accord-gateway[text]'",
        ) from None
    try:
        return Tokenizer(tokenizers.Tokenizer.from_buffer(content))
    except ValueError as error:
        raise ModelError(
            path, f"cannot be read by the tokenizers library ({str(error)[:500]}); copy or export it again"
        ) from None


def _in_parts(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the texts in order, a few at a time."""
    first = size = 0
    for i, text in enumerate(texts):
        # at least as many bytes as characters; counted in those, for it need not be exact
        size += len(text)
        if size > MOST_BYTES:
            yield texts[first:i]
            first, size = i, len(text)
    yield texts[first:]
