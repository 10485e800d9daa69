"""A model that computes with numbers, as clients see it who speak in words.

To the rest of a session it is a model of strings: its interface has them, and so has its way to compute. A
model without any is left as it is.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from workers.model.errors import ModelError
from workers.model.text.feed import open_feed, takes_text
from workers.model.text.strings import decoded, in_words, labelled, wanted_in_words
from workers.model.text.tokenizer import open_tokenizer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from protos.model import ModelSpec
    from protos.tensor import TensorSpec
    from workers.model.repository import ModelFiles
    from workers.model.runtime.binding import Compute
    from workers.model.runtime.instances import Placement
    from workers.model.text.feed import Feed
    from workers.model.text.strings import Spelling
    from workers.model.text.tokenizer import Tokenizer

__all__ = ["TextView", "text_view"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextView:
    """What clients see, and how to compute that.

    Args:
        inputs: The model's inputs as they see them.
        outputs: Its outputs, likewise.
        feed: What turns texts into tokens; None where none are taken.
        spellings: What turns numbers into strings, by output.
        examples: Texts to try the model with, by input.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    feed: Feed | None
    spellings: Mapping[str, Spelling]
    examples: Mapping[str, Sequence[bytes]]

    def around(self, compute: Compute, spec: ModelSpec, placement: Placement) -> Compute:
        """Return a way to compute as clients see it, given that of the model's file.

        Args:
            compute: The way of the file.
            spec: The interface that clients see.
            placement: The device it runs on.
        """
        spelt = in_words(compute, self.spellings) if self.spellings else compute
        return self.feed.around(spelt, spec, placement) if self.feed else spelt


def text_view(files: ModelFiles, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> TextView:
    """Find out what clients are to see of a model.

    Args:
        files: The model on disk.
        inputs: The inputs of its file.
        outputs: The outputs of its file.

    Raises:
        ModelError: If its tokenizer cannot be read, or its config wants what cannot be done.
    """
    spelt = wanted_in_words(files, outputs)
    feeds = files.has_tokenizer and takes_text(files, inputs)
    decodes = [spec for spec in spelt if spec.name not in files.labels]
    tokenizer = open_tokenizer(files) if files.has_tokenizer and (feeds or decodes) else None
    spellings = {
        spec.name: labelled(files.labels[spec.name])
        if spec.name in files.labels
        else _decoding(files, spec, tokenizer)
        for spec in spelt
    }
    feed = open_feed(files, inputs, tokenizer) if feeds and tokenizer else None
    _tell(files, feed, tokenizer)
    taken = dict.fromkeys(feed.tokens, feed.spec) if feed else {}
    shown = [taken.get(spec.name, spec) for spec in inputs]
    return TextView(
        inputs=tuple(dict.fromkeys(shown)),
        outputs=tuple(_in_strings(files, spec) if spec.name in spellings else spec for spec in outputs),
        feed=feed,
        spellings=spellings,
        examples={feed.spec.name: _examples(files, feed)} if feed else {},
    )


def _examples(files: ModelFiles, feed: Feed) -> Sequence[bytes]:
    try:
        return feed.examples()
    except Exception as error:
        raise ModelError(
            files.tokenizer_path,
            f"fails on plain words ({str(error)[:500]}); does its vocabulary have its unknown token?",
        ) from error


def _decoding(files: ModelFiles, spec: TensorSpec, tokenizer: Tokenizer | None) -> Spelling:
    if tokenizer is None:
        raise ModelError(
            files.config_path,
            f"output {spec.name!r} is TYPE_STRING here, but {spec.datatype} in {files.path.name}; give its "
            f"strings by label_filename, or put the {files.tokenizer_path.name} of its token ids there",
        )
    if len(spec.shape) < 2:
        raise ModelError(
            files.config_path,
            f"output {spec.name!r} is TYPE_STRING here without labels, but has no dimension of token ids in "
            f"{files.path.name}, where its shape is {list(spec.shape)}; give it a label_filename",
        )
    return decoded(tokenizer)


def _in_strings(files: ModelFiles, spec: TensorSpec) -> TensorSpec:
    shape = spec.shape if spec.name in files.labels else (*spec.shape[:-1], 1)
    return replace(spec, datatype="BYTES", shape=shape)


def _tell(files: ModelFiles, feed: Feed | None, tokenizer: Tokenizer | None) -> None:
    """Log what is made of the tokenizer, and what has no effect."""
    facts: dict[str, object] = {"model": files.name, "version": files.version}
    if feed is not None:
        long_text = "refuse" if feed.refuses else "truncate"
        _log.info("model takes text", extra=facts | {"max_tokens": feed.longest, "long_text": long_text})
        return
    idle = [
        f"parameters.{key}" for key in ("max_tokens", "long_text") if key in files.config.message.parameters
    ]
    if files.has_tokenizer and tokenizer is None:
        idle.append(files.tokenizer_path.name)
    if idle:
        _log.warning("without effect: the model takes no text", extra=facts | {"what": idle})
