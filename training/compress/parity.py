"""Whether a file answers real rows as the model in torch does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.compress.scores import drawn, inputs_of
from training.data import Part
from training.export.onnx import check_parity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from training.data import Dataset
    from training.export.interface import Head
    from training.models.model import Model

__all__ = ["parity"]

_ROWS = 96


def parity(
    model: Model, heads: Sequence[Head], onnx: bytes, dataset: Dataset, *, tolerance: float | None = None
) -> float:
    """Prove it on drawn validation rows, and return by how much the two differ at most.

    Args:
        model: The model in torch.
        heads: The tasks that the file answers.
        onnx: The file's content.
        dataset: Holds the rows.
        tolerance: As for :func:`training.export.onnx.check_parity`.

    Raises:
        TrainingError: If any number is further from torch's.
    """
    rows = drawn(dataset.rows(Part.VALIDATION), _ROWS)
    return check_parity(
        model, heads, onnx, lambda some: inputs_of(model, dataset, some), rows, tolerance=tolerance
    )
