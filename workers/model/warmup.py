"""Running a model before it is ready: the first request finds it warm, and a broken model never serves.

Inputs are zeros (BYTES: empty strings) with one row and with a few; a dynamic dimension has length 1 unless a
``model_warmup`` entry of the config says which lengths the model can take. Answers are held against the
interface: a model whose outputs differ from what its metadata promises is not ready.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from protos.errors import AccordError
from protos.tensor import DTYPES, datatype_of
from workers.model.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from protos.tensor import TensorSpec
    from workers.model.session import Session

__all__ = ["warm_up"]

_log = logging.getLogger(__name__)

Array = np.ndarray[Any, np.dtype[Any]]

#: Rows of the second run: enough to leave the one-row paths of kernels, few enough for any model.
_FEW_ROWS = 4


@dataclass(frozen=True, slots=True)
class _Sample:
    """One warm-up run: how many rows, and the config's wishes by input."""

    rows: int
    wishes: Mapping[str, Any] = field(default_factory=dict)


def warm_up(session: Session) -> None:
    """Run the model on generated inputs and check what it answers.

    Raises:
        ModelError: If it fails, or if an output differs from the interface.
    """
    start = time.monotonic()
    for sample in _samples(session):
        _run(session, sample)
    facts = {"model": session.spec.name, "seconds": round(time.monotonic() - start, 3)}
    _log.info("model warm", extra=facts)


def _samples(session: Session) -> Iterator[_Sample]:
    most = session.spec.max_rows
    settings = session.config.model_warmup
    known = {spec.name for spec in session.spec.inputs}
    for setting in settings:
        if unknown := set(setting.inputs) - known:
            raise ModelError(
                session.files.config_path,
                f"model_warmup {setting.name!r} names input {min(unknown)!r}, which the model has not",
            )
        yield _Sample(min(max(setting.batch_size, 1), most or 1), setting.inputs)
    wishes = settings[0].inputs if settings else {}
    for rows in sorted({1, min(_FEW_ROWS, most or 1)}):
        yield _Sample(rows, wishes)


def _run(session: Session, sample: _Sample) -> None:
    files, spec = session.files, session.spec
    inputs = {
        tensor.name: _generate(tensor, sample, batches=spec.batches)
        for tensor in spec.inputs
        if not tensor.optional or tensor.name in sample.wishes
    }
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items())
    try:
        outputs = session.run(inputs)
    except AccordError as error:
        cause = str(error.__cause__ or error).splitlines()[0][:500]
        raise ModelError(
            files.path,
            f"failed its warm-up on zeros of shape {shapes} ({cause}); if the model cannot take that, "
            "give dims that it can in model_warmup of config.pbtxt",
        ) from error
    for tensor in spec.outputs:
        _check(session, tensor, outputs[tensor.name], sample.rows, shapes)


def _generate(spec: TensorSpec, sample: _Sample, *, batches: bool) -> Array:
    wish = sample.wishes.get(spec.name)
    free = spec.shape[1:] if batches else spec.shape
    dims = tuple(wish.dims) if wish is not None and len(wish.dims) == len(free) else free
    shape = (*([sample.rows] if batches else []), *(1 if d == -1 else d for d in dims))
    dtype = DTYPES[spec.datatype]
    if spec.datatype == "BYTES":
        return np.full(shape, b"", object)
    if wish is not None and wish.random_data:
        noise = np.random.default_rng(0).random(shape)
        return (noise * 2 if dtype.kind in "biu" else noise).astype(dtype)
    return np.zeros(shape, dtype)


def _check(session: Session, spec: TensorSpec, array: Array, rows: int, shapes: str) -> None:
    path = session.files.path
    if datatype_of(array.dtype) != spec.datatype or not spec.accepts(array.shape):
        raise ModelError(
            path,
            f"promises output {spec.name!r} as {spec.datatype} {list(spec.shape)}, but answered "
            f"{datatype_of(array.dtype)} {list(array.shape)} to {shapes}; mend the export or config.pbtxt",
        )
    if session.spec.batches and array.shape[0] != rows:
        raise ModelError(
            path,
            f"answered {array.shape[0]} rows of {spec.name!r} to {rows}; its first dimension is not the row, "
            "so say max_batch_size: 0 in config.pbtxt",
        )
