"""Encoders of images and of tables of numbers: small, and standardised by what training rows look like."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from training.data import Arrays, Part
from training.errors import TrainingError
from training.models.heads import States

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from training.data import Dataset, Labels

__all__ = ["ArrayFeed", "ImageEncoder", "TabularEncoder"]


@dataclass(frozen=True, slots=True, eq=False)
class ArrayFeed:
    """The numbers of all rows."""

    values: NDArray[np.float32]

    @property
    def digest(self) -> str:
        """Hash of what the model reads."""
        return sha256(self.values.tobytes()).hexdigest()

    @property
    def lengths(self) -> None:
        """All rows are as long."""

    def collate(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        """Return a batch of rows: ``values``, float32 [b, ...]."""
        return {"values": torch.from_numpy(self.values[rows])}

    def targets(self, labels: Labels) -> Labels:
        """Return the labels as they are."""
        return labels


class _ArrayEncoder(nn.Module):
    """What both have in common: standardising.

    Args:
        shape: Of a row.
        layers: How many.
        width: Of each.
        dropout: Share of activations that is dropped.
    """

    kind = ""

    def __init__(self, shape: tuple[int, ...], *, layers: int, width: int, dropout: float) -> None:
        super().__init__()
        self.shape, self.width, self.depth = shape, width, layers
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("spread", torch.ones(shape))
        self.layers = self._made(layers, dropout)
        self.frozen = 0

    @classmethod
    def for_dataset(cls, dataset: Dataset, *, layers: int, width: int, dropout: float) -> Any:
        """Make an encoder with random weights for a data set's rows."""
        values = _values(dataset)
        encoder = cls(values.shape[1:], layers=layers, width=width, dropout=dropout)
        seen = values[dataset.rows(Part.TRAIN)]
        spread = seen.std(0)
        encoder.mean.copy_(torch.from_numpy(seen.mean(0)))
        # a place that never changes says nothing, whatever it is divided by
        encoder.spread.copy_(torch.from_numpy(np.where(spread > 0, spread, np.float32(1))))
        return encoder

    @classmethod
    def described(cls, about: Mapping[str, Any], *, dropout: float) -> Any:
        """Make an encoder with random weights as :meth:`describe` said."""
        return cls(tuple(about["shape"]), layers=about["layers"], width=about["width"], dropout=dropout)

    def describe(self) -> dict[str, Any]:
        """Return what :meth:`described` needs, fit for JSON."""
        return {"kind": self.kind, "shape": list(self.shape), "layers": self.depth, "width": self.width}

    def feed(self, dataset: Dataset) -> ArrayFeed:
        """Take a data set's numbers."""
        return ArrayFeed(_values(dataset))

    def train(self, mode: bool = True) -> Any:
        """Switch dropout on or off; never on in frozen layers."""
        super().train(mode)
        for layer in self.layers[: self.frozen]:
            layer.train(False)
        return self

    def forward(self, batch: Mapping[str, Tensor]) -> States:
        """Encode a batch."""
        x = (batch["values"] - self.mean) / self.spread
        return States(row=self._encoded(x))

    def _made(self, layers: int, dropout: float) -> nn.ModuleList:
        raise NotImplementedError

    def _encoded(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class TabularEncoder(_ArrayEncoder):
    """Dense layers."""

    kind = "tabular"

    def _made(self, layers: int, dropout: float) -> nn.ModuleList:
        sizes = [int(np.prod(self.shape)), *[self.width] * layers]
        return nn.ModuleList(
            nn.Sequential(nn.Linear(before, after), nn.GELU(), nn.Dropout(dropout))
            for before, after in pairwise(sizes)
        )

    def _encoded(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for layer in self.layers:
            x = layer(x)
        return x


class ImageEncoder(_ArrayEncoder):
    """Convolutions of 3 x 3, each but the first at half the size of the one before, then a dense layer."""

    kind = "image"

    def _made(self, layers: int, dropout: float) -> nn.ModuleList:
        if len(self.shape) not in (2, 3):
            problem = f"image reads [h, w] or [c, h, w], not {list(self.shape)}"
            raise TrainingError("encoder.name", problem, "use tabular")
        channels = [1 if len(self.shape) == 2 else self.shape[0], *[self.width] * layers]
        made = [
            nn.Sequential(
                nn.Conv2d(before, after, 3, stride=1 if i == 0 else 2, padding=1),
                nn.GELU(),
                nn.Dropout(dropout),
            )
            for i, (before, after) in enumerate(pairwise(channels))
        ]
        height, width = (-(-side // 2 ** (layers - 1)) for side in self.shape[-2:])
        dense = nn.Linear(self.width * height * width, self.width)
        return nn.ModuleList([*made, nn.Sequential(nn.Flatten(), dense, nn.GELU(), nn.Dropout(dropout))])

    def _encoded(self, x: Tensor) -> Tensor:
        x = x[:, None] if len(self.shape) == 2 else x
        for layer in self.layers:
            x = layer(x)
        return x


def _values(dataset: Dataset) -> NDArray[np.float32]:
    if not isinstance(dataset.inputs, Arrays):
        raise TrainingError("encoder.name", "reads numbers, and the rows are texts", "use an encoder of text")
    return dataset.inputs.values
