"""An encoder of Hugging Face as the shared part of a model.

Its layers can be frozen, and entered in the middle.

Only its public face is used: a layer is entered by standing in for those before it, so that masks, positions
and whatever else an architecture does around its layers remain its own business.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoConfig, AutoModel
from transformers.utils import logging as transformers_logging

from training.errors import TrainingError
from training.models.heads import States
from training.models.tokens import TokenFeed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from torch import Tensor

    from training.data import Dataset

__all__ = ["TextEncoder"]

#: What architectures call their rates of dropout.
_DROPOUTS = (
    "hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout", "hidden_dropout",
    "embedding_dropout", "mlp_dropout",
)  # fmt: skip
_BLANK = {
    "model_type": "bert",
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "pad_token_id": 0,
}


class _Reached(Exception):  # noqa: N818 - it is no error
    """Ends a forward pass early."""


class _StandIn(nn.Module):
    """In place of a frozen layer: hands on what is known already, in the form that the layer has.

    Args:
        layer: The layer.
        states: What the layer says; None where a later layer's answer is known.
        form: Parts of its answer, of which the first counts; 0 where it is no tuple.
    """

    def __init__(self, layer: Any, states: Tensor | None, form: int) -> None:
        super().__init__()
        self._layer = [layer]  # in a list, so that it is no part of this one
        self._states, self._form = states, form

    def __getattr__(self, name: str) -> Any:
        """Return what the architecture wants to know of the layer."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self._layer[0], name)

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Any:
        states = hidden_states if self._states is None else self._states
        return (states, *[None] * (self._form - 1)) if self._form else states


class TextEncoder(nn.Module):
    """A transformer, mean-pooled.

    Args:
        model: Of Hugging Face.
        tokenizer: Its tokenizer.
        max_length: Most tokens of a text.

    Raises:
        TrainingError: If it cannot read as many tokens.
    """

    kind = "text"

    def __init__(self, model: Any, tokenizer: Tokenizer, max_length: int) -> None:
        super().__init__()
        longest = getattr(model.config, "max_position_embeddings", max_length)
        if max_length > longest:
            raise TrainingError(
                "data.max_length", f"{max_length} tokens, the encoder reads {longest}", "lower it"
            )
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # mean-pooled here; its weights would never get a gradient
        self.model = model
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.width: int = model.config.hidden_size
        self.frozen = 0
        self._form: int | None = None

    @classmethod
    def pretrained(cls, folder: Path, *, max_length: int, dropout: float) -> TextEncoder:
        """Read an encoder from a folder.

        Raises:
            TrainingError: If it does not hold one.
        """
        tokenizer = read_tokenizer(folder / "tokenizer.json")
        transformers_logging.disable_progress_bar()
        try:
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
            model = AutoModel.from_pretrained(
                folder, config=_dropped(config, dropout), local_files_only=True, dtype=torch.float32
            )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise TrainingError(
                str(folder),
                f"is no encoder that can be read ({str(error).splitlines()[0]})",
                "name a folder with config.json, model.safetensors and tokenizer.json",
            ) from None
        return cls(model, tokenizer, max_length)

    @classmethod
    def described(cls, about: Mapping[str, Any], tokenizer: Tokenizer, *, dropout: float) -> TextEncoder:
        """Make an encoder with random weights as :meth:`describe` said."""
        options = dict(about["config"])
        config = AutoConfig.for_model(options.pop("model_type"), **options)
        return cls(AutoModel.from_config(_dropped(config, dropout)), tokenizer, about["max_length"])

    @classmethod
    def blank(
        cls, tokenizer: Tokenizer, *, layers: int, width: int, max_length: int, dropout: float
    ) -> TextEncoder:
        """Make a BERT with random weights."""
        config = _BLANK | {
            "vocab_size": tokenizer.get_vocab_size(),
            "num_hidden_layers": layers,
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "num_attention_heads": next(heads for heads in (12, 8, 4, 2, 1) if width % heads == 0),
            "max_position_embeddings": max(512, max_length),
        }
        return cls.described({"config": config, "max_length": max_length}, tokenizer, dropout=dropout)

    def describe(self) -> dict[str, Any]:
        """Return what :meth:`described` needs, fit for JSON."""
        return {
            "kind": self.kind,
            "config": json.loads(self.model.config.to_json_string()),
            "max_length": self.max_length,
        }

    @property
    def layers(self) -> nn.ModuleList:
        """The layers, from the input on; none where an architecture has no list of them."""
        count = getattr(self.model.config, "num_hidden_layers", 0)
        found = (m for m in self.model.modules() if isinstance(m, nn.ModuleList) and len(m) == count)
        return next(found, nn.ModuleList())

    def feed(self, dataset: Dataset) -> TokenFeed:
        """Cut a data set's texts into tokens."""
        return TokenFeed.of(dataset, self.tokenizer, self.max_length)

    def train(self, mode: bool = True) -> TextEncoder:
        """Switch dropout on or off; never on in frozen layers, whose answers may be kept."""
        super().train(mode)
        if self.frozen:
            self.model.train(False)
            for layer in self.layers[self.frozen :]:
                layer.train(mode)
        return self

    def forward(self, batch: Mapping[str, Tensor]) -> States:
        """Encode a batch; with ``prefix``, [b, t, h], from behind the frozen layers on."""
        if "prefix" in batch and self._form is None:
            with torch.no_grad():
                self.prefix(batch, 1)  # to see in which form layers answer
        with self._entered(batch.get("prefix")):
            states = self.model(**self._read(batch)).last_hidden_state
        mask = batch["attention_mask"][:, :, None].to(states.dtype)
        return States(row=(states * mask).sum(1) / mask.sum(1).clamp(min=1), tokens=states)

    def prefix(self, batch: Mapping[str, Tensor], layers: int) -> Tensor:
        """Return what the first layers say of each token, [b, t, h]."""
        found: list[Tensor] = []

        def reached(_: Any, __: Any, output: Any) -> None:
            self._form = len(output) if isinstance(output, tuple) else 0
            found.append(output[0] if self._form else output)
            raise _Reached

        hook = self.layers[layers - 1].register_forward_hook(reached)
        try:
            self.model(**self._read(batch))
        except _Reached:
            pass
        finally:
            hook.remove()
        return found[0]

    def _read(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        names = ["input_ids", "attention_mask"]
        if getattr(self.model.config, "type_vocab_size", 0) > 1:
            names.append("token_type_ids")
        return {name: batch[name] for name in names}

    @contextmanager
    def _entered(self, prefix: Tensor | None) -> Iterator[None]:
        if prefix is None:
            yield
            return
        layers = self.layers
        own = list(layers[: self.frozen])
        for i in range(self.frozen):
            layers[i] = _StandIn(own[i], prefix if i == self.frozen - 1 else None, self._form or 0)
        try:
            yield
        finally:
            for i, layer in enumerate(own):
                layers[i] = layer


def read_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer.

    Raises:
        TrainingError: If the file holds none.
    """
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - the library has no type of its own for it
        raise TrainingError(
            str(path),
            f"is no tokenizer that can be read ({error})",
            "save the encoder's fast tokenizer there",
        ) from None


def _dropped(config: Any, dropout: float) -> Any:
    for name in _DROPOUTS:
        if isinstance(getattr(config, name, None), float):
            setattr(config, name, dropout)
    return config
