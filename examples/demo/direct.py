"""The same answers without a gateway: each model in onnxruntime, the merge in two lines of numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from examples import ExampleError
from examples.models.export import session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Match", "compare", "model_outputs", "soft_vote"]

#: A model's own arithmetic may differ in the last bits with the number of rows that share a call.
RTOL, ATOL = 1e-5, 1e-6


@dataclass(frozen=True, slots=True)
class Match:
    """How closely one served output follows the same output computed directly.

    Args:
        output: Its name, with that of the ensemble.
        rows: Rows compared.
        max_difference: The largest absolute difference; for labels, the share of rows that differ.
        equal: Whether that is within rounding; labels must all be equal.
    """

    output: str
    rows: int
    max_difference: float
    equal: bool


def model_outputs(
    repository: Path, model: str, inputs: Mapping[str, NDArray[Any]], *, batch: int
) -> dict[str, NDArray[Any]]:
    """Run a model of a repository on all rows, in batches.

    Raises:
        ExampleError: If the model is not there.
    """
    path = repository / model / "1" / "model.onnx"
    if not path.exists():
        raise ExampleError(f"{path} does not exist; make it with: python -m examples.models")
    run = session(path.read_bytes())
    names = [output.name for output in run.get_outputs()]
    rows = len(next(iter(inputs.values())))
    parts = [
        run.run(names, {name: array[i : i + batch] for name, array in inputs.items()})
        for i in range(0, rows, batch)
    ]
    return {
        name: np.concatenate(column) for name, column in zip(names, zip(*parts, strict=True), strict=True)
    }


def soft_vote(members: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return the mean of the members' probabilities [k, n, classes], summed in float64 and cast once."""
    return np.asarray(np.mean(members, axis=0, dtype=np.float64), np.float32)


def compare(output: str, served: NDArray[Any], direct: NDArray[Any]) -> Match:
    """Compare a served output with the one computed directly; shapes may differ by axes of length 1."""
    want = direct.reshape(served.shape)
    if want.dtype.kind == "f":
        worst = float(np.abs(served - want).max())
        return Match(output, len(served), worst, bool(np.allclose(served, want, rtol=RTOL, atol=ATOL)))
    differ = float((served != want).mean())
    return Match(output, len(served), differ, differ == 0)
