"""A text as a bag of its tokens and of the pairs of neighbours: sums of vectors, and one layer over them.

A row takes microseconds. In training whole tokens are dropped, so that no answer hangs on one of them.

Sources: A. Joulin et al., "Bag of Tricks for Efficient Text Classification", EACL 2017; M. Iyyer et al.,
"Deep Unordered Composition Rivals Syntactic Methods for Text Classification", ACL 2015.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from training.models.heads import States
from training.models.tokens import TokenFeed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenizers import Tokenizer
    from torch import Tensor

    from training.data import Dataset

__all__ = ["BagEncoder"]

_PAIRS = 1 << 16
_FACTOR = 31_337


class BagEncoder(nn.Module):
    """The sum of tokens' and pairs' vectors over the root of how many tokens there are, and a layer.

    Args:
        tokenizer: Cuts texts into tokens.
        width: Of the vectors.
        max_length: Most tokens of a text.
        dropout: Share of tokens that are dropped, and of activations.
        pairs: Pairs of tokens share this many vectors.
    """

    kind = "bag"

    def __init__(
        self, tokenizer: Tokenizer, *, width: int, max_length: int, dropout: float, pairs: int = _PAIRS
    ) -> None:
        super().__init__()
        self.tokenizer, self.width, self.max_length = tokenizer, width, max_length
        self.tokens = nn.Embedding(tokenizer.get_vocab_size(), width)
        self.pairs = nn.Embedding(pairs, width)
        self.layer = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.tokens.weight, std=0.1)
        nn.init.zeros_(self.pairs.weight)
        self.layers = nn.ModuleList()
        self.frozen = 0

    @classmethod
    def described(cls, about: Mapping[str, Any], tokenizer: Tokenizer, *, dropout: float) -> BagEncoder:
        """Make an encoder with random weights as :meth:`describe` said."""
        options = {name: about[name] for name in ("width", "max_length", "pairs")}
        return cls(tokenizer, **options, dropout=dropout)

    def describe(self) -> dict[str, Any]:
        """Return what :meth:`described` needs, fit for JSON."""
        return {
            "kind": self.kind,
            "width": self.width,
            "max_length": self.max_length,
            "pairs": self.pairs.num_embeddings,
        }

    def feed(self, dataset: Dataset) -> TokenFeed:
        """Cut a data set's texts into tokens."""
        return TokenFeed.of(dataset, self.tokenizer, self.max_length)

    def forward(self, batch: Mapping[str, Tensor]) -> States:
        """Encode a batch."""
        ids, mask = batch["input_ids"], batch["attention_mask"]
        if self.training:
            mask = mask * (torch.rand(mask.shape, device=mask.device) >= self.dropout.p)
        both = mask[:, 1:] * mask[:, :-1]
        pairs = self.pairs((ids[:, :-1] * _FACTOR + ids[:, 1:]) % self.pairs.num_embeddings)
        total = (self.tokens(ids) * mask[:, :, None]).sum(1) + (pairs * both[:, :, None]).sum(1)
        row = self.dropout(total / mask.sum(1, keepdim=True).clamp(min=1).sqrt())
        return States(row=self.dropout(torch.relu(self.layer(row))))
